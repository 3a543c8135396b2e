"""Several entries joined to one."""

from functools import reduce
from typing import ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Bounded, Composite, LeafSpec, NestedKey, TensorMap, Unbounded, key_str, message


@final
class CatTensors(Transform):
    """Concatenates entries, in the order of their names, and removes them.

    Args:
        in_keys: entries to join, default every observation of the environment; sums and counts that transforms before
            this one carry, such as `step_count`, are left out.
        out_key: name of the result.
        dim: dimension to join along, negative so that batch dimensions do not matter.
        del_keys: remove the entries joined.
        unsqueeze_if_oor: give entries whose rows lack that dimension, such as numbers `[*B]`, dimensions of size 1 in
            front until they have it; otherwise they are refused.
        sort: join in the order of the names; otherwise in that of `in_keys`.
    Raises:
        ValueError: `dim` is not negative.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        in_keys: Keys | NestedKey | None = None,
        out_key: NestedKey = "observation_vector",
        *,
        dim: int = -1,
        del_keys: bool = True,
        unsqueeze_if_oor: bool = False,
        sort: bool = True,
    ) -> None:
        self._finds_keys = in_keys is None
        self._sort = sort
        super().__init__(in_keys, [out_key])
        if dim >= 0:
            raise ValueError(message("CatTensors", "dim counts from the front", expected="a negative dim", found=dim))
        self.dim = dim
        self.del_keys = del_keys
        self.unsqueeze_if_oor = unsqueeze_if_oor
        self._batch_dims = 0
        self._choose([] if in_keys is None else self.in_keys)

    @property
    def out_key(self) -> NestedKey:
        """Name of the result."""
        return self.out_keys[0]

    def _choose(self, keys: list[NestedKey]) -> None:
        ordered = sorted(keys, key=lambda key: (key,) if isinstance(key, str) else key) if self._sort else keys
        self._set_keys(ordered, self.out_keys)
        self._drop = [key for key in ordered if key != self.out_key] if self.del_keys else []

    def _bind(self, specs: EnvSpecs) -> list[str]:
        others = self._left_alone(specs) if self._finds_keys else set()
        found = [key for key, _ in specs.observation.flat_items() if key not in others]
        self._choose(found if self._finds_keys else self.in_keys)
        problems = self._check_wiring(specs)
        states = {key for key, _ in specs.state.flat_items()}
        problems += [
            f"in_keys: {key_str(key)} is a state that the environment reads back. Use del_keys=False"
            for key in self._drop
            if key in states
        ]
        leaves = dict(specs.observation.flat_items())
        problems += [
            f"in_keys: key {key_str(key)} is no observation, and only observations can be joined"
            for key in self.in_keys
            if key not in leaves and not any(key_str(key) in problem for problem in problems)
        ]
        if problems:
            return problems
        self._batch_dims = len(specs.observation.shape)
        short = [key for key in self.in_keys if len(leaves[key].shape) < self._batch_dims - self.dim]
        if short and not self.unsqueeze_if_oor:
            shapes = ", ".join(f"{key_str(key)}: {tuple(leaves[key].shape)}" for key in short)
            return [f"dim: entries of one row have no dimension {self.dim} ({shapes}). Pass unsqueeze_if_oor=True"]
        sizes = {key: _widened(leaves[key].shape, self._batch_dims, self.dim) for key in self.in_keys}
        return _shape_problems(sizes, self.dim)

    def _call(self, data: TensorMap) -> TensorMap:
        return self._joined(data, self._batch_dims)

    def _joined(self, data: TensorMap, batch_dims: int) -> TensorMap:
        values: list[Tensor] = []
        for key in self.in_keys:
            value = data.get(key, None)
            if value is None:
                raise self._missing(key, data)
            if self.unsqueeze_if_oor:
                value = value.reshape(_widened(value.shape, batch_dims, self.dim))
            values.append(value)
        data[self.out_key] = torch.cat(values, self.dim)
        for key in self._drop:
            if isinstance(data, (dict, TensorDictBase)):
                del data[key]
        return data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return self._call(reset_data)

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the joined entry, bounded where all of its parts are; removes the parts."""
        leaves = dict(observation_spec.flat_items())
        found = [leaf for key in self.in_keys if isinstance(leaf := leaves[key], LeafSpec)]
        parts = [leaf.reshape(*_widened(leaf.shape, self._batch_dims, self.dim)) for leaf in found]
        bounded = [part for part in parts if isinstance(part, Bounded)]
        size = _joined_size([part.shape for part in parts], self.dim)
        for key in self._drop:
            del observation_spec[key]
        if len(bounded) < len(parts):
            dtype = reduce(torch.promote_types, (part.dtype for part in parts))
            observation_spec[self.out_key] = Unbounded(shape=size, dtype=dtype, device=parts[0].device)
        else:
            low = torch.cat([part.space.low for part in bounded], self.dim)
            high = torch.cat([part.space.high for part in bounded], self.dim)
            if size[self.dim] == -1:
                low, high = low.amin(self.dim, keepdim=True), high.amax(self.dim, keepdim=True)
            observation_spec[self.out_key] = Bounded(low, high, shape=size, dtype=low.dtype, device=low.device)
        return observation_spec

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Unchanged."""
        return reward_spec

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Apply it to entries at the root of stored data; returns that TensorDict.

        Raises:
            RuntimeError: no keys are given, and no environment has told which there are.
        """
        if not self.in_keys:
            fix = "Give in_keys; without, it has to be in an environment"
            raise RuntimeError(message("CatTensors", "in_keys are not known", fix=fix))
        self._joined(tensordict, len(tensordict.batch_size))
        return tensordict

    def __repr__(self) -> str:
        return f"CatTensors(in_keys={self.in_keys}, out_key={self.out_key!r})"


def _widened(shape: torch.Size, batch_dims: int, dim: int) -> torch.Size:
    """Shape of an entry whose rows have the dimension `dim`: sizes of 1 are put before those of a row that has not."""
    missing = max(batch_dims - dim - len(shape), 0)
    return torch.Size([*shape[:batch_dims], *[1] * missing, *shape[batch_dims:]])


def _joined_size(shapes: list[torch.Size], dim: int) -> torch.Size:
    """Shape of entries joined along `dim`: open there where one of theirs is."""
    size, parts = list(shapes[0]), [shape[dim] for shape in shapes]
    size[dim] = -1 if -1 in parts else sum(parts)
    return torch.Size(size)


def _shape_problems(shapes: dict[NestedKey, torch.Size], dim: int) -> list[str]:
    rest = {tuple(size for at, size in enumerate(shape, -len(shape)) if at != dim) for shape in shapes.values()}
    if len(rest) < 2:
        return []
    listed = ", ".join(f"{key_str(key)}: {tuple(shape)}" for key, shape in shapes.items())
    return [f"in_keys: shapes differ in more than dim {dim} ({listed})"]
