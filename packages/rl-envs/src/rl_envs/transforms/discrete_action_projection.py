"""Discrete actions of a larger space than the environment's."""

from typing import ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._random_stream import RandomStream
from rl_envs.transforms._wiring import absent_keys, leaf_keys
from rl_envs.transforms.transform import Transform
from rl_specs import Categorical, Composite, NestedKey, OneHot, ShapeError, TensorMap, TensorSpec, key_str, message


@final
class DiscreteActionProjection(Transform):
    """Lets a policy over `max_actions` act in an environment that has fewer actions.

    An action that the environment does not have becomes one of those that it has, drawn uniformly from a stream of the
    transform's own, seeded with the environment and part of `state_dict`. `forward`, as in a replay buffer, widens
    stored actions of the environment: one-hot vectors get zeros, numbers stay.

    Args:
        num_actions_effective: number of actions of the environment.
        max_actions: number of actions of the policy.
        action_key: the action, one-hot or a number.
        include_forward: let `forward` widen actions; otherwise it changes nothing.
    Raises:
        ValueError: `max_actions` is below `num_actions_effective`, or that below 1.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        num_actions_effective: int,
        max_actions: int,
        *,
        action_key: NestedKey = "action",
        include_forward: bool = True,
    ) -> None:
        super().__init__([action_key], in_keys_inv=[action_key])
        if not 1 <= num_actions_effective <= max_actions:
            expected, found = "1 <= num_actions_effective <= max_actions", f"{num_actions_effective}, {max_actions}"
            raise ValueError(message("DiscreteActionProjection", "bad numbers", expected=expected, found=found))
        self.num_actions_effective = num_actions_effective
        self.max_actions = max_actions
        self.include_forward = include_forward
        self._is_one_hot: bool | None = None
        self._stream = RandomStream("DiscreteActionProjection", self.action_key)

    @property
    def action_key(self) -> NestedKey:
        """The action."""
        return self.in_keys_inv[0]

    def set_seed(self, seed: int) -> None:
        """Restart the stream."""
        self._stream.set_seed(seed)

    def _bind(self, specs: EnvSpecs) -> list[str]:
        key = self.action_key
        problems = absent_keys([key], leaf_keys(specs.action), "action_key", "the environment reads")
        if problems:
            return problems
        spec = dict(specs.action.flat_items())[key]
        if not isinstance(spec, (OneHot, Categorical)):
            return [f"action_key: {key_str(key)} is a {type(spec).__name__}, neither one-hot nor a number"]
        self._is_one_hot = isinstance(spec, OneHot)
        n = spec.shape[-1] if isinstance(spec, OneHot) else spec.n
        if n != self.num_actions_effective:
            return [f"num_actions_effective: {self.num_actions_effective}, but {key_str(key)} has {n} actions"]
        return []

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        if isinstance(spec, OneHot):
            return OneHot(self.max_actions, (*spec.shape[:-1], self.max_actions), spec.device, spec.dtype)
        assert isinstance(spec, Categorical)
        return Categorical(self.max_actions, spec.shape, spec.device, spec.dtype)

    def _inv_apply_transform(self, value: Tensor) -> Tensor:
        count = self.num_actions_effective
        if not self._is_one_hot:
            drawn = self._stream.integers(0, count - 1, value.shape, device=value.device)
            return torch.where(value < count, value, drawn.to(value.dtype))
        kept = value[..., :count]
        drawn = self._stream.integers(0, count - 1, value.shape[:-1], device=value.device)
        hot = torch.nn.functional.one_hot(drawn, count).to(value.dtype)
        return torch.where(kept.bool().any(-1, keepdim=True), kept, hot)

    def _apply_transform(self, value: Tensor) -> Tensor:
        is_one_hot = self._is_one_hot
        if is_one_hot is None:  # free, as in a replay buffer: vectors are bool, or as wide as the actions are many
            is_one_hot = value.dtype is torch.bool or value.shape[-1:] == (self.num_actions_effective,)
        if not is_one_hot:
            return value
        if value.shape[-1] != self.num_actions_effective:
            expected, found = self.num_actions_effective, value.shape[-1]
            raise ShapeError(
                message("DiscreteActionProjection", "vectors of another width", expected=expected, found=found)
            )
        return torch.nn.functional.pad(value, (0, self.max_actions - self.num_actions_effective))

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Widen stored actions of the environment, with `include_forward`; returns the TensorDict."""
        if self.include_forward:
            self._map_entries(tensordict, self._pairs)
        return tensordict

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Unchanged."""
        return observation_spec

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Unchanged."""
        return reward_spec

    def get_extra_state(self) -> Tensor:
        """State of the random stream."""
        return self._stream.state()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on with the random stream from `state`."""
        self._stream.load(state)

    def __repr__(self) -> str:
        return (
            f"DiscreteActionProjection(num_actions_effective={self.num_actions_effective}, "
            f"max_actions={self.max_actions}, action_key={self.action_key!r})"
        )
