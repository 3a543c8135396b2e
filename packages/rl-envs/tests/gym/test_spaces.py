"""Tests of `rl_envs.gym.spaces`."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rl_envs.gym import space_from_spec, spec_from_space
from rl_envs.gym._space_codec import SpaceCodec
from rl_specs import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    MultiCategorical,
    MultiOneHot,
    OneHot,
    SpecError,
    TensorSpec,
    Unbounded,
)

SPACES: list[tuple[spaces.Space[Any], TensorSpec, TensorSpec]] = [
    (spaces.Discrete(3, start=2), OneHot(3, dtype=torch.int64), Categorical(3)),
    (spaces.MultiDiscrete([2, 3]), MultiOneHot([2, 3], dtype=torch.int64), MultiCategorical([2, 3])),
    (spaces.MultiBinary(4), Binary(4), Binary(4)),
    (
        spaces.Box(-1.0, 2.0, (2,), np.float64),
        Bounded(-1.0, 2.0, shape=(2,), dtype=torch.float64),
        Bounded(-1.0, 2.0, shape=(2,), dtype=torch.float64),
    ),
    (
        spaces.Box(0, 255, (2, 2), np.uint8),
        Bounded(0, 255, shape=(2, 2), dtype=torch.uint8),
        Bounded(0, 255, shape=(2, 2), dtype=torch.uint8),
    ),
    (spaces.Box(-np.inf, np.inf, (3,)), Unbounded(shape=(3,)), Unbounded(shape=(3,))),
    (spaces.Text(5, charset="ab"), Categorical(3, shape=(5,)), Categorical(3, shape=(5,))),
]


@pytest.mark.parametrize(("space", "one_hot", "index"), SPACES)
def test_specs_of_leaf_spaces(space: spaces.Space[Any], one_hot: TensorSpec, index: TensorSpec) -> None:
    """Each kind of space has its spec, discrete ones in both encodings."""
    assert spec_from_space(space) == one_hot
    assert spec_from_space(space, categorical=True) == index


def test_half_bounded_box_keeps_its_bounds() -> None:
    """A box that is bounded on one side only is `Bounded` with an infinite bound."""
    spec = spec_from_space(spaces.Box(np.array([0.0, -np.inf]), np.array([np.inf, 1.0]), dtype=np.float64))
    assert isinstance(spec, Bounded)
    assert spec.space.low.tolist() == [0.0, -np.inf]


def test_containers_are_composites() -> None:
    """Entries of a `Dict` keep their names, those of a `Tuple` are numbered; shapes start with the batch size."""
    space = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Tuple((spaces.Box(0, 1, (2,)), spaces.MultiBinary(1)))})
    spec = spec_from_space(space, batch_size=(4,))
    assert isinstance(spec, Composite)
    assert [(key, tuple(leaf.shape)) for key, leaf in spec.flat_items()] == [
        ("a", (4, 2)),
        (("b", "0"), (4, 2)),
        (("b", "1"), (4, 1)),
    ]


def test_keys_that_are_numbers() -> None:
    """Keys of a `Dict` that are no strings become names, and values are read and written under the keys themselves."""
    inner: Any = {0: spaces.Box(-1.0, 1.0, (2,), np.float32)}
    outer: Any = {2: spaces.Discrete(3), 1: spaces.Dict(inner)}
    space: Any = spaces.Dict(outer)
    codec = SpaceCodec(space, key="action", categorical=True)
    value = space.sample()
    entries = codec.encode(value)
    assert set(entries) == {("action", "2"), ("action", "1", "0")}
    back = codec.decode(entries)
    assert back[2] == value[2]
    assert np.array_equal(back[1][0], value[1][0])
    assert set(spec_from_space(space).keys()) == {"1", "2"}  # type: ignore[attr-defined]  # a Composite
    same: Any = {1: spaces.Discrete(2), "1": spaces.Discrete(2)}
    with pytest.raises(SpecError, match=r"keys of a Dict with one name(.|\n)*1, '1'"):
        spec_from_space(spaces.Dict(same))


def test_unknown_space_is_an_error() -> None:
    """A space of a class that is not Gymnasium's is named in the error."""

    class Missions(spaces.Space[str]):
        """Texts of some grammar."""

    with pytest.raises(SpecError, match="found Missions"):
        spec_from_space(Missions())


def shapes(spec: TensorSpec) -> dict[Any, tuple[int, ...]]:
    """Shapes of all entries."""
    assert isinstance(spec, Composite)
    return {key: tuple(leaf.shape) for key, leaf in spec.flat_items()}


def test_sequences_are_padded() -> None:
    """A `Sequence` is its length and its elements, one dimension more than a single one."""
    space = spaces.Sequence(spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(0, 1, (3,))}))
    spec = spec_from_space(space, batch_size=(4,), max_sequence_length=5)
    assert shapes(spec) == {"length": (4,), ("values", "a"): (4, 5, 2), ("values", "b"): (4, 5, 3)}
    assert spec["length"] == Categorical(6, shape=(4,))


def test_graphs_are_padded() -> None:
    """A `Graph` is its numbers of nodes and edges, both padded, and the links, which are numbers of nodes."""
    space = spaces.Graph(spaces.Box(0, 1, (3,)), spaces.Discrete(2))
    spec = spec_from_space(space, categorical=True, max_graph_nodes=5, max_graph_edges=7)
    assert shapes(spec) == {"num_nodes": (), "nodes": (5, 3), "num_edges": (), "edges": (7,), "edge_links": (7, 2)}
    assert spec["edge_links"] == Categorical(5, shape=(7, 2))


def test_alternatives_stand_side_by_side() -> None:
    """A `OneOf` is the number of the alternative, and the entries of each."""
    spec = spec_from_space(spaces.OneOf([spaces.Discrete(4), spaces.Box(0, 1, (3,))]), batch_size=(2,))
    assert shapes(spec) == {"index": (2,), "0": (2, 4), "1": (2, 3)}
    assert spec["index"] == Categorical(2, shape=(2,))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3),
        spaces.MultiDiscrete([2, 3]),
        spaces.Box(-1.0, 2.0, (2,), np.float32),
        spaces.Box(0, 255, (2, 2), np.uint8),
        spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(-np.inf, np.inf, (1,))}),
    ],
)
def test_space_there_and_back(space: spaces.Space[Any]) -> None:
    """A space made from the spec of a space is that space."""
    assert space_from_spec(spec_from_space(space, categorical=True)) == space


def test_spaces_of_binary_specs() -> None:
    """Specs with one bit per element become `MultiBinary`."""
    for spec in (OneHot(3), MultiOneHot([1, 2]), Binary(3), Unbounded(shape=(3,), dtype=torch.bool)):
        assert space_from_spec(spec) == spaces.MultiBinary((3,))


@pytest.mark.parametrize("categorical", [False, True])
@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiDiscrete([3]),
        spaces.MultiBinary(4),
        spaces.Box(-1.0, 2.0, (2,), np.float64),
        spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Tuple((spaces.Box(0, 1, (2,)), spaces.MultiBinary(1)))}),
    ],
)
def test_values_there_and_back(space: spaces.Space[Any], categorical: bool) -> None:
    """Encoding a value gives something in the spec, and decoding that gives the value, one or several."""
    space.seed(0)
    codec = SpaceCodec(space, key="action", categorical=categorical)
    values = [space.sample() for _ in range(5)]
    for value in values:
        decoded = codec.decode(codec.encode(value))
        assert repr(decoded) == repr(value) or np.array_equal(decoded, value)
        assert space.contains(decoded)
    rows = codec.decode_rows(codec.encode_rows(values), 5)
    assert all(space.contains(row) and repr(row) == repr(value) for row, value in zip(rows, values, strict=True))


def test_encoded_values_are_copies() -> None:
    """An observation array that the env writes again does not change the tensor."""
    codec = SpaceCodec(spaces.Box(-1.0, 1.0, (2,)), key=None, categorical=False)
    array = np.zeros(2, dtype=np.float32)
    tensor = codec.encode(array)["observation"]
    array += 1
    assert tensor.tolist() == [0.0, 0.0]


def test_actions_are_clipped_into_the_box() -> None:
    """Rounding, and anything else beyond the bounds, is cut to the bounds, in the dtype of the env."""
    codec = SpaceCodec(spaces.Box(-0.1, 0.1, (2,), np.float64), key="action", categorical=False)
    action = codec.decode({"action": torch.tensor([0.1, -5.0], dtype=torch.float32)})
    assert action.dtype == np.float64
    assert action.tolist() == [0.1, -0.1]
