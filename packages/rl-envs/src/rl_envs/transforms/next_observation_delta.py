"""Next observations stored as differences in few bits."""

from typing import Any, ClassVar, Literal, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import missing_carried, not_observations, open_sizes
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Composite, LeafSpec, NestedKey, TensorMap, TensorSpec, Unbounded, join_key, key_str, missing_key

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


@final
class NextObservationDelta(Transform):
    """Keeps `("next", observation)` in a buffer as `("next", "delta", observation)`, the difference to the root entry.

    - In an environment a step writes the differences beside the next observations, and a reset zeros.
    - `compress`, before data are stored, takes the next observations out, and makes differences that are not there.
    - `forward`, on what a buffer returns, puts them back: `root + delta`, exact up to the rounding of the difference.
      Episode ends are no exception: the difference is that of the true next observation.

    Args:
        in_keys: observations, default every one of a dtype that is not excluded and of one size (no -1 in its shape).
        delta_dtype: dtype of the differences. Beyond what it holds they are infinite (float16: 65504).
        restore_dtype: dtype of the observations put back; `"root"`: that of the root entry.
        drop_delta: take the differences out when the observations are put back.
        excluded_dtypes: dtypes that differences are not made of.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        in_keys: Keys | NestedKey | None = None,
        *,
        delta_dtype: torch.dtype = torch.float16,
        restore_dtype: torch.dtype | Literal["root"] = "root",
        drop_delta: bool = True,
        excluded_dtypes: tuple[torch.dtype, ...] = _INTEGERS,
    ) -> None:
        super().__init__(in_keys)
        self._finds_keys = in_keys is None
        self._set_pairs(self.in_keys)
        self.delta_dtype = delta_dtype
        self.restore_dtype = restore_dtype
        self.drop_delta = drop_delta
        self.excluded_dtypes = excluded_dtypes
        self._forms: list[LeafSpec] = []

    def _set_pairs(self, keys: list[NestedKey]) -> None:
        self._set_keys(keys, [join_key("delta", key) for key in keys])

    # ------------------------------------------------------------------ wiring

    def _bind(self, specs: EnvSpecs) -> list[str]:
        leaves = {key: leaf for key, leaf in specs.observation.flat_items() if isinstance(leaf, LeafSpec)}
        if self._finds_keys:
            others = self._left_alone(specs)
            wide = [key for key, leaf in leaves.items() if leaf.dtype not in self.excluded_dtypes]
            self._set_pairs([key for key in wide if key not in others and -1 not in leaves[key].shape])
        self._forms = [leaves[key] for key in self.in_keys if key in leaves]
        problems = self._check_wiring(specs, reads_root=False) or not_observations(self.in_keys, specs)
        problems += open_sizes(self.in_keys, [specs.observation], "steps of different sizes have no difference")
        return problems + [
            f"in_keys: {key_str(key)} is {leaves[key].dtype}, of which no differences are made (excluded_dtypes)"
            for key in self.in_keys
            if key in leaves and leaves[key].dtype in self.excluded_dtypes
        ]

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return dict.fromkeys(self.in_keys, False)

    # ------------------------------------------------------------------ data

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        for key, delta_key in self._pairs:
            before, after = data.get(key, None), next_data.get(key, None)
            if before is None:
                raise missing_carried("NextObservationDelta", key, data)
            if after is None:
                raise self._missing(key, next_data)
            next_data[delta_key] = (after - before).to(self.delta_dtype)
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        for (_, delta_key), form in zip(self._pairs, self._forms, strict=True):
            reset_data[delta_key] = torch.zeros(form.shape, dtype=self.delta_dtype, device=form.device)
        return reset_data

    def compress(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Steps as they are to be stored.

        Args:
            tensordict: steps `[*B]` with root and next observations.
        Returns:
            A shallow copy without next observations and root differences, with `("next", "delta", ...)`.
        Raises:
            MissingKeyError: an observation is missing.
        """
        small = tensordict.copy()
        keys = self.in_keys if self.in_keys or not self._finds_keys else self._wide_keys(tensordict)
        for key in keys:
            delta_key = join_key("next", "delta", key)
            if small.get(delta_key, None) is None:
                before, after = _entry(small, key), _entry(small, join_key("next", key))
                small.set(delta_key, (after - before).to(self.delta_dtype))
        return small.exclude(*(join_key("next", key) for key in keys), "delta")

    def _wide_keys(self, tensordict: TensorDictBase) -> list[NestedKey]:
        """Entries at the root and under `"next"` whose dtypes are not excluded."""
        following = tensordict.get("next")
        root = tensordict.exclude("next", "delta")
        names = root.keys(include_nested=True, leaves_only=True)
        return [key for key in names if self._is_wide(root.get(key)) and following.get(key, None) is not None]

    def _is_wide(self, value: object) -> bool:
        return isinstance(value, Tensor) and value.dtype not in self.excluded_dtypes

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Put next observations back into stored steps `[*B]`; returns that TensorDict.

        Raises:
            MissingKeyError: a root observation, or a difference, is missing.
        """
        deltas: TensorDictBase = _entry(tensordict, ("next", "delta"))
        is_open = self._finds_keys and not self.in_keys
        for key in list(deltas.keys(include_nested=True, leaves_only=True)) if is_open else self.in_keys:
            before, delta = _entry(tensordict, key), _entry(tensordict, join_key("next", "delta", key))
            dtype = before.dtype if self.restore_dtype == "root" else self.restore_dtype
            tensordict.set(join_key("next", key), (before + delta.to(before.dtype)).to(dtype))
            if self.drop_delta:
                del tensordict[join_key("next", "delta", key)]
        if self.drop_delta and deltas.is_empty():
            del tensordict["next", "delta"]
        return tensordict

    # ------------------------------------------------------------------ specs

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the differences, unbounded."""
        return self._map_spec(observation_spec)

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Unchanged."""
        return reward_spec

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        return Unbounded(spec.shape, spec.device, self.delta_dtype)

    def __repr__(self) -> str:
        return f"NextObservationDelta(delta_dtype={self.delta_dtype}, keys={self.in_keys})"


def _entry(tensordict: TensorDictBase, key: NestedKey) -> Any:
    value = tensordict.get(key, None)
    if value is None:
        names = tensordict.keys(include_nested=True, leaves_only=True)
        fix = "Rename with in_keys=[...], and store what compress(...) returns"
        raise missing_key("NextObservationDelta", key, names, fix=fix)
    return value
