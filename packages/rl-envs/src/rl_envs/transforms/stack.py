"""Entries stacked along a new dimension."""

from typing import ClassVar, TypeAlias, final

import torch
from tensordict import TensorDictBase
from torch import Size, Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._feature_map import axis, checked_dim
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
    join_key,
    key_str,
    message,
    stack_specs,
)

_Suffix: TypeAlias = tuple[str, ...]
_Group: TypeAlias = tuple[NestedKey, list[NestedKey], int]
"""Name of a stacked leaf, the leaves it is made of, and the new dimension."""


@final
class Stack(Transform):
    """Stacks entries of one shape along a new dimension: tensors, or whole levels of the data, leaf by leaf.

    Levels of equal agents, `("agent0", "observation")` and `("agent1", "observation")`, become one, `("agents",
    "observation")` `[*B, 2, ...]`. Observations, rewards and flags are stacked, and actions split on their way in
    with `in_key_inv`.

    Args:
        in_keys: entries, or levels, to stack, in this order.
        out_key: name of the result.
        in_key_inv: name outside of the stacked entry, or level, that the environment gets split.
        out_keys_inv: the inner names, one per index along the dimension.
        dim: the new dimension, counted from the end: of the result's dimensions for tensors, of its batch dimensions
            for levels, as `torch.stack` counts for either.
        allow_positive_dim: take a `dim` that is not negative, counted from the first dimension after the batch.
        del_keys: take what was stacked out.
    Raises:
        ValueError: there are no in keys, `dim` is not negative without `allow_positive_dim`, or one of `in_key_inv` and
            `out_keys_inv` is missing.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        in_keys: Keys,
        out_key: NestedKey,
        *,
        in_key_inv: NestedKey | None = None,
        out_keys_inv: Keys | None = None,
        dim: int = -1,
        allow_positive_dim: bool = False,
        del_keys: bool = True,
    ) -> None:
        outer = None if in_key_inv is None else [in_key_inv]
        super().__init__(in_keys, [out_key], in_keys_inv=out_keys_inv, out_keys_inv=outer)
        if not self.in_keys:
            raise ValueError(message("Stack", "nothing to stack", expected="in_keys", found=self.in_keys))
        if (in_key_inv is None) != (out_keys_inv is None):
            raise ValueError(message("Stack", "half of an inverse", fix="Give in_key_inv and out_keys_inv, or neither"))
        self.dim = checked_dim("Stack", "dim", dim, allow_positive_dim)
        self.del_keys = del_keys
        self._drop = [key for key in self.in_keys if key != self.out_keys[0]] if del_keys else []
        self._batch_dims = 0
        self._outputs: list[_Group] = []
        self._at_reset: list[_Group] = []
        self._inputs: list[_Group] = []

    @property
    def out_key(self) -> NestedKey:
        """Name of the result."""
        return self.out_keys[0]

    # ------------------------------------------------------------------ wiring

    def _bind(self, specs: EnvSpecs) -> list[str]:
        self._batch_dims = len(specs.observation.shape)
        self._drop = [key for key in self.in_keys if key != self.out_key] if self.del_keys else []
        problems: list[str] = []
        outputs = (specs.observation, specs.done, specs.reward)
        groups = [self._groups(spec, self.in_keys, self.out_key) for spec in outputs]
        self._at_reset = [*groups[0], *groups[1]]
        self._outputs = [*self._at_reset, *groups[2]]
        if not self._outputs:
            problems += _not_stacked("in_keys", self.in_keys, outputs)
        if self.in_keys_inv:
            outer = self.out_keys_inv[0]
            self._inputs = [
                group for spec in (specs.action, specs.state) for group in self._groups(spec, self.in_keys_inv, outer)
            ]
            if not self._inputs:
                problems += _not_stacked("out_keys_inv", self.in_keys_inv, (specs.action, specs.state))
        states = {key for key, _ in specs.state.flat_items()}
        problems += [
            f"in_keys: {key_str(key)} is a state that the environment reads back. Use del_keys=False"
            for _, keys, _ in self._outputs
            for key in keys
            if self.del_keys and key in states
        ]
        return problems

    def _groups(self, spec: Composite, keys: list[NestedKey], whole: NestedKey) -> list[_Group]:
        """The leaves of `spec` to stack; none where one of the keys, or one of its leaves, is not there."""
        leaves = dict(spec.flat_items())
        found = [{suffix: key for key in leaves if (suffix := _below(key, part)) is not None} for part in keys]
        if not found[0] or any(set(part) != set(found[0]) for part in found):
            return []
        return [
            (join_key(whole, suffix) if suffix else whole, [part[suffix] for part in found], self._dim(suffix))
            for suffix in found[0]
        ]

    def _dim(self, suffix: _Suffix) -> int:
        """The new dimension of a leaf: in a level it is among the batch dimensions."""
        if suffix and self.dim < 0:
            return self._batch_dims + 1 + self.dim
        return axis(self.dim, self._batch_dims)

    # ------------------------------------------------------------------ data

    def _call(self, data: TensorMap) -> TensorMap:
        return self._stacked(data, self._outputs, is_complete=True)

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return self._stacked(reset_data, self._at_reset, is_complete=False)

    def _stacked(self, data: TensorMap, groups: list[_Group], *, is_complete: bool) -> TensorMap:
        for out_key, in_keys, dim in groups:
            values = [data.get(key, None) for key in in_keys]
            if all(value is not None for value in values):
                data[out_key] = torch.stack(values, dim)
            elif is_complete or any(value is not None for value in values):
                absent = [key for key, value in zip(in_keys, values, strict=True) if value is None]
                raise self._missing(absent[0], data)
        if isinstance(data, TensorDictBase):
            _delete(data, self._drop)
        elif isinstance(data, dict) and self.del_keys:
            for out_key, in_keys, _ in groups:
                for key in in_keys:
                    if key != out_key:
                        data.pop(key, None)
        return data

    def _inv_call(self, data: TensorMap) -> TensorMap:
        for outer, inner, dim in self._inputs:
            value = data.get(outer, None)
            if value is None:
                raise self._missing(outer, data)
            for key, part in zip(inner, value.unbind(dim), strict=True):
                data[key] = part
        return data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Stack entries, or levels, at the root of a TensorDict, whose batch dimensions count; returns it."""
        values: list[Tensor | TensorDictBase] = []
        for key in self.in_keys:
            value = tensordict.get(key, None)
            if value is None:
                raise self._missing(key, tensordict)
            values.append(value)
        stacked = torch.stack(values, axis(self.dim, len(tensordict.batch_size)))  # type: ignore[arg-type]  # or TensorDicts
        tensordict.set(self.out_key, stacked)
        _delete(tensordict, self._drop)
        return tensordict

    # ------------------------------------------------------------------ specs

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """The stacked observations, in place of those they are made of."""
        return self._stacked_spec(observation_spec, self._outputs)

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """The stacked rewards, in place of those they are made of."""
        return self._stacked_spec(reward_spec, self._outputs)

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """The stacked flags, in place of those they are made of."""
        return self._stacked_spec(done_spec, self._outputs)

    def _map_spec_inv(self, spec: Composite) -> Composite:
        return self._stacked_spec(spec, self._inputs, is_input=True)

    def _stacked_spec(self, spec: Composite, groups: list[_Group], *, is_input: bool = False) -> Composite:
        leaves: dict[NestedKey, TensorSpec] = dict(spec.flat_items())
        for out_key, in_keys, dim in groups:
            if in_keys[0] not in leaves:
                continue
            stacked = _stacked_leaf([leaves[key] for key in in_keys], dim)
            if self.del_keys or is_input:
                for key in in_keys:
                    leaves.pop(key)
            leaves[out_key] = stacked
        return Composite(leaves, shape=spec.shape, device=spec.device)

    def __repr__(self) -> str:
        return f"Stack(in_keys={self.in_keys}, out_key={self.out_key!r}, dim={self.dim})"


def _stacked_leaf(specs: list[TensorSpec], dim: int) -> TensorSpec:
    """Spec of a stack; of entries with the same open sizes, shape and bounds."""
    alike = _of_one_kind(specs)
    plain = [spec for spec in alike if isinstance(spec, LeafSpec)]
    shape = alike[0].shape
    if not alike[0].is_dynamic or len(plain) < len(alike) or any(spec.shape != shape for spec in alike):
        return stack_specs(alike, dim)
    at = dim % (len(shape) + 1)
    size = Size([*shape[:at], len(alike), *shape[at:]])
    boxes = [spec for spec in plain if isinstance(spec, Bounded)]
    if len(boxes) < len(plain):
        return Unbounded(shape=size, dtype=plain[0].dtype, device=plain[0].device)
    low, high = torch.stack([box.low for box in boxes], at), torch.stack([box.high for box in boxes], at)
    return Bounded(low, high, shape=size, dtype=plain[0].dtype, device=plain[0].device)


def _of_one_kind(specs: list[TensorSpec]) -> list[TensorSpec]:
    """The same specs, or, of one form but several kinds, without bounds."""
    plain = [spec for spec in specs if isinstance(spec, LeafSpec)]
    kinds, forms = {type(spec) for spec in specs}, {(spec.shape, spec.dtype) for spec in plain}
    if len(kinds) == 1 or len(forms) > 1 or len(plain) < len(specs):
        return specs
    return [Unbounded(shape=spec.shape, dtype=spec.dtype, device=spec.device) for spec in plain]


def _path(key: NestedKey) -> _Suffix:
    return (key,) if isinstance(key, str) else key


def _below(key: NestedKey, level: NestedKey) -> _Suffix | None:
    """What is behind `level` in `key`, nothing where they are equal; None where `key` is elsewhere."""
    path, front = _path(key), _path(level)
    return path[len(front) :] if path[: len(front)] == front else None


def _delete(data: TensorDictBase, keys: list[NestedKey]) -> None:
    for key in keys:
        if data.get(key, None) is not None:
            del data[key]


def _not_stacked(argument: str, keys: list[NestedKey], specs: tuple[Composite, ...]) -> list[str]:
    names = sorted(key_str(canonical_key(key)) for spec in specs for key, _ in spec.flat_items())
    wanted = ", ".join(key_str(key) for key in keys)
    return [f"{argument}: {wanted} are not all there, or levels of other entries (has: {', '.join(names)})"]
