"""The base of losses: parameters as TensorDicts, names of entries, the value estimator, exploration switched off."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self, TypeVar

import torch
from tensordict import TensorDict, TensorDictBase, TensorDictParams
from tensordict.nn import InteractionType, TensorDictModuleBase, set_interaction_type
from torch import Tensor, nn

from rl_objectives._call import NetworkCall
from rl_objectives._estimators import ValueEstimators
from rl_objectives._keys import TensorKeys
from rl_objectives.value import ValueEstimatorBase
from rl_specs import NestedKey, message, near_matches

R = TypeVar("R")


class LossModule(TensorDictModuleBase, ABC):
    """Reads a TensorDict, returns a new one with named losses.

    A network handed to `register_network` stays as it is and keeps its parameters; the loss lists those same
    parameters under `<name>_params`, a TensorDict, so that `loss.parameters()` trains them. When those parameters are
    replaced from outside (for example by `TensorDict.to_module(loss)`), the loss is computed with the replacements.
    Calls run under `ExplorationType.DETERMINISTIC`. `train()` and `eval()` of the loss do not reach the networks.

    Buffers that hold coefficients can be assigned numbers: `loss.entropy_coeff = 0.005`.
    """

    default_value_estimator: ValueEstimators | None = None
    _networks: dict[str, Any]
    _calls: dict[str, NetworkCall]
    _probes: dict[str, tuple[NestedKey, Tensor] | None]
    _estimator: ValueEstimatorBase | None
    _keys: TensorKeys

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["_networks"] = {}
        self.__dict__["_calls"] = {}
        self.__dict__["_probes"] = {}
        self.__dict__["_estimator"] = None
        self._keys = TensorKeys()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward` under deterministic exploration."""
        with set_interaction_type(InteractionType.DETERMINISTIC):
            return super().__call__(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        held = self.__dict__.get("_buffers", {}).get(name) if isinstance(value, int | float) else None
        if isinstance(held, Tensor):
            held.fill_(value)
        else:
            super().__setattr__(name, value)

    @abstractmethod
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Losses at `tensordict`, which is only read."""

    # Networks

    def register_network(self, name: str, network: nn.Module, *, create_target: bool = False) -> None:
        """List the parameters and buffers of `network` under `<name>_params`.

        Args:
            name: e.g. "actor_network".
            network: left unchanged; the loss holds its very parameters.
            create_target: hold a copy that does not train under `target_<name>_params`; see `SoftUpdate`.
        """
        self._networks[name] = network
        if isinstance(network, TensorDictModuleBase):
            self._calls[name] = NetworkCall(network)
        params = self._list_parameters(name)
        if create_target:
            target = TensorDictParams(params.data.clone(), no_convert=True)
            setattr(self, f"target_{name}_params", target)

    def _list_parameters(self, name: str) -> TensorDictParams:
        params: TensorDictParams = TensorDict.from_module(self._networks[name], as_module=True)
        setattr(self, f"{name}_params", params)
        probe = next((key for key, leaf in params.items(True, True) if isinstance(leaf, nn.Parameter)), None)
        self._probes[name] = None if probe is None else (probe, params.get(probe))
        return params

    def network(self, name: str) -> Any:
        """The network that was registered as `name`, or None."""
        return self._networks.get(name)

    def network_call(self, name: str) -> NetworkCall:
        """The same, as something that is called once per minibatch."""
        return self._calls[name]

    def run_network(self, name: str, function: Callable[[], R]) -> R:
        """Call `function`, during which network `name` has the parameters that this loss has now.

        Nothing is swapped while those are the network's own.
        """
        probe = self._probes[name]
        params = getattr(self, f"{name}_params")
        if probe is None or params.get(probe[0]) is probe[1]:
            return function()
        with params.to_module(self._networks[name]):
            return function()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Convert or move; buffers of the networks follow, and the parameters stay one object."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch does not annotate it
        for name, network in self._networks.items():
            network._apply(fn)
            self._list_parameters(name)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A loss over copies of the networks, with the parameters of those copies."""
        clone = type(self).__new__(type(self))
        memo[id(self)] = clone
        clone.__dict__.update(copy.deepcopy({k: v for k, v in self.__dict__.items() if k != "_modules"}, memo))
        listed = {f"{name}_params" for name in self._networks}
        clone.__dict__["_modules"] = {
            name: copy.deepcopy(module, memo) for name, module in self._modules.items() if name not in listed
        }
        for name in clone._networks:
            clone._list_parameters(name)
        return clone

    # Keys

    @property
    def tensor_keys(self) -> TensorKeys:
        """Names of the entries read."""
        return self._keys

    def set_keys(self, **keys: Any) -> Self:
        """Rename entries: `set_keys(advantage="gae_advantage")`; the value estimator follows.

        None leaves a name as it is.

        Raises:
            KeyError: a name that is not one of `advantage, value_target, value, reward, done, terminated, action,
                sample_log_prob, steps_to_next_obs`.
        """
        self._keys = self._keys.changed(type(self).__name__, keys)
        if self._estimator is not None:
            self._estimator.set_keys(**self._keys.as_dict())
        return self

    # Value estimator

    @property
    def value_estimator(self) -> ValueEstimatorBase | None:
        """The estimator used where the input has no advantage; None for a loss without a critic."""
        return self._estimator

    def make_value_estimator(
        self, value_type: ValueEstimators | ValueEstimatorBase | None = None, **hyperparameters: Any
    ) -> Self:
        """Choose the estimator used where the input has no advantage.

        Args:
            value_type: the kind, or an estimator; None: `default_value_estimator`.
            hyperparameters: handed on to the estimator, over `default_value_kwargs(value_type)`.
        Raises:
            TypeError: a hyperparameter that the estimator does not have.
            ValueError: the loss has no critic, or no such estimator.
        """
        kind = self.default_value_estimator if value_type is None else value_type
        if isinstance(kind, ValueEstimatorBase):
            estimator = kind
        else:
            if not isinstance(kind, ValueEstimators):
                names = [member.name for member in ValueEstimators]
                near = near_matches(str(kind), names)
                fix = f"Choose from: {', '.join(names)}.{near}"
                raise ValueError(message(type(self).__name__, f"unknown value estimator {kind!r}", fix=fix))
            estimator = self._build_value_estimator(kind, hyperparameters)
        estimator.set_keys(**self._keys.as_dict())
        # Held outside of the module tree: its networks are registered already.
        self.__dict__["_estimator"] = estimator
        return self

    @abstractmethod
    def _build_value_estimator(self, kind: ValueEstimators, hyperparameters: dict[str, Any]) -> ValueEstimatorBase:
        """Estimator over the loss's own networks."""

    def register_coefficient(self, name: str, value: float | Tensor) -> None:
        """Hold a number as a buffer where the networks are, so that it can be scheduled, moved and saved."""
        device = next((parameter.device for parameter in self.parameters()), None)
        if isinstance(value, Tensor):
            tensor = value.detach().clone() if device is None else value.detach().to(device, copy=True)
        else:
            tensor = torch.tensor(float(value), device=device)
        self.register_buffer(name, tensor)
