"""Values of Gymnasium spaces to tensors and back: one codec per leaf of a space, all batch shapes alike."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from rl_envs.gym.spaces import array_dtype, space_items
from rl_specs import FlatDict, NestedKey, SpecError, TensorMap, join_key, message

Array = np.ndarray[Any, Any]
_shape = attrgetter("shape")
Path = tuple[str | int, ...]


class LeafCodec(ABC):
    """Between the values of one leaf space and tensors.

    Args:
        shape: shape of a value as an array.
        dtype: dtype in which values are gathered.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)

    @abstractmethod
    def encode(self, values: Array) -> Tensor:
        """`[*B, *shape]` array, the callee's own, to a tensor of the spec's form."""

    @abstractmethod
    def decode(self, values: Array) -> Array:
        """Tensor of the spec's form, as an array `[*B, ...]`, to values `[*B, *shape]` inside the space."""


class BoxCodec(LeafCodec):
    """Arrays, clipped into the bounds on the way to the env."""

    def __init__(self, space: Any) -> None:
        super().__init__(tuple(space.shape), array_dtype(space.dtype))
        self._to = np.dtype(space.dtype)
        self._low = np.array(space.low)
        self._high = np.array(space.high)

    def encode(self, values: Array) -> Tensor:
        """See `LeafCodec`."""
        return torch.from_numpy(values)

    def decode(self, values: Array) -> Array:
        """See `LeafCodec`."""
        if values.dtype != self._to:
            values = values.astype(self._to)
        clipped: Array = np.minimum(np.maximum(values, self._low), self._high)
        return clipped


class IndexCodec(LeafCodec):
    """Integers from `start` on, as indices from 0."""

    def __init__(self, shape: tuple[int, ...], start: Any) -> None:
        super().__init__(shape, np.int64)
        self._start = np.asarray(start, dtype=np.int64)

    def encode(self, values: Array) -> Tensor:
        """See `LeafCodec`."""
        return torch.from_numpy(np.asarray(values - self._start))

    def decode(self, values: Array) -> Array:
        """See `LeafCodec`."""
        return np.asarray(values.astype(np.int64) + self._start)


class OneHotCodec(LeafCodec):
    """Integers from `start` on, as one-hot blocks, concatenated."""

    def __init__(self, shape: tuple[int, ...], nvec: list[int], start: Any) -> None:
        super().__init__(shape, np.int64)
        self._start = np.ravel(np.asarray(start, dtype=np.int64))
        self._ends = np.cumsum(nvec)
        self._blocks = [np.arange(n) for n in nvec]

    def encode(self, values: Array) -> Tensor:
        """See `LeafCodec`."""
        lead = values.shape[: values.ndim - len(self.shape)]
        index = values.reshape(*lead, len(self._blocks)) - self._start
        hot = [index[..., i : i + 1] == block for i, block in enumerate(self._blocks)]
        return torch.from_numpy(np.concatenate(hot, axis=-1).astype(np.int64))

    def decode(self, values: Array) -> Array:
        """See `LeafCodec`."""
        if len(self._blocks) == 1:
            if values.ndim == 1 and not self.shape:
                return cast(Array, values.argmax() + self._start[0])
            index = np.asarray(values.argmax(-1) + self._start[0])
        else:
            parts = np.split(values, self._ends[:-1], axis=-1)
            index = np.stack([part.argmax(-1) for part in parts], axis=-1) + self._start
        return index.reshape((*values.shape[:-1], *self.shape))


class PlainCodec(LeafCodec):
    """Arrays as they are."""

    def encode(self, values: Array) -> Tensor:
        """See `LeafCodec`."""
        return torch.from_numpy(values)

    def decode(self, values: Array) -> Array:
        """See `LeafCodec`."""
        return values.astype(self.dtype)


def leaf_codec(space: Any, *, categorical: bool) -> LeafCodec:
    """The codec of a leaf space.

    Raises:
        SpecError: values of the space are not tensors.
    """
    from gymnasium import spaces

    match space:
        case spaces.Box():
            return BoxCodec(space)
        case spaces.Discrete():
            if categorical:
                return IndexCodec((), space.start)
            return OneHotCodec((), [int(space.n)], space.start)
        case spaces.MultiDiscrete():
            if categorical:
                return IndexCodec(tuple(space.shape), space.start)
            return OneHotCodec(tuple(space.shape), [int(n) for n in np.ravel(space.nvec)], space.start)
        case spaces.MultiBinary():
            return PlainCodec(tuple(space.shape), np.int8)
    raise SpecError(message("GymWrapper", "a space whose values are no tensors", found=space, fix="Wrap the env"))


class SpaceCodec:
    """Values of a whole space, `Dict` and `Tuple` included, to flat dicts and back.

    Args:
        space: the space of one env.
        key: name of the entry; the entries of a `Dict` observation are at the root (`key=None`).
        categorical: discrete values as indices rather than one-hot.
    """

    def __init__(self, space: Any, *, key: NestedKey | None, categorical: bool) -> None:
        self._leaves: list[tuple[NestedKey, Path, LeafCodec]] = []
        self._space = space
        self._collect(space, key, (), categorical)
        self._only = self._leaves[0] if len(self._leaves) == 1 and not self._leaves[0][1] else None

    def _collect(self, space: Any, key: NestedKey | None, path: Path, categorical: bool) -> None:
        from gymnasium import spaces

        if isinstance(space, spaces.Dict | spaces.Tuple):
            is_tuple = isinstance(space, spaces.Tuple)
            for index, (name, inner) in enumerate(space_items(space)):
                step: str | int = index if is_tuple else name
                self._collect(inner, name if key is None else join_key(key, name), (*path, step), categorical)
        else:
            self._leaves.append((key or "observation", path, leaf_codec(space, categorical=categorical)))

    def encode(self, value: Any) -> FlatDict:
        """Tensors of one value, or of a batch of values in the arrays that a `VectorEnv` makes; nothing is shared."""
        if self._only is not None:
            key, _, codec = self._only
            return {key: codec.encode(np.array(value, dtype=codec.dtype))}
        return {key: codec.encode(np.array(_at(value, path), dtype=codec.dtype)) for key, path, codec in self._leaves}

    def encode_rows(self, values: Sequence[Any]) -> FlatDict:
        """Tensors `[N, ...]` of `N` values; a value that is None leaves its row zero."""
        entries: FlatDict = {}
        for key, path, codec in self._leaves:
            leaves = [None if value is None else _at(value, path) for value in values] if path else values
            entries[key] = codec.encode(_rows(leaves, codec))
        return entries

    def decode(self, data: TensorMap) -> Any:
        """The value, or the batch of values in the arrays that a `VectorEnv` takes."""
        if self._only is not None:
            return self._only[2].decode(_array(data[self._only[0]]))[()]
        values = [codec.decode(_array(data[key]))[()] for key, _, codec in self._leaves]
        return _nest(self._space, iter(values))

    def decode_rows(self, data: TensorMap, count: int) -> list[Any]:
        """The values of `count` envs, one per row."""
        if self._only is not None:
            return list(self._only[2].decode(_array(data[self._only[0]])))
        columns = [codec.decode(_array(data[key])) for key, _, codec in self._leaves]
        return [_nest(self._space, iter([column[i] for column in columns])) for i in range(count)]


def _rows(values: Sequence[Any], codec: LeafCodec) -> Array:
    """`[N, *shape]` array of `N` values of a leaf."""
    count = len(values)
    if codec.shape and set(map(type, values)) == {np.ndarray} and set(map(_shape, values)) == {codec.shape}:
        together: Array = np.concatenate(values, dtype=codec.dtype, casting="unsafe")
        return together.reshape(count, *codec.shape)
    rows = np.zeros((count, *codec.shape), dtype=codec.dtype)
    for index, value in enumerate(values):
        if value is not None:
            rows[index] = value
    return rows


def _array(value: Tensor) -> Array:
    if value.requires_grad:
        value = value.detach()
    return value.numpy() if value.is_cpu else value.cpu().numpy()


def _at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _nest(space: Any, values: Any) -> Any:
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        return {name: _nest(inner, values) for name, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_nest(inner, values) for inner in space.spaces)
    return next(values)
