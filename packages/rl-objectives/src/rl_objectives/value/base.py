"""What value estimators share: names of entries, values from the network, checks, and writing the result."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from rl_objectives._arguments import check_factor, check_value_network
from rl_objectives._keys import TensorKeys, read
from rl_objectives.functional.reduce import standardize
from rl_objectives.value._network import evaluate, evaluate_shifted, resolve_time_dim
from rl_specs import MissingKeyError, NestedKey, join_key, key_str, message


@dataclass(frozen=True)
class Trajectories:
    """What an estimate is made from; each `[*B, T, 1]`, and the dimension of time."""

    state_value: Tensor
    next_state_value: Tensor
    reward: Tensor
    done: Tensor
    terminated: Tensor
    time_dim: int


class ValueEstimatorBase(TensorDictModuleBase, ABC):
    """Writes an advantage and a value target into a batch of trajectories.

    Reads `("next", "reward")`, `("next", "done")`, `("next", "terminated")`, each `[*B, T, 1]`, and what the value
    network reads, at the root and under `"next"`. Writes `"advantage"`, `"value_target"`, `"state_value"` and
    `("next", "state_value")`. Time is the batch dimension named "time", else the last one. Subclasses write
    `_estimate`. Each row is one step: samples of several, which hold `"steps_to_next_obs"`, are for `TD0Estimator`.

    Args:
        gamma: discount in [0, 1], per step.
        value_network: module that writes the value; None: values are read from the data.
        average_gae: standardise the advantage over the batch.
        differentiable: let gradients flow through the values into the network; else the outputs have none.
        skip_existing: use values that the data hold already instead of computing them.
        advantage_key, value_target_key, value_key: as `set_keys(advantage=..., value_target=..., value=...)`.
        shifted: compute each value once, taking the value of a next observation from the step that follows it, and only
            where a trajectory ends from the stored next observation. The only mode for a value network with memory;
            exact provided that within a trajectory the next observation is the following step's observation. Without
            it, a network of stock layers that treat each row by itself gets each observation once as well, wherever the
            data show that it follows.
        device: where `gamma` goes when it is a tensor.
        time_dim: batch dimension of time.
    Raises:
        TypeError: `value_network` is a module that knows no keys.
        ValueError: `gamma` is outside of [0, 1].
    """

    accepts_several_steps: ClassVar[bool] = False
    """Whether a row may be a sample of several steps: its reward their sum, its next observation that after them."""

    def __init__(
        self,
        *,
        gamma: float | Tensor,
        value_network: TensorDictModuleBase | None,
        average_gae: bool,
        differentiable: bool,
        skip_existing: bool | None,
        advantage_key: NestedKey | None,
        value_target_key: NestedKey | None,
        value_key: NestedKey | None,
        shifted: bool,
        device: torch.device | str | None,
        time_dim: int | None,
    ) -> None:
        check_factor(type(self).__name__, "gamma", gamma)
        check_value_network(type(self).__name__, "value_network", value_network)
        super().__init__()
        self.gamma = gamma.to(device) if isinstance(gamma, Tensor) else float(gamma)
        self.value_network = value_network
        self.average_gae = average_gae
        self.differentiable = differentiable
        self.skip_existing = bool(skip_existing)
        self.shifted = shifted
        self.time_dim = time_dim
        self._keys = TensorKeys()
        self.set_keys(advantage=advantage_key, value_target=value_target_key, value=value_key)

    @property
    def tensor_keys(self) -> TensorKeys:
        """Names of the entries read and written."""
        return self._keys

    def set_keys(self, **keys: Any) -> Self:
        """Rename entries: `set_keys(reward=("agents", "reward"))`; None leaves a name as it is.

        Raises:
            KeyError: a name that is not one of `advantage, value_target, value, reward, done, terminated, action,
                sample_log_prob, steps_to_next_obs`.
        """
        self._keys = self._keys.changed(type(self).__name__, keys)
        names = self._keys
        self._reward, self._done, self._terminated, self._next_value = (
            join_key("next", key) for key in (names.reward, names.done, names.terminated, names.value)
        )
        network_in = [] if self.value_network is None else list(self.value_network.in_keys)
        values = [names.value, self._next_value] if self.value_network is None else []
        network_next = [join_key("next", key) for key in network_in]
        self.in_keys = [*network_in, *network_next, *values, self._reward, self._done, self._terminated]
        self.out_keys = [names.advantage, names.value_target, names.value]
        return self

    def forward(
        self,
        tensordict: TensorDictBase,
        *,
        params: TensorDictBase | None = None,
        target_params: TensorDictBase | None = None,
    ) -> TensorDictBase:
        """Write the estimates into `tensordict` and return it.

        Args:
            tensordict: batch `[*B, T]`.
            params: parameters for the value network instead of its own.
            target_params: parameters for the values of the next observations.
        Raises:
            MissingKeyError: an entry is missing.
            ShapeError: entries differ in shape.
            ValueError: the data are samples of several steps, and the estimator takes single ones.
        """
        advantage, target, data = self._run(tensordict, params, target_params)
        if self.average_gae:
            advantage = standardize(advantage)
        names = self._keys
        tensordict.set(names.advantage, advantage)
        tensordict.set(names.value_target, target)
        tensordict.set(names.value, data.state_value)
        tensordict.set(self._next_value, data.next_state_value)
        return tensordict

    def value_estimate(
        self,
        tensordict: TensorDictBase,
        *,
        params: TensorDictBase | None = None,
        target_params: TensorDictBase | None = None,
    ) -> Tensor:
        """Value target `[*B, T, 1]`; `tensordict` is only read. Arguments and errors as for `forward`."""
        return self._run(tensordict, params, target_params)[1]

    @abstractmethod
    def _estimate(self, data: Trajectories, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Advantage and value target, each `[*B, T, 1]`."""

    def _run(
        self, tensordict: TensorDictBase, params: TensorDictBase | None, target_params: TensorDictBase | None
    ) -> tuple[Tensor, Tensor, Trajectories]:
        with torch.set_grad_enabled(self.differentiable and torch.is_grad_enabled()):
            time_dim = resolve_time_dim(type(self).__name__, tensordict, self.time_dim)
            self._check_steps(tensordict)
            done = self._read(tensordict, self._done, "done")
            terminated = self._read(tensordict, self._terminated, "terminated")
            value, next_value = self._values(tensordict, done, time_dim, params, target_params)
            reward = self._read(tensordict, self._reward, "reward").to(value.dtype)
            data = Trajectories(value, next_value, reward, done, terminated, time_dim)
            advantage, target = self._estimate(data, tensordict)
        return advantage, target, data

    def _check_steps(self, tensordict: TensorDictBase) -> None:
        """Check that rows are single steps, unless the estimator takes others.

        A row of several steps holds the sum of their rewards: a recursion over such rows would count each reward as
        often as there are rows that hold it, and the value of its next observation is not that of the following row.
        """
        if self.accepts_several_steps and not (self.shifted and self.value_network is not None):
            return
        key = self._keys.steps_to_next_obs
        if tensordict.get(key, None) is None:
            return
        fix = "give it single steps, without MultiStep or MultiStepTransform (if all are of one step, delete the entry)"
        component, way_out = type(self).__name__, "Use TD0Estimator for n-step targets"
        if self.accepts_several_steps:
            component, way_out = f"{component}(shifted=True)", "Leave out shifted=True"
        raise ValueError(
            message(
                component,
                "the data are samples of several steps, and it takes single ones",
                expected=f'no entry "{key_str(key)}"',
                found=f'"{key_str(key)}"',
                fix=f"{way_out}, or: {fix}",
            )
        )

    def _values(
        self,
        tensordict: TensorDictBase,
        done: Tensor,
        time_dim: int,
        params: TensorDictBase | None,
        target_params: TensorDictBase | None,
    ) -> tuple[Tensor, Tensor]:
        if self.value_network is None or self.skip_existing:
            value = tensordict.get(self._keys.value, None)
            next_value = tensordict.get(self._next_value, None)
            if value is not None and next_value is not None:
                return value, next_value
        if self.value_network is None:
            raise MissingKeyError(
                f"{type(self).__name__}: value_network is None and the data have no values (expected "
                f"{self._keys.value!r} and {self._next_value!r}). Give a value_network, or run it on the data first."
            )
        if self.shifted and target_params is None:
            return evaluate_shifted(self.value_network, tensordict, done, time_dim, self._keys.value, params)
        return evaluate(self.value_network, tensordict, time_dim, self._keys.value, params, target_params)

    def _read(self, tensordict: TensorDictBase, key: NestedKey, role: str) -> Tensor:
        return read(type(self).__name__, tensordict, key, fix=f"Collect it, or rename with set_keys({role}=...)")
