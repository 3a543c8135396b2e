"""Continuous actions chosen from intervals of their bounds."""

from enum import Enum
from typing import ClassVar, TypeAlias, final

import torch
from tensordict import TensorDictBase
from torch import Size, Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import already_there
from rl_envs.transforms._random_stream import RandomStream
from rl_envs.transforms._row_bounds import beside_stored, first_if_equal
from rl_envs.transforms._wiring import absent_keys, leaf_keys
from rl_envs.transforms.transform import Transform
from rl_specs import (
    Bounded,
    Categorical,
    Composite,
    MultiCategorical,
    MultiOneHot,
    NestedKey,
    OneHot,
    TensorMap,
    TensorSpec,
    Unbounded,
    canonical_key,
    key_str,
    message,
)


class ActionSampling(Enum):
    """Which value of its interval an action becomes."""

    MEDIAN = "median"
    """The middle."""
    LOW = "low"
    """The lower end."""
    HIGH = "high"
    """The upper end."""
    RANDOM = "random"
    """A uniform draw."""


@final
class ActionDiscretizer(Transform):
    """Gives the policy a choice between intervals of each element of a continuous action.

    The bounds of an element are cut into intervals of the same width; category `i` stands for the `i`-th from below.
    `forward`, as in a replay buffer, gives stored continuous actions as categories.

    Args:
        num_intervals: number of intervals of each element; one for all, or one per element of the last dimension.
        action_key: the continuous action of the environment.
        out_action_key: name of the discrete action; default the same. Under another name, the continuous action that
            was taken is recorded in each step as `("next", *action_key)`; it is zero at a reset.
        sampling: which value of the interval is taken; default `ActionDiscretizer.SamplingStrategy.MEDIAN`. Random ones
            come from a stream of the transform's own, seeded with the environment and part of `state_dict`.
        categorical: numbers of categories (`Categorical` for a scalar action, else `MultiCategorical`); otherwise
            one-hot vectors (`OneHot`, `MultiOneHot`).
    Raises:
        ValueError: a number of intervals below 1.
    """

    accepts_mapping: ClassVar[bool] = True
    SamplingStrategy: TypeAlias = ActionSampling

    def __init__(
        self,
        num_intervals: int | Tensor,
        action_key: NestedKey = "action",
        *,
        out_action_key: NestedKey | None = None,
        sampling: ActionSampling | None = None,
        categorical: bool = True,
    ) -> None:
        inner = canonical_key(action_key)
        outer = inner if out_action_key is None else canonical_key(out_action_key)
        super().__init__([inner], [outer], in_keys_inv=[inner], out_keys_inv=[outer])
        self.num_intervals = num_intervals.clone() if isinstance(num_intervals, Tensor) else num_intervals
        if int(torch.as_tensor(num_intervals).min()) < 1:
            raise ValueError(
                message("ActionDiscretizer", "num_intervals too small", expected=">= 1", found=num_intervals)
            )
        self.sampling = ActionSampling.MEDIAN if sampling is None else ActionSampling(sampling)
        self.categorical = categorical
        self._records = inner != outer
        self._grid: _Grid | None = None
        self._taken: Tensor | None = None
        self._stream = RandomStream("ActionDiscretizer", inner)

    @property
    def action_key(self) -> NestedKey:
        """The continuous action."""
        return self.in_keys_inv[0]

    @property
    def out_action_key(self) -> NestedKey:
        """The discrete action."""
        return self.out_keys_inv[0]

    def set_seed(self, seed: int) -> None:
        """Restart the stream."""
        self._stream.set_seed(seed)

    # ------------------------------------------------------------------ specs

    def _bind(self, specs: EnvSpecs) -> list[str]:
        key = self.action_key
        problems = absent_keys([key], leaf_keys(specs.action), "action_key", "the environment reads")
        if problems:
            return problems
        spec = dict(specs.action.flat_items())[key]
        if not isinstance(spec, Bounded) or not spec.dtype.is_floating_point:
            return [f"action_key: {key_str(key)} is no floating-point action with bounds ({type(spec).__name__})"]
        if not bool((spec.low.isfinite() & spec.high.isfinite()).all()):
            return [f"action_key: {key_str(key)} has infinite bounds. Clip it first"]
        is_scalar = len(spec.shape) == len(specs.action.shape)
        counts = _counts(self.num_intervals, 1 if is_scalar else spec.shape[-1])
        if counts is None:
            elements = spec.shape[-1]
            return [f"num_intervals: {self.num_intervals} for an action of {elements} elements; give one for each"]
        batch_dims = len(specs.action.shape)
        self._grid = _Grid(spec, counts, batch_dims=batch_dims, is_scalar=is_scalar, is_index=self.categorical)
        return already_there("action_key", [key], specs) if self._records else []

    def transform_action_spec(self, action_spec: Composite) -> Composite:
        """The discrete action in place of the continuous one."""
        assert self._grid is not None
        del action_spec[self.action_key]
        action_spec[self.out_action_key] = self._grid.outer_spec()
        return action_spec

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the continuous action that was taken, where the discrete one has another name."""
        if self._records:
            assert self._grid is not None
            inner = self._grid.inner
            observation_spec[self.action_key] = Unbounded(shape=inner.shape, dtype=inner.dtype, device=inner.device)
        return observation_spec

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Unchanged."""
        return reward_spec

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """Unchanged."""
        return state_spec

    # ------------------------------------------------------------------ data

    def _inv_call(self, data: TensorMap) -> TensorMap:
        value = data.get(self.out_action_key, None)
        if value is None:
            raise self._missing(self.out_action_key, data)
        grid = self._known_grid()
        self._taken = grid.value_at(grid.index_of(value), self._place())
        data[self.action_key] = self._taken
        return data

    def _place(self) -> Tensor | float:
        """Where in its interval an action lies, from 0 to 1."""
        grid = self._known_grid()
        if self.sampling is ActionSampling.RANDOM:
            return self._stream.uniform(grid.inner.shape, dtype=grid.inner.dtype, device=grid.inner.device)
        return {ActionSampling.LOW: 0.0, ActionSampling.MEDIAN: 0.5, ActionSampling.HIGH: 1.0}[self.sampling]

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        if self._records:
            next_data[self.action_key] = self._taken
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        if self._records:
            reset_data[self.action_key] = self._known_grid().inner.zero()
        return reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Give stored continuous actions as categories; returns the TensorDict.

        Raises:
            ShapeError: the bounds differ between the rows of the environment, and the data do not start with its batch.
        """
        value = tensordict.get(self.in_keys[0], None)
        if value is None:
            raise self._missing(self.in_keys[0], tensordict)
        tensordict[self.out_keys[0]] = self._known_grid().category(value, tensordict.batch_size)
        return tensordict

    def _known_grid(self) -> "_Grid":
        if self._grid is None:
            fix = "Append it to a TransformedEnv; a clone of it keeps the bounds"
            raise RuntimeError(message("ActionDiscretizer", "used before the bounds are known", fix=fix))
        return self._grid

    def get_extra_state(self) -> Tensor:
        """State of the random stream."""
        return self._stream.state()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on with the random stream from `state`."""
        self._stream.load(state)

    def __repr__(self) -> str:
        return (
            f"ActionDiscretizer(num_intervals={self.num_intervals}, action_key={self.action_key!r}, "
            f"out_action_key={self.out_action_key!r}, sampling={self.sampling.name}, categorical={self.categorical})"
        )


@final
class _Grid:
    """The intervals of an action.

    Args:
        inner: spec of the continuous action.
        counts: number of intervals of each element of the last dimension, or of the scalar.
        batch_dims: number of dimensions of the batch of the environment.
        is_scalar: whether the action has no dimension but those of the batch.
        is_index: categories as numbers, or one-hot.
    """

    def __init__(self, inner: Bounded, counts: list[int], *, batch_dims: int, is_scalar: bool, is_index: bool) -> None:
        self.inner = inner
        self._row_dims = len(inner.shape) - batch_dims
        self._counts = counts
        self._is_scalar = is_scalar
        self._is_index = is_index
        count = torch.tensor(counts, device=inner.device, dtype=inner.dtype)
        self._count = count[0] if is_scalar else count
        self._width = (inner.high - inner.low) / self._count
        self._intervals = first_if_equal((inner.low, self._width), batch_dims)

    def outer_spec(self) -> TensorSpec:
        """Spec of the discrete action."""
        shape, device, counts = self.inner.shape, self.inner.device, self._counts
        if self._is_scalar:
            n = counts[0]
            return Categorical(n, shape, device) if self._is_index else OneHot(n, (*shape, n), device)
        if self._is_index:
            return MultiCategorical(counts, shape, device)
        return MultiOneHot(counts, (*shape[:-1], sum(counts)), device)

    def index_of(self, value: Tensor) -> Tensor:
        """Category numbers, int64, of a discrete action."""
        if self._is_index:
            return value
        if self._is_scalar:
            return value.to(torch.uint8).argmax(-1)
        parts = torch.functional.split(value.to(torch.uint8), self._counts, -1)
        return torch.stack([part.argmax(-1) for part in parts], -1)

    def value_at(self, index: Tensor, place: Tensor | float) -> Tensor:
        """The continuous action of category numbers, inside the bounds."""
        value = self.inner.low + (index + place) * self._width
        return value.to(self.inner.dtype).clamp(self.inner.low, self.inner.high)

    def category(self, value: Tensor, batch_size: Size) -> Tensor:
        """The discrete action whose intervals hold a continuous one; the last interval has its upper end.

        Args:
            value: stored actions `[*B', *F]`.
            batch_size: `B'`.
        """
        low, width = (
            beside_stored("ActionDiscretizer", constant, self._row_dims, batch_size) for constant in self._intervals
        )
        index = ((value - low) / width).floor().nan_to_num(0.0)
        index = index.clamp(torch.zeros_like(self._count), self._count - 1).to(torch.int64)
        if self._is_index:
            return index
        if self._is_scalar:
            return torch.nn.functional.one_hot(index, self._counts[0]).bool()
        hot = [
            torch.nn.functional.one_hot(column, count)
            for column, count in zip(index.unbind(-1), self._counts, strict=True)
        ]
        return torch.cat(hot, -1).bool()


def _counts(num_intervals: int | Tensor, elements: int) -> list[int] | None:
    if isinstance(num_intervals, int):
        return [num_intervals] * elements
    given: list[int] = num_intervals.reshape(-1).tolist()
    return given * elements if len(given) == 1 else given if len(given) == elements else None
