"""Structures of nested values."""

from typing import NamedTuple

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from rl_buffers._structure import infer, parse
from rl_specs import SpecError


class Pair(NamedTuple):
    """A named tuple for the tests."""

    left: Tensor
    right: Tensor


def _nested() -> dict[str, object]:
    data = TensorDict({"x": torch.zeros(2, 3), "in": {"y": torch.ones(2, 5)}}, batch_size=[2])
    return {"td": data, "list": [torch.zeros(2), (torch.ones(2),)], "pair": Pair(torch.zeros(2), torch.ones(2))}


def test_round_trip_keeps_every_container() -> None:
    """Flattening and building gives the containers back, with the new number of rows as batch size."""
    structure, objects = infer(_nested(), lead_dims=1)
    leaves: list[Tensor] = []
    assert structure.flatten(_nested(), leaves)
    assert objects == []
    assert len(leaves) == 6
    built = structure.build(iter([leaf[:1] for leaf in leaves]), (1,), None)
    assert built["td"].batch_size == torch.Size([1])
    assert built["td"]["in"].batch_size == torch.Size([1])
    assert built["td"]["in", "y"].shape == (1, 5)
    assert isinstance(built["pair"], Pair)
    assert isinstance(built["list"][1], tuple)


def test_batch_dimensions_of_nested_tensordicts_are_kept() -> None:
    """A nested TensorDict with more batch dimensions than its parent has them again after building."""
    inner = TensorDict({"y": torch.ones(2, 5)}, batch_size=[2, 5])
    structure, _ = infer(TensorDict({"in": inner}, batch_size=[2]), lead_dims=1)
    built = structure.build(iter([torch.ones(7, 5)]), (7,), None)
    assert built.batch_size == (7,)
    assert built["in"].batch_size == (7, 5)


def test_description_restores_the_structure() -> None:
    """Parsing a description gives a structure that describes itself the same and builds the same."""
    structure, _ = infer(_nested(), lead_dims=1)
    again = parse(structure.describe())
    leaves: list[Tensor] = []
    assert again.flatten(_nested(), leaves)
    assert again.describe() == structure.describe()


@pytest.mark.parametrize(
    "other",
    [
        torch.zeros(2),
        {"a": torch.zeros(2)},
        {"a": torch.zeros(2), "b": torch.zeros(2), "c": torch.zeros(2)},
        {"a": torch.zeros(2), "c": torch.zeros(2)},
        {"a": torch.zeros(2), "b": [torch.zeros(2)]},
        {"a": torch.zeros(2), "b": 1},
        TensorDict({"a": torch.zeros(2), "b": torch.zeros(2)}, [2]),
    ],
)
def test_values_made_otherwise_are_not_flattened(other: object) -> None:
    """Missing, further and renamed entries, other containers and other leaves are noticed."""
    structure, _ = infer({"a": torch.zeros(2), "b": torch.zeros(2)}, lead_dims=1)
    assert structure.flatten({"b": torch.zeros(2), "a": torch.zeros(2)}, [])
    assert not structure.flatten(other, [])


def test_leaves_that_are_not_tensors_are_reported_by_path() -> None:
    """Each object that is not a tensor is named by its path, unless objects are allowed."""
    value = {"a": 1, "b": {"c": "text", "d": torch.zeros(1)}, "e": TensorDict({"s": "text"}, [])}
    assert infer(value, lead_dims=0)[1] == [("a",), ("b", "c"), ("e", "s")]
    assert infer(value, lead_dims=0, allow_objects=True)[1] == []


def test_classes_that_are_not_loaded_are_refused() -> None:
    """A description that names a module which is not imported, or no class of rows, is an error and imports nothing."""
    with pytest.raises(SpecError, match=r"this_is_no_module"):
        parse(["sequence", "this_is_no_module:Pair", [["tensor"]]])
    with pytest.raises(SpecError, match="os:system"):
        parse(["sequence", "os:system", [["tensor"]]])
    with pytest.raises(SpecError, match="unknown kind"):
        parse(["code", "x"])
