"""Weights on their way from one policy to another."""

from collections.abc import Mapping
from typing import final

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rl_envs.parallel import TensorForm
from rl_specs import FlatDict, NestedKey, message

_MODES = "modes"


def copy_weights(where: str, module: nn.Module, source: object) -> None:
    """Copy weights into `module`.

    Args:
        where: who does, for messages.
        module: what receives them.
        source: see `Collector.update_policy_weights_`.
    """
    if isinstance(source, TensorDictBase):
        own: TensorDictBase = TensorDict.from_module(module)
        own.data.copy_(source.data)
    elif isinstance(source, nn.Module):
        module.load_state_dict(source.state_dict())
    elif isinstance(source, Mapping):
        module.load_state_dict(source)
    else:
        expected, fix = "a module, a TensorDict of parameters, or a state_dict", "Pass the policy itself"
        raise TypeError(message(where, "weights", expected=expected, found=type(source).__name__, fix=fix))


@final
class SharedWeights:
    """Parameters, buffers and training modes of a policy as entries of shared memory.

    Args:
        policy: any policy; one that is no module has no entries to share.
    """

    def __init__(self, policy: object) -> None:
        self._policy = policy if isinstance(policy, nn.Module) else None
        self._modules = self._all_modules()

    def check(self, component: str) -> None:
        """Check that the policy's tensors can be shared.

        Raises:
            ValueError: a parameter has no shape yet.
        """
        if any(is_lazy(tensor) for tensor in self._tensors()):
            problem = "the policy has parameters whose shape is not known before its first call"
            raise ValueError(message(component, problem, fix="Call it once, on env.fake_tensordict() for instance"))

    def has_changed(self) -> bool:
        """Whether modules were added, taken away or replaced since this object was made."""
        modules = self._all_modules()
        pairs = zip(modules, self._modules, strict=False)
        return len(modules) != len(self._modules) or any(now is not then for now, then in pairs)

    def forms(self) -> dict[NestedKey, TensorForm]:
        """Forms of the entries."""
        forms: dict[NestedKey, TensorForm] = {_MODES: TensorForm((len(self._modules),), torch.bool)}
        for position, tensor in enumerate(self._tensors()):
            forms[str(position)] = TensorForm(tuple(tensor.shape), tensor.dtype)
        return forms

    def write(self, section: FlatDict) -> None:
        """Copy the policy's tensors to shared memory."""
        section[_MODES].copy_(torch.tensor([module.training for module in self._modules], dtype=torch.bool))
        for position, tensor in enumerate(self._tensors()):
            section[str(position)].copy_(tensor.detach())

    def read(self, section: FlatDict) -> None:
        """Copy what is in shared memory to the policy's tensors."""
        for module, is_training in zip(self._modules, section[_MODES].tolist(), strict=True):
            module.training = is_training
        for position, tensor in enumerate(self._tensors()):
            tensor.detach().copy_(section[str(position)])

    def _all_modules(self) -> list[nn.Module]:
        return [] if self._policy is None else list(self._policy.modules())

    def _tensors(self) -> list[Tensor]:
        return [] if self._policy is None else [*self._policy.parameters(), *self._policy.buffers()]
