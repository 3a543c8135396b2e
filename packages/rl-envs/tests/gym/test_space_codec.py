"""Tests of `rl_envs.gym._space_codec` and `rl_envs.gym._forms`: values of any space there and back."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rl_envs.gym._limits import SpaceLimits
from rl_envs.gym._space_codec import SpaceCodec
from rl_envs.gym.spaces import SpaceSpecs
from rl_specs import Composite, FlatDict, key_str

LIMITS = SpaceLimits(max_sequence_length=40, max_graph_nodes=10, max_graph_edges=90)


def boxes() -> st.SearchStrategy[Any]:
    """Boxes of any shape and several dtypes."""
    shapes = st.lists(st.integers(1, 3), max_size=2).map(tuple)
    floats = st.builds(
        lambda shape, kind: spaces.Box(-1.0, 2.0, shape, kind), shapes, st.sampled_from([np.float32, np.float64])
    )
    positive = shapes.map(lambda shape: spaces.Box(3.0, 4.0, shape, np.float32))
    bytes_ = shapes.map(lambda shape: spaces.Box(0, 255, shape, np.uint8))
    wide = shapes.map(lambda shape: spaces.Box(5, 60000, shape, np.uint16))
    return st.one_of(floats, positive, bytes_, wide)


def discretes() -> st.SearchStrategy[Any]:
    """Spaces of categories and bits."""
    single = st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 4), st.integers(-2, 2))
    several = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(spaces.MultiDiscrete)
    table = st.just(spaces.MultiDiscrete(np.array([[2, 3], [4, 1]])))
    bits = st.sampled_from([spaces.MultiBinary(3), spaces.MultiBinary((2, 2))])
    return st.one_of(single, several, table, bits)


def texts() -> st.SearchStrategy[Any]:
    """Spaces of texts."""
    return st.builds(
        lambda low, extra: spaces.Text(low + extra, min_length=low, charset="xyz."),
        st.integers(0, 3),
        st.integers(0, 3),
    )


def graphs() -> st.SearchStrategy[Any]:
    """Spaces of graphs, with and without edge features."""
    parts = st.one_of(boxes(), discretes())
    return st.builds(spaces.Graph, parts, st.one_of(st.none(), parts))


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Spaces made of others."""
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        several.map(lambda parts: spaces.Dict({f"part{i}": part for i, part in enumerate(parts)})),
        several.map(spaces.Tuple),
        several.map(spaces.OneOf),
        st.builds(lambda space, stack: spaces.Sequence(space, stack=stack), inner, st.booleans()),
    )


SPACES = st.recursive(st.one_of(boxes(), discretes(), texts(), graphs()), containers, max_leaves=4)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, parts and types of arrays included."""
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return bool(a == b)


def assert_inside(entries: FlatDict, spec: Composite) -> None:
    """Each entry has its spec, and is in it."""
    specs = dict(spec.flat_items())
    assert set(entries) == set(specs)
    for key, leaf in specs.items():
        assert entries[key].dtype is leaf.dtype, key_str(key)
        assert entries[key].shape == leaf.shape, key_str(key)
        assert leaf.is_in(entries[key]), key_str(key)


@FEW
@given(space=SPACES, categorical=st.booleans(), seed=st.integers(0, 2**31 - 1))
def test_values_there_and_back(space: Any, categorical: bool, seed: int) -> None:
    """Tensors of any value of any space are in its spec and give the value back: one, by rows, and as a batch."""
    space.seed(seed)
    codec = SpaceCodec(space, key="action", categorical=categorical, limits=LIMITS)
    specs = SpaceSpecs(device=None, categorical=categorical, limits=LIMITS)
    values = [space.sample() for _ in range(3)]
    entries = codec.encode(values[0])
    assert_inside(entries, Composite({"action": specs.of(space)}))
    assert same(codec.decode(entries), values[0])
    rows = codec.encode_rows(values)
    assert_inside(rows, Composite({"action": specs.of(space, (3,))}, shape=(3,)))
    assert all(map(same, codec.decode_rows(rows, 3), values))
    empty: Any = create_empty_array(space, 3)
    batch = concatenate(space, values, empty)
    batched = codec.encode_batch(batch)
    assert all(torch.equal(batched[key], rows[key]) for key in rows)
    back = iterate(batch_space(space, 3), codec.decode_batch(batched, 3))
    assert all(map(same, back, values))


@pytest.mark.filterwarnings("ignore:.*Casting input x to numpy array:UserWarning")  # stacks of single numbers
@FEW
@given(space=SPACES, categorical=st.booleans(), seed=st.integers(0, 2**31 - 1))
def test_every_tensor_is_a_value(space: Any, categorical: bool, seed: int) -> None:
    """Whatever a policy draws from the spec becomes a value inside the space."""
    codec = SpaceCodec(space, key="action", categorical=categorical, limits=LIMITS)
    specs = SpaceSpecs(device=None, categorical=categorical, limits=LIMITS)
    spec = Composite({"action": specs.of(space, (2,))}, shape=(2,))
    generator = torch.Generator().manual_seed(seed)
    entries = {key: leaf.rand(generator=generator) for key, leaf in spec.flat_items()}
    for value in codec.decode_rows(entries, 2):
        assert space.contains(value)
    single = codec.decode({key: entry[0] for key, entry in entries.items()})
    assert same(single, codec.decode_rows(entries, 2)[0])


def codec_of(space: Any, **limits: int) -> SpaceCodec:
    """A codec of observations with indices."""
    return SpaceCodec(space, key=None, categorical=True, limits=SpaceLimits(**limits))


def test_a_sequence_by_hand() -> None:
    """Elements come first, then the number of the space nearest to zero."""
    codec = codec_of(spaces.Sequence(spaces.Box(2, 9, (), np.int32)), max_sequence_length=4)
    entries = codec.encode((np.int32(5), np.int32(7)))
    assert entries[("observation", "length")].item() == 2
    assert entries[("observation", "values")].tolist() == [5, 7, 2, 2]


def test_a_graph_by_hand() -> None:
    """Nodes, edges and links come first, then padding."""
    codec = codec_of(spaces.Graph(spaces.Discrete(9), spaces.Discrete(9)), max_graph_nodes=3, max_graph_edges=2)
    graph = spaces.GraphInstance(np.array([4, 6]), np.array([8]), np.array([[1, 0]], dtype=np.int32))
    entries = codec.encode(graph)
    found = {key[1]: value.tolist() for key, value in entries.items() if isinstance(key, tuple)}
    assert found == {
        "num_nodes": 2,
        "nodes": [4, 6, 0],
        "num_edges": 1,
        "edges": [8, 0],
        "edge_links": [[1, 0], [0, 0]],
    }


def test_an_alternative_by_hand() -> None:
    """The alternatives that the value is not of are blank."""
    codec = codec_of(spaces.OneOf([spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2,), np.float32)]))
    entries = codec.encode((np.int64(1), np.array([0.5, -0.5], dtype=np.float32)))
    found = {key[1]: value.tolist() for key, value in entries.items() if isinstance(key, tuple)}
    assert found == {"index": 1, "0": 0, "1": [0.5, -0.5]}


def test_links_and_edges_of_missing_nodes() -> None:
    """Links beyond the nodes are cut to the last one, and a graph without nodes has no edges."""
    codec = codec_of(spaces.Graph(spaces.Discrete(9), spaces.Discrete(9)), max_graph_nodes=3, max_graph_edges=2)
    entries: dict[str, Any] = {
        "num_nodes": torch.tensor(2),
        "nodes": torch.tensor([4, 6, 1]),
        "num_edges": torch.tensor(1),
        "edges": torch.tensor([8, 3]),
        "edge_links": torch.tensor([[2, 0], [2, 2]]),
    }
    graph = codec.decode({("observation", name): value for name, value in entries.items()})
    assert graph.edge_links.tolist() == [[1, 0]]
    entries["num_nodes"] = torch.tensor(0)
    empty = codec.decode({("observation", name): value for name, value in entries.items()})
    assert (len(empty.nodes), empty.edges, empty.edge_links) == (0, None, None)


@pytest.mark.parametrize(
    ("space", "value", "match"),
    [
        (spaces.Sequence(spaces.Discrete(2)), (0, 1, 1), "max_sequence_length. Expected 2, found 3"),
        (
            spaces.Graph(spaces.Discrete(2), None),
            spaces.GraphInstance(np.array([0, 1, 1]), None, None),
            "max_graph_nodes. Expected 2, found 3",
        ),
    ],
)
def test_values_beyond_the_limit_are_errors(space: Any, value: Any, match: str) -> None:
    """A value larger than the limit given is an error that names the limit, the size and what to do."""
    with pytest.raises(ValueError, match=match):
        codec_of(space, max_sequence_length=2, max_graph_nodes=2).encode(value)


def test_rows_without_a_value_are_blank() -> None:
    """A row for which there is no value holds what pads values, and does not change the others."""
    codec = codec_of(spaces.Dict({"a": spaces.Text(2, charset="ab"), "b": spaces.Discrete(3)}))
    rows = codec.encode_rows([None, {"a": "ba", "b": 2}])
    assert rows["a"].tolist() == [[0, 0], [2, 1]]
    assert rows["b"].tolist() == [0, 2]
