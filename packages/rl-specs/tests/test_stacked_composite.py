"""Composites with different entries, stacked."""

from typing import Any

import pytest
import torch
from tensordict import LazyStackedTensorDict, TensorDict

from rl_specs import (
    Bounded,
    Categorical,
    Composite,
    MissingKeyError,
    OneHot,
    ShapeError,
    SpecError,
    Stacked,
    StackedComposite,
    Unbounded,
    stack_specs,
)


def walker() -> Composite:
    """An agent with 2 numbers and 3 actions."""
    return Composite({"observation": Bounded(0, 1, (2,)), "action": OneHot(3), ("info", "id"): Categorical(9)})


def flyer() -> Composite:
    """An agent with 4 numbers, 3 actions and a height."""
    return Composite(
        {"observation": Bounded(0, 1, (4,)), "action": OneHot(3), ("info", "id"): Categorical(9), "height": Unbounded()}
    )


def test_torch_stack_makes_it() -> None:
    """Of specs with other keys or shapes; equal ones stay one Composite, and strictness refuses the others."""
    spec: Any = torch.stack([walker(), flyer()])  # type: ignore[list-item]  # specs stack too
    assert spec == StackedComposite(walker(), flyer(), dim=0)
    assert spec.shape == spec.batch_size == (2,)
    assert stack_specs([walker(), walker()]) == walker().expand(2)
    with pytest.raises(SpecError, match="equal keys"):
        stack_specs([walker(), flyer()], strict=True)
    with pytest.raises(ShapeError, match=r"batch shape of spec 1.*\(3,\)"):
        stack_specs([walker(), flyer().expand(3)])
    with pytest.raises(SpecError, match="no entries"):
        StackedComposite(Unbounded(), dim=0)  # type: ignore[arg-type, unused-ignore]  # what is tested


def test_entries_are_stacks() -> None:
    """The keys that all have; dense where the specs agree, Stacked or StackedComposite where they do not."""
    spec = StackedComposite(walker(), flyer(), dim=0)
    assert spec.keys() == ["observation", "action", "info"]
    assert spec.keys(True, True) == ["observation", "action", ("info", "id")]
    assert spec["action"] == OneHot(3, (2, 3))
    assert spec["observation"] == Stacked(Bounded(0, 1, (2,)), Bounded(0, 1, (4,)), dim=0)
    assert spec["info", "id"] == Categorical(9, (2,))
    assert [value.shape for value in spec.values(True, True)] == [(2, -1), (2, 3), (2,)]
    assert [key for key, _ in spec.flat_items()] == ["observation", "action", ("info", "id")]
    assert spec.flat_items()[1][1] == OneHot(3, (2, 3))
    assert "height" not in spec
    assert StackedComposite(flyer(), walker(), dim=0).keys() == spec.keys()
    assert spec[1]["height"] == Unbounded()
    with pytest.raises(MissingKeyError, match=r"StackedComposite.*height"):
        spec["height"]


def test_samples_are_lazy_stacks() -> None:
    """A value has the parts of the stacked specs, and dimensions in front where they are asked for."""
    spec = StackedComposite(walker(), flyer(), dim=0)
    sample: Any = spec.rand(5)
    assert type(spec.rand()) is LazyStackedTensorDict
    assert sample.batch_size == (5, 2)
    assert sample[:, 1]["height"].shape == (5, 1)
    assert sample["action"].shape == (5, 2, 3)
    assert [part.shape for part in sample.get("observation", as_list=True)] == [(5, 2), (5, 4)]
    assert spec.is_in(sample)
    assert spec["observation"].is_in(sample.get("observation", as_list=True))
    assert not spec.is_in(sample[:, [1, 0]])
    assert not spec.is_in(sample.exclude("action"))
    assert not spec.is_in({"observation": torch.zeros(2, 2)})


def test_a_dense_tensordict_is_a_value_too() -> None:
    """Where keys and shapes agree and domains alone differ."""
    spec = stack_specs([Composite(a=Categorical(2)), Composite(a=Categorical(5))])
    assert isinstance(spec, StackedComposite)
    assert spec.is_in(TensorDict({"a": torch.tensor([1, 4])}, [2]))
    assert not spec.is_in(TensorDict({"a": torch.tensor([4, 1])}, [2]))
    assert spec.project(TensorDict({"a": torch.tensor([4, 4])}, [2]))["a"].tolist() == [1, 4]


def test_what_is_wrong_is_said_entry_by_entry() -> None:
    """The table names part and entry."""
    spec = StackedComposite(walker(), flyer(), dim=0)
    sample = spec.rand()
    sample.tensordicts[1]["height"] = torch.zeros(2)
    with pytest.raises(SpecError, match=r'\("\[1\]", "height"\) +shape +\(1,\) +\(2,\)'):
        spec.assert_is_in(sample)
    with pytest.raises(SpecError, match=r"TensorDict of shape \(\*batch, 2\) +TensorDict of shape \(3,\)"):
        spec.assert_is_in(TensorDict({}, [3]))


def test_within_a_composite_it_is_one_entry() -> None:
    """Keys reach into it; its samples and projections are entries of TensorDicts."""
    spec = Composite({"agents": StackedComposite(walker(), flyer(), dim=0), "time": Unbounded(1)})
    assert spec.keys(True, True) == ["agents", "time"]
    assert spec["agents", "info", "id"] == Categorical(9, (2,))
    assert ("agents", "observation") in spec
    batch = spec.expand(6)
    sample = batch.rand()
    assert sample["agents"].batch_size == (6, 2)
    assert batch.is_in(sample)
    assert spec.is_in(sample)
    assert spec.is_in(sample[2])
    assert batch[2] == spec
    sample["agents"].tensordicts[0]["observation"] += 7
    assert not spec.is_in(sample)
    assert spec.is_in(spec.project(sample))
    with pytest.raises(SpecError, match=r'\("agents", "\[0\]", "observation"\) +domain'):
        spec.assert_is_in(sample)


def test_entries_can_be_set_and_deleted() -> None:
    """Along the stack, for all parts; the specs given stay as they were."""
    first = walker()
    spec = Composite(agents=StackedComposite(first, flyer(), dim=0))
    spec["agents", "reward"] = Unbounded((2, 1))
    assert spec["agents"][1]["reward"] == Unbounded((1,))
    del spec["agents", "info", "id"]
    assert spec["agents"].keys(True, True) == ["observation", "action", "reward"]
    assert "reward" not in first
    with pytest.raises(MissingKeyError, match="height"):
        del spec["agents"]["height"]
    with pytest.raises(ShapeError, match=r"entry 'x'.*\(3,\)"):
        spec["agents", "x"] = Unbounded(3)
    with pytest.raises(TypeError, match="not a spec"):
        spec["agents"]["x"] = 3


def test_encode_takes_one_mapping_for_each_part() -> None:
    """And `to_numpy` gives them back."""
    spec = stack_specs([Composite(a=Categorical(2)), Composite(a=Categorical(5), b=Unbounded(2))])
    value = spec.encode([{"a": 1}, {"a": 4, "b": [0.5, 2.0]}])
    assert spec.is_in(value)
    assert value[1]["b"].tolist() == [0.5, 2.0]
    first, second = spec.to_numpy(value)
    assert int(first["a"]) == 1
    assert second["b"].tolist() == [0.5, 2.0]


def test_enumeration_lists_combinations() -> None:
    """Of the parts' values, the last changing fastest."""
    spec = stack_specs([Composite(a=Categorical(2)), Composite(a=Categorical(3))])
    assert spec.cardinality() == 6
    assert spec.enumerate()["a"].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
