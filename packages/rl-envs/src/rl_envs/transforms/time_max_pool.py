"""The maximum over the last observations."""

from typing import ClassVar, final

import torch
from tensordict import TensorDictBase

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import (
    already_there,
    beside,
    kept_outside,
    missing_carried,
    not_observations,
    open_sizes,
)
from rl_envs.transforms._trajectories import trajectory_windows
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import (
    Bounded,
    Composite,
    LeafSpec,
    NestedKey,
    TensorMap,
    TensorSpec,
    Unbounded,
    canonical_key,
    message,
    stack_specs,
)


@final
class TimeMaxPool(Transform):
    """Writes the maximum, element by element, over the last `T` values of entries since the last reset.

    The values before the present one are carried in the data, under the name of the result with `_past` behind,
    `[*B, T - 1, *F]`; after a reset each of them is the first value. `forward` takes stored values, `[*B, T']` with
    `("next", "done")`; among its in keys, one under `"next"` is pooled with the values of its root entry.

    Args:
        in_keys: entries to pool, default `"observation"`.
        out_keys: names of the results; `in_keys` when left out.
        T: number of values.
        reset_key: mask to read at a reset instead of `"_reset"`; rows outside keep their values.
        done_key: flag under `"next"` that ends a trajectory, for `forward`.
    Raises:
        ValueError: `T` is not positive.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        *,
        T: int = 1,
        reset_key: NestedKey | None = None,
        done_key: NestedKey = "done",
    ) -> None:
        super().__init__("observation" if in_keys is None else in_keys, out_keys)
        self._check_lengths()
        if T < 1:
            raise ValueError(message("TimeMaxPool", "bad T", expected=">= 1", found=T))
        self.T = T
        self.reset_key = None if reset_key is None else canonical_key(reset_key)
        self.done_key = canonical_key(done_key)
        self._past_keys = [beside(key, "past") for key in self.out_keys]
        self._leaves: list[LeafSpec] = []
        self._batch_dims = 0

    # ------------------------------------------------------------------ wiring

    def _bind(self, specs: EnvSpecs) -> list[str]:
        found = dict(specs.observation.flat_items())
        self._batch_dims = len(specs.observation.shape)
        self._past_keys = [beside(key, "past") for key in self.out_keys]
        self._leaves = [leaf for key in self.in_keys if isinstance(leaf := found.get(key), LeafSpec)]
        problems = self._check_wiring(specs, reads_root=False)
        problems += already_there("out_keys", self._carried_keys(), specs)
        if self.T > 1:
            problems += open_sizes(self.in_keys, [specs.observation], "it is pooled with those of earlier steps")
        return problems or not_observations(self.in_keys, specs)

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return dict.fromkeys(self._past_keys, False) if self.T > 1 else {}

    # ------------------------------------------------------------------ data

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        at = self._batch_dims
        for (in_key, out_key), past_key in zip(self._pairs, self._past_keys, strict=True):
            value = next_data.get(in_key, None)
            if value is None:
                raise self._missing(in_key, next_data)
            if self.T == 1:
                next_data[out_key] = value
                continue
            past = data.get(past_key, None)
            if past is None:
                raise missing_carried("TimeMaxPool", past_key, data)
            window = torch.cat([past, value.unsqueeze(at)], at)
            next_data[out_key] = window.amax(at)
            next_data[past_key] = window.narrow(at, 1, self.T - 1)
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        rows = self._batch_dims
        for (in_key, out_key), past_key in zip(self._pairs, self._past_keys, strict=True):
            value = reset_data.get(in_key, None)
            if value is None:
                raise self._missing(in_key, reset_data)
            reset_data[out_key] = kept_outside(data, self.reset_key, value, out_key, rows)
            if self.T > 1:
                past = torch.stack([value] * (self.T - 1), rows)
                reset_data[past_key] = kept_outside(data, self.reset_key, past, past_key, rows)
        return reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Pool stored values.

        Args:
            tensordict: steps `[*B, T']`, time last, with `("next", done_key)`.
        Returns:
            That TensorDict with the results.
        Raises:
            MissingKeyError: an entry or the flag is missing.
            ShapeError: there is no time dimension.
        """
        windows = trajectory_windows("TimeMaxPool", tensordict, self.in_keys, size=self.T, done_key=self.done_key)
        for key, window in zip(self.out_keys, windows, strict=True):
            tensordict.set(key, window.amax(len(tensordict.batch_size)))
        return tensordict

    # ------------------------------------------------------------------ specs

    def _past_specs(self) -> list[tuple[NestedKey, TensorSpec]]:
        if self.T == 1:
            return []
        at = self._batch_dims
        return [
            (key, stack_specs([leaf] * (self.T - 1), at))
            for key, leaf in zip(self._past_keys, self._leaves, strict=False)
        ]

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """The results, bounded where the entries are, and the values carried."""
        for key, leaf in zip(self.out_keys, self._leaves, strict=False):
            is_closed = isinstance(leaf, Bounded)
            observation_spec[key] = leaf if is_closed else Unbounded(leaf.shape, leaf.device, leaf.dtype)
        for key, spec in self._past_specs():
            observation_spec[key] = spec
        return observation_spec

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """The values carried are a state: no other transform may write over them."""
        for key, spec in self._past_specs():
            state_spec[key] = spec
        return state_spec

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Unchanged."""
        return reward_spec

    def __repr__(self) -> str:
        return f"TimeMaxPool(T={self.T}, keys={self.in_keys})"
