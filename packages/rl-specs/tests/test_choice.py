"""Values of one of several specs."""

from typing import Any

import numpy as np
import pytest
import torch
from tensordict import NonTensorData, TensorDict

from rl_specs import (
    Bounded,
    Categorical,
    Choice,
    Composite,
    MultiOneHot,
    NonTensor,
    OneHot,
    ShapeError,
    SpecError,
    Stacked,
    Unbounded,
    stack_specs,
)


def low_or_high() -> Choice:
    """Two numbers in [0, 1], or two in [10, 11]."""
    return Choice([Bounded(0.0, 1.0, (2,)), Bounded(10.0, 11.0, (2,))])


def test_a_value_is_of_one_choice() -> None:
    """Not partly of one and partly of another; each row of a batch chooses on its own."""
    spec = low_or_high()
    assert spec.is_in(torch.tensor([0.5, 1.0]))
    assert spec.is_in(torch.tensor([10.0, 10.5]))
    assert not spec.is_in(torch.tensor([0.5, 10.5]))
    assert spec.is_in(torch.tensor([[0.5, 0.5], [10.5, 10.5]]))
    assert not spec.is_in(torch.tensor([[0.5, 0.5], [0.5, 10.5]]))
    assert not spec.is_in(torch.tensor([0.5, 1.0], dtype=torch.float64))
    assert not spec.is_in(torch.zeros(3))


def test_samples_come_from_all_choices() -> None:
    """Each with the same chance, in each row anew, by the generator given."""
    spec = low_or_high()
    sample = spec.rand(1000, generator=torch.Generator().manual_seed(0))
    assert spec.is_in(sample)
    assert 430 < int((sample[:, 0] > 5).sum()) < 570
    assert torch.equal(sample, spec.rand(1000, generator=torch.Generator().manual_seed(0)))


def test_projection_goes_to_the_nearest_choice() -> None:
    """Row by row."""
    value = torch.tensor([[-3.0, 0.5], [7.0, 20.0], [0.5, 0.25]])
    assert low_or_high().project(value).tolist() == [[0.0, 0.5], [10.0, 11.0], [0.5, 0.25]]


def test_dimensions_in_front_choose_on_their_own() -> None:
    """After `expand` or a stack each place has its choice; the dimensions of the choices stay theirs."""
    spec: Any = low_or_high().expand(3, 2)
    assert spec.is_in(torch.tensor([[0.5, 0.5], [10.5, 10.5], [0.0, 1.0]]))
    assert spec[0] == low_or_high()
    assert spec[:, :1].choices == (Bounded(0.0, 1.0, (1,)), Bounded(10.0, 11.0, (1,)))
    assert stack_specs([low_or_high()] * 3) == spec
    assert torch.cat([spec, spec[:1]]) == low_or_high().expand(4, 2)
    assert spec.unsqueeze(-1).choices[0] == Bounded(0.0, 1.0, (2, 1))
    assert low_or_high()[0].choices == (Bounded(0.0, 1.0, ()), Bounded(10.0, 11.0, ()))
    with pytest.raises(ShapeError, match=r"mixes the places \(3,\) with values of the shape \(2,\)"):
        spec.flatten()


def test_choices_that_differ_stack_lazily() -> None:
    """Two choices of tensors make a Stacked; strictly, or of no tensors, an error."""
    other = Choice([Bounded(0.0, 1.0, (2,)), Bounded(20.0, 21.0, (2,))])
    assert stack_specs([low_or_high(), other]) == Stacked(low_or_high(), other, dim=0)
    with pytest.raises(SpecError, match="the choices differ"):
        stack_specs([low_or_high(), other], strict=True)
    with pytest.raises(SpecError, match="not that of a tensor"):
        stack_specs([Choice([NonTensor(example_data=1)]), Choice([NonTensor(example_data=2)])])


def test_choices_of_objects() -> None:
    """A NonTensorData stands for its object, compared by value."""
    spec = Choice([NonTensorData("left"), NonTensorData("right")])
    assert spec.cardinality() == 2
    assert spec.rand().data in ("left", "right")
    assert spec.is_in("left")
    assert spec.is_in(NonTensorData("right"))
    assert not spec.is_in("up")
    assert not spec.is_in(torch.zeros(()))
    rows = spec.rand(20, generator=torch.Generator().manual_seed(0))
    assert rows.batch_size == (20,)
    assert set(rows.tolist()) == {"left", "right"}
    assert spec.is_in(rows)
    assert spec.enumerate().tolist() == ["left", "right"]
    assert spec.project(NonTensorData("up")).data == "left"
    assert spec.encode("right").data == "right"
    assert spec.to_numpy(NonTensorData("right")) == "right"
    data = Composite(turn=spec).expand(4).rand()
    assert set(data.get("turn").tolist()) <= {"left", "right"}
    assert Composite(turn=spec).is_in(data)


def test_choices_of_tensordicts() -> None:
    """Entries go together: not one of this choice and one of that."""
    spec = Choice([Composite(a=Categorical(2), b=Bounded(0, 1, ())), Composite(a=Categorical(9), b=Bounded(5, 6, ()))])
    assert spec.is_in(TensorDict({"a": torch.tensor(1), "b": torch.tensor(0.5)}))
    assert spec.is_in(TensorDict({"a": torch.tensor(8), "b": torch.tensor(5.5)}))
    assert not spec.is_in(TensorDict({"a": torch.tensor(8), "b": torch.tensor(0.5)}))
    rows = TensorDict({"a": torch.tensor([1, 8]), "b": torch.tensor([0.5, 5.5])}, [2])
    assert spec.is_in(rows)
    assert not spec.is_in(TensorDict({"a": torch.tensor([8, 8]), "b": torch.tensor([0.5, 5.5])}, [2]))
    rows["b"] += 0.1
    rows["a"] += 5
    assert spec.project(rows)["a"].tolist() == [6, 8]
    assert spec.project(rows)["b"].tolist() == pytest.approx([5.0, 5.6])
    assert spec.expand(3).rand().batch_size == (3,)


def test_numpy_there_and_back() -> None:
    """The first choice that holds the value decides."""
    spec = Choice([MultiOneHot([2, 3]), MultiOneHot([3, 2])])
    value = spec.encode(np.array([2, 1]))
    assert value.tolist() == [False, False, True, False, True]
    assert spec.to_numpy(value).tolist() == [2, 1]
    assert low_or_high().encode([10.5, 10.5]).tolist() == [10.5, 10.5]
    assert low_or_high().encode([3.0, 3.0]).tolist() == [3.0, 3.0]
    rows = spec.expand(2, 5).encode([np.array([2, 1]), np.array([1, 0])])
    assert rows.tolist() == [[False, False, True, False, True], [False, True, True, False, False]]
    assert [row.tolist() for row in spec.expand(2, 5).to_numpy(rows)] == [[2, 1], [1, 0]]
    assert [row.tolist() for row in spec.to_numpy(rows)] == [[2, 1], [1, 0]]
    with pytest.raises(SpecError, match="out of range"):
        spec.encode(np.array([5, 5]))


def test_enumeration_lists_choice_after_choice() -> None:
    """A value that two choices have is listed twice."""
    spec = Choice([Categorical(2), Categorical(3)])
    assert spec.cardinality() == 5
    assert spec.enumerate().tolist() == [0, 1, 0, 1, 2]
    assert spec.expand(4).enumerate().shape == (5, 4)


def test_what_is_wrong_is_said() -> None:
    """Form and domain each have their line."""
    with pytest.raises(SpecError, match=r"domain +Bounded\(.* or Bounded\(.*a value of none"):
        low_or_high().assert_is_in(torch.tensor([5.0, 5.0]))
    with pytest.raises(SpecError, match=r"dtype +float32 +float64"):
        low_or_high().assert_is_in(torch.zeros(2, dtype=torch.float64))
    with pytest.raises(SpecError, match=r"shape +\(\*batch, 3, 2\) +\(2, 2\)"):
        low_or_high().expand(3, 2).assert_is_in(torch.zeros(2, 2))


def test_choices_of_different_forms_are_refused() -> None:
    """Kinds, shapes, entries, no spec, nothing."""
    for choices in (
        [Unbounded((2,)), Bounded(0, 1, (2,))],
        [Unbounded((2,)), Unbounded((3,))],
        [Composite(a=Unbounded()), Composite(b=Unbounded())],
        [Composite(a=OneHot(2)), Composite(a=OneHot(3))],
    ):
        with pytest.raises(SpecError, match="choice 1 differs from choice 0 in form"):
            Choice(choices)
    with pytest.raises(SpecError, match="Wrap an object as NonTensorData"):
        Choice(["left"])  # type: ignore[list-item]  # what is tested
    with pytest.raises(SpecError, match="no choices"):
        Choice([])
    with pytest.raises(SpecError, match="choice 0 are of different shapes"):
        Choice([Stacked(OneHot(2), OneHot(3), dim=0)])


def test_conversion_reaches_the_choices() -> None:
    """Devices and dtypes."""
    assert low_or_high().to(torch.float64).choices[1].dtype == torch.float64
    assert low_or_high().to("meta").device == torch.device("meta")
    assert low_or_high().dtype == torch.float32
    assert low_or_high().space[0].high.tolist() == [1.0, 1.0]
    assert low_or_high().zero(3).tolist() == [[0.0, 0.0]] * 3
    assert low_or_high().one().tolist() == [1.0, 1.0]


def test_masks_of_the_specs_given_do_not_reach_in() -> None:
    """A mask that a spec takes on later is not that of the choice made of it, nor of a stack."""
    given = Categorical(3)
    choice, stack = Choice([given, Categorical(4)]), Stacked(given, Categorical(4), dim=0)
    given.update_mask(torch.tensor([True, False, False]))
    assert choice.choices[0].mask is None
    assert stack.specs[0].mask is None
