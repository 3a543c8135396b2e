"""Values of Gymnasium spaces that are arrays to tensors and back: one codec per kind, all batch shapes alike."""

from abc import ABC, abstractmethod
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from rl_envs.gym.spaces import array_dtype, box_bounds
from rl_specs import SpecError, message

Array = np.ndarray[Any, Any]


class LeafCodec(ABC):
    """Between the values of one leaf space and tensors.

    Args:
        shape: shape of a value as an array.
        dtype: dtype in which values are gathered.
        is_array: whether values without dimensions are arrays, rather than numbers.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, *, is_array: bool = True) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.is_number = not (shape or is_array)
        self._is_bare_array = is_array and not shape

    def single(self, value: Array) -> Any:
        """One value, out of what `decode` or a row of it gave."""
        return value[()] if self.is_number else np.asarray(value)

    def rows(self, values: Array) -> list[Any] | Array:
        """Several values, out of what `decode` gave."""
        return [np.asarray(value) for value in values] if self._is_bare_array else values

    @abstractmethod
    def encode(self, values: Array) -> Tensor:
        """`[*B, *shape]` array, the callee's own, to a tensor of the spec's form."""

    @abstractmethod
    def decode(self, values: Array) -> Array:
        """Tensor of the spec's form, as an array `[*B, ...]`, to values `[*B, *shape]` inside the space."""

    @abstractmethod
    def blank(self) -> Array:
        """The value nearest to zero, or the first category, `[*shape]` in `dtype`."""


class BoxCodec(LeafCodec):
    """Arrays, clipped into the bounds on the way to the env."""

    def __init__(self, space: Any) -> None:
        super().__init__(tuple(space.shape), array_dtype(space.dtype))
        self._low, self._high = box_bounds(space)
        self._narrow = None if self.dtype == space.dtype else np.dtype(space.dtype)

    def encode(self, values: Array) -> Tensor:
        """See `LeafCodec`."""
        return torch.from_numpy(values)

    def decode(self, values: Array) -> Array:
        """See `LeafCodec`."""
        if values.dtype != self.dtype:
            values = values.astype(self.dtype)
        clipped: Array = np.minimum(np.maximum(values, self._low), self._high)
        return clipped if self._narrow is None else clipped.astype(self._narrow)

    def blank(self) -> Array:
        """See `LeafCodec`."""
        return self.decode(np.zeros(self.shape, dtype=self.dtype)).astype(self.dtype)


class IndexCodec(LeafCodec):
    """Integers from `start` on, as indices from 0; those of an array in one dimension."""

    def __init__(self, shape: tuple[int, ...], start: Any) -> None:
        super().__init__(shape, np.int64, is_array=False)
        self._start = np.asarray(start, dtype=np.int64)

    def encode(self, values: Array) -> Tensor:
        """See `LeafCodec`."""
        index = np.asarray(values - self._start)
        if len(self.shape) > 1:
            index = index.reshape(*index.shape[: -len(self.shape)], -1)
        return torch.from_numpy(index)

    def decode(self, values: Array) -> Array:
        """See `LeafCodec`."""
        index = values.astype(np.int64)
        if len(self.shape) > 1:
            index = index.reshape(*index.shape[:-1], *self.shape)
        return np.asarray(index + self._start)

    def blank(self) -> Array:
        """See `LeafCodec`."""
        return np.broadcast_to(self._start, self.shape)


class OneHotCodec(LeafCodec):
    """Integers from `start` on, as one-hot blocks, concatenated."""

    def __init__(self, shape: tuple[int, ...], nvec: list[int], start: Any) -> None:
        super().__init__(shape, np.int64, is_array=False)
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

    def blank(self) -> Array:
        """See `LeafCodec`."""
        return self._start.reshape(self.shape)


class PlainCodec(LeafCodec):
    """Arrays as they are, whose zero is a value."""

    def encode(self, values: Array) -> Tensor:
        """See `LeafCodec`."""
        return torch.from_numpy(values)

    def decode(self, values: Array) -> Array:
        """See `LeafCodec`."""
        return values.astype(self.dtype)

    def blank(self) -> Array:
        """See `LeafCodec`."""
        return np.zeros(self.shape, dtype=self.dtype)


class RepeatedCodec(LeafCodec):
    """`count` values of another codec, one after the other."""

    def __init__(self, codec: LeafCodec, count: int) -> None:
        super().__init__((count, *codec.shape), codec.dtype)
        self._codec = codec

    def encode(self, values: Array) -> Tensor:
        """See `LeafCodec`."""
        return self._codec.encode(values)

    def decode(self, values: Array) -> Array:
        """See `LeafCodec`."""
        return self._codec.decode(values)

    def blank(self) -> Array:
        """See `LeafCodec`."""
        return np.broadcast_to(self._codec.blank(), self.shape)


def leaf_codec(space: Any, *, categorical: bool) -> LeafCodec:
    """The codec of a leaf space.

    Raises:
        SpecError: values of the space are no arrays.
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
    raise SpecError(message("GymWrapper", "a space whose values are no arrays", found=space, fix="Wrap the env"))
