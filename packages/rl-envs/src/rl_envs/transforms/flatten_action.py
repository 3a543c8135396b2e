"""Actions of several dimensions, as one dimension for the policy."""

from collections.abc import Sequence
from typing import ClassVar, final

import torch
from tensordict import TensorDictBase

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._wiring import absent_keys, leaf_keys
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Composite, NestedKey, ShapeError, TensorMap, TensorSpec, key_str, message


@final
class FlattenAction(Transform):
    """Flattens adjacent dimensions of actions for the policy, and restores them for the environment.

    `forward`, as in a replay buffer, flattens stored actions of the environment.

    Args:
        first_dim: first dimension to flatten, negative.
        last_dim: last one, negative.
        in_keys_inv: actions of the environment, default `"action"`; the same dimensions of each.
        out_keys_inv: their names outside, default the same.
        in_keys: actions that `forward` reads, default `in_keys_inv`; an empty list: none.
        out_keys: their names afterwards, default `in_keys`.
        allow_positive_dim: take dimensions of zero and more, too, counted after those of the batch.
        action_shape: shape of the action of one row; default that of the spec. Of use outside an environment, and with
            positive dimensions there.
    Raises:
        ValueError: a positive dimension that is not allowed, or dimensions in the wrong order.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        first_dim: int = -2,
        last_dim: int = -1,
        *,
        in_keys_inv: Keys | NestedKey | None = None,
        out_keys_inv: Keys | NestedKey | None = None,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        allow_positive_dim: bool = False,
        action_shape: Sequence[int] | None = None,
    ) -> None:
        inner: Keys | NestedKey = ["action"] if in_keys_inv is None else in_keys_inv
        super().__init__(inner if in_keys is None else in_keys, out_keys, in_keys_inv=inner, out_keys_inv=out_keys_inv)
        self._check_lengths()
        if not allow_positive_dim and (first_dim >= 0 or last_dim >= 0):
            fix = "Count from the last dimension, or pass allow_positive_dim=True"
            found = f"({first_dim}, {last_dim})"
            raise ValueError(message("FlattenAction", "a positive dim", expected="negative", found=found, fix=fix))
        if (first_dim < 0) == (last_dim < 0) and first_dim > last_dim:
            found = f"({first_dim}, {last_dim})"
            raise ValueError(message("FlattenAction", "dims in the wrong order", expected="first to last", found=found))
        self.first_dim = first_dim
        self.last_dim = last_dim
        self._given_shape = None if action_shape is None else torch.Size(action_shape)
        shapes = dict.fromkeys(self.in_keys_inv, self._given_shape)
        self._shapes: dict[NestedKey, torch.Size] = {key: shape for key, shape in shapes.items() if shape is not None}

    def _bind(self, specs: EnvSpecs) -> list[str]:
        read = [*leaf_keys(specs.action), *leaf_keys(specs.state)]
        problems = absent_keys(self.in_keys_inv, read, "in_keys_inv", "the environment reads")
        leaves = {**dict(specs.state.flat_items()), **dict(specs.action.flat_items())}
        batch_dims = len(specs.action.shape)
        for key in self.in_keys_inv if not problems else []:
            shape = leaves[key].shape[batch_dims:]
            if self._given_shape not in (None, shape):
                return [f"action_shape: {tuple(self._given_shape or ())} is not that of {key_str(key)}, {tuple(shape)}"]
            self._shapes[key] = shape
            first, last = self._span(len(shape))
            if not -len(shape) <= first <= last < 0:
                problems.append(f"first_dim, last_dim: {key_str(key)} of shape {tuple(shape)} has no such dimensions")
        if len({len(shape) for shape in self._shapes.values()}) > 1 and (self.first_dim >= 0 or self.last_dim >= 0):
            problems.append("in_keys_inv: actions of different numbers of dimensions. Count dims from the last one")
        return problems

    def _span(self, action_dims: int) -> tuple[int, int]:
        """First and last dimension, negative."""
        first, last = self.first_dim, self.last_dim
        return (first - action_dims if first >= 0 else first), (last - action_dims if last >= 0 else last)

    def _inv_call(self, data: TensorMap) -> TensorMap:
        for inner, outer in self._inv_pairs:
            value = data.get(outer, None)
            if value is None:
                raise self._missing(outer, data)
            shape = self._shapes.get(inner)
            if shape is None:
                fix = "Append it to a TransformedEnv, or give action_shape"
                raise RuntimeError(message("FlattenAction", "used before the shape is known", fix=fix))
            first, last = self._span(len(shape))
            data[inner] = value.unflatten(last, shape[first:] if last == -1 else shape[first : last + 1])
        return data

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Flatten stored actions of the environment; returns the TensorDict."""
        for in_key, out_key in self._pairs:
            value = tensordict.get(in_key, None)
            if value is None:
                raise self._missing(in_key, tensordict)
            first, last = self._span(self._action_dims())
            if value.ndim < -first:
                expected, found = f"{-first} dimensions or more", tuple(value.shape)
                problem = f"{key_str(in_key)} has too few dimensions"
                raise ShapeError(message("FlattenAction", problem, expected=expected, found=found))
            tensordict[out_key] = value.flatten(first, last)
        return tensordict

    def _action_dims(self) -> int:
        """Number of dimensions of an action of one row; of no meaning where dims are negative."""
        if self.first_dim < 0 and self.last_dim < 0:
            return 0
        shape = next(iter(self._shapes.values()), None)
        if shape is None:
            fix = "Append it to a TransformedEnv, or give action_shape"
            raise RuntimeError(message("FlattenAction", "positive dims before the shape is known", fix=fix))
        return len(shape)

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        first, last = self._span(self._action_dims())
        return spec.flatten(first, last)

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Unchanged."""
        return observation_spec

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Unchanged."""
        return reward_spec

    def __repr__(self) -> str:
        return f"FlattenAction(first_dim={self.first_dim}, last_dim={self.last_dim}, in_keys_inv={self.in_keys_inv})"
