"""An entry expanded to the shape of another."""

from typing import ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Size, Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import open_sizes
from rl_envs.transforms.transform import Transform
from rl_specs import Composite, NestedKey, ShapeError, TensorMap, TensorSpec, canonical_key, key_str, message


@final
class ExpandAs(Transform):
    """Expands an entry on the right to the shape of another: a shared `done` `[*B, 1]` to the rewards `[*B, agents,
    1]`.

    A flag written under a new name is an observation: the environment goes on ending its episodes by its own.

    Args:
        in_key: entry to expand; its shape broadcasts to the first dimensions of the other one.
        ref_key: entry that has the shape.
        out_key: name of the result; `in_key` when left out.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self, in_key: NestedKey, ref_key: NestedKey, *, out_key: NestedKey | None = None) -> None:
        super().__init__([in_key], [in_key if out_key is None else out_key])
        self.ref_key = canonical_key(ref_key)
        self._shape = Size(())
        self._flag: TensorSpec | None = None

    def _bind(self, specs: EnvSpecs) -> list[str]:
        problems = self._check_wiring(specs, reads_root=False)
        in_key, flags = self.in_keys[0], dict(specs.done.flat_items())
        leaves = {**dict(specs.observation.flat_items()), **dict(specs.reward.flat_items()), **flags}
        self._flag = flags.get(in_key)
        reference, entry = leaves.get(self.ref_key), leaves.get(in_key)
        if reference is None:
            names = ", ".join(key_str(key) for key in leaves)
            name = key_str(self.ref_key)
            problems.append(f"ref_key: key {name} missing from what the environment writes (has: {names})")
        elif entry is not None:
            self._shape = reference.shape
            known = specs.observation, specs.reward
            opened = open_sizes([self.ref_key], known, "the result has its shape", "ref_key")
            if opened:
                return problems + opened
            if not _fits(entry.shape, self._shape):
                shapes = f"{tuple(entry.shape)} does not expand on the right to {tuple(self._shape)}"
                problems.append(f"in_key: the shape of {key_str(in_key)}, {shapes}")
        return problems

    def _call(self, data: TensorMap) -> TensorMap:
        (in_key, out_key), *_ = self._pairs
        value = data.get(in_key, None)
        if value is None:
            raise self._missing(in_key, data)
        data[out_key] = _expanded(value, self._shape)
        return data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        (in_key, out_key), *_ = self._pairs
        if reset_data.get(in_key, None) is not None:
            return self._call(reset_data)
        if self._flag is not None and in_key != out_key:
            reset_data[out_key] = torch.zeros(self._shape, dtype=torch.bool, device=self._flag.device)
        return reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Expand the entry at the root of a TensorDict, or under `"next"` with keys that start so; returns it."""
        value, reference = tensordict.get(self.in_keys[0], None), tensordict.get(self.ref_key, None)
        if value is None or reference is None:
            raise self._missing(self.in_keys[0] if value is None else self.ref_key, tensordict)
        if not _fits(value.shape, reference.shape):
            problem, expected = "the shape does not expand on the right", tuple(reference.shape)
            raise ShapeError(message("ExpandAs", problem, expected=expected, found=tuple(value.shape)))
        return tensordict.set(self.out_keys[0], _expanded(value, reference.shape))

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the result of an observation, or of a flag under a new name."""
        if self._flag is not None and self.in_keys != self.out_keys:
            observation_spec[self.out_keys[0]] = self._leaf_spec(self._flag)
            return observation_spec
        return self._map_spec(observation_spec)

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """Flags that are expanded in their place have the new shape."""
        return self._map_spec(done_spec) if self.in_keys == self.out_keys else done_spec

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        for _ in range(len(self._shape) - spec.ndim):
            spec = spec.unsqueeze(-1)
        return spec.expand(self._shape)

    def __repr__(self) -> str:
        return f"ExpandAs(in_key={self.in_keys[0]!r}, ref_key={self.ref_key!r}, out_key={self.out_keys[0]!r})"


def _fits(shape: Size, target: Size) -> bool:
    """Whether `shape` broadcasts to the first dimensions of `target`."""
    pairs = zip(shape, target, strict=False)
    return len(shape) <= len(target) and all(size in (1, wanted) for size, wanted in pairs)


def _expanded(value: Tensor, shape: Size) -> Tensor:
    return value.reshape(value.shape + (1,) * (len(shape) - value.ndim)).expand(shape)
