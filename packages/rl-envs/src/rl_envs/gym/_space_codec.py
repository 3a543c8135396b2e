"""Values of a whole space to flat dicts and back, for one env and for many."""

import math
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, final

import numpy as np
from torch import Tensor

from rl_envs.gym._codec import LeafCodec, leaf_codec
from rl_envs.gym._forms import Form, form_of
from rl_envs.gym._limits import NO_LIMITS, SpaceLimits
from rl_envs.gym.spaces import space_items
from rl_specs import FlatDict, NestedKey, ShapeError, TensorMap, join_key, key_str, message

Array = np.ndarray[Any, Any]
_shape = attrgetter("shape")
Path = tuple[str | int, ...]


@final
class SpaceCodec:
    """Values of a whole space, to flat dicts and back.

    Arrays inside `Dict` and `Tuple` spaces, at whatever depth, go the short way: all rows of an entry at once. Values
    of other spaces are taken apart one by one.

    Args:
        space: the space of one env.
        key: name of the entry; the entries of a `Dict` observation are at the root (`key=None`).
        categorical: discrete values as indices rather than one-hot.
        limits: how large values without a bound of their own get.
    """

    def __init__(
        self, space: Any, *, key: NestedKey | None, categorical: bool, limits: SpaceLimits = NO_LIMITS
    ) -> None:
        self._space = space
        self._count = 0
        self._leaves: list[tuple[int, NestedKey, Path, LeafCodec]] = []
        self._groups: list[tuple[int, _Group]] = []
        self._collect(space, key, (), categorical, limits)
        is_one_array = len(self._leaves) == 1 and not self._leaves[0][2]
        self._only = (self._leaves[0][1], self._leaves[0][3]) if is_one_array else None

    def _collect(self, space: Any, key: NestedKey | None, path: Path, categorical: bool, limits: SpaceLimits) -> None:
        from gymnasium import spaces

        if isinstance(space, spaces.Dict | spaces.Tuple):
            steps: Iterable[Any] = range(len(space.spaces)) if isinstance(space, spaces.Tuple) else space.spaces
            for step, (name, inner) in zip(steps, space_items(space), strict=True):
                inner_key = name if key is None else join_key(key, name)
                self._collect(inner, inner_key, (*path, step), categorical, limits)
            return
        entry = "observation" if key is None else key
        if isinstance(space, spaces.Text | spaces.Sequence | spaces.Graph | spaces.OneOf):
            form = form_of(space, categorical=categorical, limits=limits)
            self._groups.append((self._count, _Group(entry, path, form)))
        else:
            self._leaves.append((self._count, entry, path, leaf_codec(space, categorical=categorical)))
        self._count += 1

    def encode(self, value: Any) -> FlatDict:
        """Tensors of one value; nothing is shared with it."""
        if self._only is not None:
            key, codec = self._only
            return {key: codec.encode(np.array(value, dtype=codec.dtype))}
        entries = self._encode_leaves(value)
        for _, group in self._groups:
            entries.update(group.encode(_at(value, group.path)))
        return entries

    def encode_batch(self, values: Any) -> FlatDict:
        """Tensors `[N, ...]` of a batch of values, as a `VectorEnv` makes batches; nothing is shared with it."""
        if not self._groups:
            return self.encode(values)
        entries = self._encode_leaves(values)
        for _, group in self._groups:
            entries.update(group.encode_rows(_at(values, group.path)))
        return entries

    def encode_rows(self, values: Sequence[Any]) -> FlatDict:
        """Tensors `[N, ...]` of `N` values; a value that is None leaves its row zero, or blank."""
        entries: FlatDict = {}
        for _, key, path, codec in self._leaves:
            entries[key] = codec.encode(_rows(key, _column(values, path), codec))
        for _, group in self._groups:
            entries.update(group.encode_rows(_column(values, group.path)))
        return entries

    def decode(self, data: TensorMap) -> Any:
        """The value."""
        if self._only is not None:
            key, codec = self._only
            value = codec.decode(_array(data[key]))
            return value[()] if codec.is_number else value if codec.shape else np.asarray(value)
        values = self._decoded_leaves(data)
        for position, group in self._groups:
            values[position] = group.decode(data)
        return _nest(self._space, iter(values))

    def decode_batch(self, data: TensorMap, count: int) -> Any:
        """The values of `count` envs as a batch, as a `VectorEnv` takes batches."""
        if not self._groups:
            return self.decode(data)
        values = self._decoded_leaves(data)
        for position, group in self._groups:
            values[position] = tuple(group.decode_rows(data, count))
        return _nest(self._space, iter(values))

    def decode_rows(self, data: TensorMap, count: int) -> list[Any]:
        """The values of `count` envs, one per row."""
        if self._only is not None:
            key, codec = self._only
            return list(codec.rows(codec.decode(_array(data[key]))))
        columns: list[Any] = [None] * self._count
        for position, key, _, codec in self._leaves:
            columns[position] = codec.rows(codec.decode(_array(data[key])))
        for position, group in self._groups:
            columns[position] = group.decode_rows(data, count)
        return [_nest(self._space, iter([column[i] for column in columns])) for i in range(count)]

    def _encode_leaves(self, value: Any) -> FlatDict:
        return {
            key: codec.encode(np.array(_at(value, path), dtype=codec.dtype)) for _, key, path, codec in self._leaves
        }

    def _decoded_leaves(self, data: TensorMap) -> list[Any]:
        """What each array entry holds, in its place among all parts."""
        values: list[Any] = [None] * self._count
        for position, key, _, codec in self._leaves:
            values[position] = codec.single(codec.decode(_array(data[key])))
        return values


@final
class _Group:
    """The entries of one value that is no array.

    Args:
        key: name of the value.
        path: where it is in a value of the whole space.
        form: how it becomes arrays.
    """

    def __init__(self, key: NestedKey, path: Path, form: Form) -> None:
        self.path = path
        self._form = form
        self._leaves = [(join_key(key, *below), codec) for below, codec in form.leaves]

    def encode(self, value: Any) -> FlatDict:
        """Entries of one value."""
        arrays = self._form.arrays(value)
        return {key: codec.encode(np.array(array)) for (key, codec), array in zip(self._leaves, arrays, strict=True)}

    def encode_rows(self, values: Sequence[Any]) -> FlatDict:
        """Entries `[N, ...]` of `N` values; blank where one is None."""
        rows = [self._form.blank() if value is None else self._form.arrays(value) for value in values]
        columns = zip(*rows, strict=True)
        return {key: codec.encode(np.stack(column)) for (key, codec), column in zip(self._leaves, columns, strict=True)}

    def decode(self, data: TensorMap) -> Any:
        """The value of entries."""
        return self._form.value(self._decoded(data))

    def decode_rows(self, data: TensorMap, count: int) -> list[Any]:
        """The values of entries `[N, ...]`."""
        columns = self._decoded(data)
        return [self._form.value([column[row] for column in columns]) for row in range(count)]

    def _decoded(self, data: TensorMap) -> list[Array]:
        return [codec.decode(_array(data[key])) for key, codec in self._leaves]


def _column(values: Sequence[Any], path: Path) -> Sequence[Any]:
    """The part at `path` of each value."""
    return [None if value is None else _at(value, path) for value in values] if path else values


def _rows(key: NestedKey, values: Sequence[Any], codec: LeafCodec) -> Array:
    """`[N, *shape]` array of `N` values of a leaf.

    Raises:
        ShapeError: a value has more or fewer elements than those of the space.
    """
    count = len(values)
    if codec.shape and set(map(type, values)) == {np.ndarray} and set(map(_shape, values)) == {codec.shape}:
        together: Array = np.concatenate(values, dtype=codec.dtype, casting="unsafe")
        return together.reshape(count, *codec.shape)
    rows = np.zeros((count, *codec.shape), dtype=codec.dtype)
    for index, value in enumerate(values):
        if value is not None:
            rows[index] = _fitting(key, value, codec.shape) if codec.shape else value
    return rows


def _fitting(key: NestedKey, value: Any, shape: tuple[int, ...]) -> Array:
    """`value` in the shape of the space, into which it would be broadcast otherwise."""
    array = np.asarray(value)
    if array.size != math.prod(shape):
        fix = "Correct the space, or what reset and step return"
        problem = f"observation {key_str(key)} has another shape than its space"
        raise ShapeError(message("GymWrapper", problem, expected=shape, found=array.shape, fix=fix))
    return array.reshape(shape)


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
