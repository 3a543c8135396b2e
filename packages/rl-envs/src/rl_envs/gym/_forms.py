"""Values that are no arrays (texts, sequences, graphs, alternatives) as a fixed number of arrays, and back."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias, final

import numpy as np

from rl_envs.gym._codec import IndexCodec, LeafCodec, RepeatedCodec, leaf_codec
from rl_envs.gym._limits import SpaceLimits, too_large
from rl_envs.gym._text import Alphabet
from rl_envs.gym.spaces import space_items

Array = np.ndarray[Any, Any]
Leaf: TypeAlias = tuple[tuple[str, ...], LeafCodec]


class Form(ABC):
    """Between the values of a space and arrays; see `rl_envs.gym.spaces` for which arrays.

    Args:
        leaves: names of the arrays, below the name of the space's own entry, and the codec of each.
    """

    def __init__(self, leaves: list[Leaf]) -> None:
        self.leaves = leaves

    @abstractmethod
    def arrays(self, value: Any) -> list[Array]:
        """One array for each leaf, in the shape and dtype of its codec.

        Raises:
            ValueError: the value is larger than the limits given, or not in the space.
        """

    @abstractmethod
    def value(self, arrays: Sequence[Any]) -> Any:
        """The value that decoded arrays, one for each leaf, stand for."""

    def blank(self) -> list[Array]:
        """What stands for no value."""
        return [codec.blank() for _, codec in self.leaves]


@final
class ArrayForm(Form):
    """Values that are arrays."""

    def __init__(self, codec: LeafCodec) -> None:
        super().__init__([((), codec)])
        self._codec = codec

    def arrays(self, value: Any) -> list[Array]:
        """See `Form`."""
        return [np.asarray(value, dtype=self._codec.dtype)]

    def value(self, arrays: Sequence[Any]) -> Any:
        """See `Form`."""
        return self._codec.single(arrays[0])


@final
class PartsForm(Form):
    """Values of a `Dict` (`names` are its keys) or of a `Tuple` (`names` is None)."""

    def __init__(self, parts: list[tuple[str, Form]], *, names: list[Any] | None) -> None:
        super().__init__(_below(parts))
        self._forms = [form for _, form in parts]
        self._names = names

    def arrays(self, value: Any) -> list[Array]:
        """See `Form`."""
        parts = value if self._names is None else [value[name] for name in self._names]
        return [array for form, part in zip(self._forms, parts, strict=True) for array in form.arrays(part)]

    def value(self, arrays: Sequence[Any]) -> Any:
        """See `Form`."""
        values = [form.value(own) for form, own in _shared_out(self._forms, arrays)]
        return tuple(values) if self._names is None else dict(zip(self._names, values, strict=True))


@final
class TextForm(Form):
    """Values of a `Text`: one array of character numbers."""

    def __init__(self, space: Any) -> None:
        super().__init__([((), RepeatedCodec(IndexCodec((), 0), space.max_length))])
        self._alphabet = Alphabet(space)

    def arrays(self, value: Any) -> list[Array]:
        """See `Form`."""
        return [self._alphabet.encode(value)]

    def value(self, arrays: Sequence[Any]) -> Any:
        """See `Form`."""
        return self._alphabet.decode_inside(arrays[0])


@final
class SequenceForm(Form):
    """Values of a `Sequence`: their length, and their elements padded to `length`."""

    def __init__(self, space: Any, inner: Form, length: int) -> None:
        rows = [(("values", *path), RepeatedCodec(codec, length)) for path, codec in inner.leaves]
        super().__init__([(("length",), IndexCodec((), 0)), *rows])
        self._space = space
        self._inner = inner
        self._length = length

    def arrays(self, value: Any) -> list[Array]:
        """See `Form`."""
        items = items_of(self._space.stacked_feature_space, value) if self._space.stack else list(value)
        rows = padded(self._inner, items, self._length, space=self._space, name="max_sequence_length")
        return [np.array(len(items)), *rows]

    def value(self, arrays: Sequence[Any]) -> Any:
        """See `Form`."""
        items = unpadded(self._inner, arrays[1:], int(arrays[0]))
        return stacked(self._space.feature_space, items) if self._space.stack else tuple(items)


@final
class OneOfForm(Form):
    """Values of a `OneOf`: which alternative, and arrays for each, blank for those that the value is not of."""

    def __init__(self, alternatives: list[Form]) -> None:
        parts = [(str(index), form) for index, form in enumerate(alternatives)]
        super().__init__([(("index",), IndexCodec((), 0)), *_below(parts)])
        self._alternatives = alternatives

    def arrays(self, value: Any) -> list[Array]:
        """See `Form`."""
        chosen, inner = value
        found = [np.array(int(chosen))]
        for index, form in enumerate(self._alternatives):
            found += form.arrays(inner) if index == chosen else form.blank()
        return found

    def value(self, arrays: Sequence[Any]) -> Any:
        """See `Form`."""
        chosen = int(arrays[0])
        form, own = _shared_out(self._alternatives, arrays[1:])[chosen]
        return np.int64(chosen), form.value(own)


@final
class GraphForm(Form):
    """Values of a `Graph`: numbers of nodes and edges, and both padded; links beyond the nodes are cut to the last."""

    def __init__(self, space: Any, node: Form, edge: Form | None, limits: SpaceLimits) -> None:
        count = IndexCodec((), 0)
        self._max_nodes = limits.graph_nodes(space)
        self._max_edges = 0 if edge is None else limits.graph_edges(space)
        leaves: list[Leaf] = [(("num_nodes",), count)]
        leaves += [(("nodes", *path), RepeatedCodec(codec, self._max_nodes)) for path, codec in node.leaves]
        self._node_arrays = len(leaves)
        if edge is not None:
            leaves.append((("num_edges",), count))
            leaves += [(("edges", *path), RepeatedCodec(codec, self._max_edges)) for path, codec in edge.leaves]
            leaves.append((("edge_links",), RepeatedCodec(RepeatedCodec(count, 2), self._max_edges)))
        super().__init__(leaves)
        self._space, self._node, self._edge = space, node, edge

    def arrays(self, value: Any) -> list[Array]:
        """See `Form`."""
        space = self._space
        nodes = items_of(space.batch_node_space, value.nodes)
        rows = padded(self._node, nodes, self._max_nodes, space=space, name="max_graph_nodes")
        found = [np.array(len(nodes)), *rows]
        if self._edge is None:
            return found
        edges = [] if value.edges is None else items_of(space.batch_edge_space, value.edges)
        rows = padded(self._edge, edges, self._max_edges, space=space, name="max_graph_edges")
        links = np.zeros((self._max_edges, 2), dtype=np.int64)
        if edges:
            links[: len(edges)] = value.edge_links
        return [*found, np.array(len(edges)), *rows, links]

    def value(self, arrays: Sequence[Any]) -> Any:
        """See `Form`."""
        from gymnasium.spaces import GraphInstance

        count = int(arrays[0])
        nodes = stacked(self._space.node_space, unpadded(self._node, arrays[1 : self._node_arrays], count))
        if self._edge is None or not count:
            return GraphInstance(nodes, None, None)
        num_edges, *rows, links = arrays[self._node_arrays :]
        if not num_edges:
            return GraphInstance(nodes, None, None)
        edges = stacked(self._space.edge_space, unpadded(self._edge, rows, int(num_edges)))
        return GraphInstance(nodes, edges, np.minimum(links[: int(num_edges)], count - 1).astype(np.int32))


def form_of(space: Any, *, categorical: bool, limits: SpaceLimits) -> Form:
    """The form of any space.

    Args:
        space: a Gymnasium space.
        categorical: discrete values as indices rather than one-hot.
        limits: how large values without a bound of their own get.
    Raises:
        SpecError: a space of another kind, or a limit is missing.
    """
    from gymnasium import spaces

    def inner(space: Any) -> Form:
        return form_of(space, categorical=categorical, limits=limits)

    match space:
        case spaces.Dict() | spaces.Tuple():
            parts = [(name, inner(part)) for name, part in space_items(space)]
            return PartsForm(parts, names=list(space.spaces) if isinstance(space, spaces.Dict) else None)
        case spaces.Text():
            return TextForm(space)
        case spaces.Sequence():
            return SequenceForm(space, inner(space.feature_space), limits.sequence_length(space))
        case spaces.OneOf():
            return OneOfForm([inner(part) for part in space.spaces])
        case spaces.Graph():
            edge = None if space.edge_space is None else inner(space.edge_space)
            return GraphForm(space, inner(space.node_space), edge, limits)
    return ArrayForm(leaf_codec(space, categorical=categorical))


def items_of(batched_space: Any, values: Any) -> list[Any]:
    """The single values in a batch, as `gymnasium.vector.utils` makes batches."""
    from gymnasium.vector.utils import iterate

    return list(iterate(batched_space, values))


def stacked(space: Any, items: list[Any]) -> Any:
    """A batch of values of `space`, as `gymnasium.vector.utils` makes batches."""
    from gymnasium.vector.utils import concatenate, create_empty_array

    empty: Any = create_empty_array(space, len(items))
    return concatenate(space, items, empty) if items else empty


def padded(form: Form, items: list[Any], length: int, *, space: Any, name: str) -> list[Array]:
    """Arrays `[length, ...]` of `items`, blank after the last.

    Raises:
        ValueError: there are more than `length`.
    """
    if len(items) > length:
        raise too_large(space, "elements", name=name, limit=length, found=len(items))
    rows = [np.array(RepeatedCodec(codec, length).blank(), dtype=codec.dtype) for _, codec in form.leaves]
    for index, item in enumerate(items):
        for row, array in zip(rows, form.arrays(item), strict=True):
            row[index] = array
    return rows


def unpadded(form: Form, rows: Sequence[Any], count: int) -> list[Any]:
    """The first `count` values of arrays `[length, ...]`."""
    return [form.value([row[index] for row in rows]) for index in range(count)]


def _below(parts: list[tuple[str, Form]]) -> list[Leaf]:
    return [((name, *path), codec) for name, form in parts for path, codec in form.leaves]


def _shared_out(forms: list[Form], arrays: Sequence[Any]) -> list[tuple[Form, Sequence[Any]]]:
    """Each form with the arrays that are its own."""
    found, start = [], 0
    for form in forms:
        end = start + len(form.leaves)
        found.append((form, arrays[start:end]))
        start = end
    return found
