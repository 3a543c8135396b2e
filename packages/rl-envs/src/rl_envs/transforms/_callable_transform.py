"""A plain function, or a module, as a transform."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias, final

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs.transforms._leaf_specs import common_size, tried_sizes
from rl_envs.transforms._wiring import leaf_keys
from rl_envs.transforms.transform import Transform
from rl_specs import Composite, FlatDict, NestedKey, NonTensor, TensorMap, TensorSpec, Unbounded, key_str, message

DataFunction: TypeAlias = Callable[[TensorDictBase], TensorDictBase]
"""From the entries that a reset or a step returned to what is made of them."""


@final
class CallableTransform(Transform):
    """Hands data to a function: what each reset returned, what each step returned, or the batch of a replay buffer.

    A reset has no reward, so a function that reads it asks whether it is there. In an environment the function is tried
    on zeros, of a reset and of a step: what it adds, takes away, or changes in form then has specs of that form,
    without bounds, and so have entries of the same form that it has written.

    Args:
        function: from a TensorDict to a TensorDict, the same one or another. A module is part of `state_dict`, and in
            the mode of the environment.
    """

    def __init__(self, function: DataFunction) -> None:
        super().__init__()
        self.function = function
        self._made: dict[NestedKey, TensorSpec] = {}
        self._gone: list[NestedKey] = []

    def _call(self, data: TensorMap) -> TensorMap:
        assert isinstance(data, TensorDictBase)
        result: object = self.function(data)
        if not isinstance(result, TensorDictBase):
            problem, fix = f"{self._name()} returned no TensorDict", "Return the TensorDict that it is given"
            found = type(result).__name__
            raise TypeError(message("CallableTransform", problem, expected="a TensorDict", found=found, fix=fix))
        return result

    # ------------------------------------------------------------------ specs

    def _bind(self, specs: EnvSpecs) -> list[str]:
        self._made, self._gone = {}, []
        reset = (specs.observation, specs.done)
        problems: list[str] = []
        for moment, composites in (("reset", reset), ("step", (*reset, specs.reward))):
            try:
                self._try(composites, specs.observation)
            except Exception as error:
                problems.append(f"{self._name()} fails on zeros of a {moment}: {_told(error)}{self._advice()}")
        self._set_keys([], list(self._made))
        flags = [key_str(key) for key in leaf_keys(specs.done) if key in self._gone]
        return problems + [f"{self._name()} takes the flag {flag} away" for flag in flags]

    def _try(self, composites: tuple[Composite, ...], like: Composite) -> None:
        """Note what the function makes of zeros."""
        leaves = {key: leaf for composite in composites for key, leaf in composite.flat_items()}
        tried = {key: tried_sizes(leaf) for key, leaf in leaves.items()}
        outcomes: list[FlatDict] = []
        for at in range(max(map(len, tried.values()), default=1)):
            zeros: FlatDict = {key: each[min(at, len(each) - 1)].zero().clone() for key, each in tried.items()}
            versions = {key: _version(value) for key, value in zeros.items()}
            outcomes.append(self._outcome(zeros, like))
            same = [k for k, v in outcomes[0].items() if zeros.get(k) is v and versions[k] == _version(v)]
        self._gone += [key for key in leaves if key not in outcomes[0]]
        for key in outcomes[0]:
            if key not in same:
                self._made[key] = _form([outcome[key] for outcome in outcomes])

    def _outcome(self, zeros: FlatDict, like: Composite) -> FlatDict:
        modules = list(self.function.modules()) if isinstance(self.function, nn.Module) else []
        modes = [module.training for module in modules]
        for module in modules:
            module.training = False
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                result = self._call(pack_flat(dict(zeros), like.shape, like.device))
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode
        assert isinstance(result, TensorDictBase)
        if result.batch_size != like.shape:
            fix = "Keep it, or use BatchSizeTransform"
            raise ValueError(f"another batch size, {tuple(result.batch_size)} of {tuple(like.shape)}. {fix}")
        return unpack_flat(result)

    def _transform_specs(self, specs: EnvSpecs) -> EnvSpecs:
        fields = {"observation": specs.observation.clone(), "reward": specs.reward.clone(), "done": specs.done.clone()}
        for field in fields.values():
            for key in leaf_keys(field):
                if key in self._gone:
                    del field[key]
        for key, leaf in self._made.items():
            owner = next((name for name, field in fields.items() if key in leaf_keys(field)), "observation")
            if owner != "done":
                fields[owner][key] = leaf
        there = leaf_keys(fields["observation"])
        masks = tuple(pair for pair in specs.action_masks if pair[1] in there)
        firsts = tuple(key for key in specs.first_flags if key in there)
        return replace(
            specs,
            observation=fields["observation"],
            reward=fields["reward"],
            done=fields["done"],
            action_masks=masks,
            first_flags=firsts,
        )

    def _writes(self) -> list[NestedKey]:
        return list(self._made)

    def _name(self) -> str:
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def _advice(self) -> str:
        """What else to do with a module."""
        if not isinstance(self.function, nn.Module):
            return ""
        fix = "pass ModuleTransform(module=TensorDictModule(network, in_keys, out_keys))"
        return f". A module is called with a TensorDict; for a network of tensors, {fix}"

    def __repr__(self) -> str:
        return f"CallableTransform({self._name()})"


def _told(error: Exception) -> str:
    first_line = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first_line.rstrip('.:')}"


def _version(value: Any) -> int:
    return int(value._version) if isinstance(value, Tensor) else 0


def _form(values: list[Any]) -> TensorSpec:
    """Spec of an entry that came out of the function, once for each size that was tried."""
    first = values[0]
    if not isinstance(first, Tensor):
        return NonTensor(first.batch_size, first.device, example_data=first.tolist())
    return Unbounded(common_size([value.shape for value in values]), first.device, first.dtype)
