"""NonTensor: Python objects in a TensorDict."""

import math

import pytest
import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict

from rl_specs import Composite, MissingKeyError, NonTensor, SpecError, stack_specs


def test_samples_hold_the_example() -> None:
    """`rand`, `zero` and `one` give the example with the batch shape."""
    spec = NonTensor((2,), example_data="text")
    for value in (spec.rand(3), spec.zero(3), spec.one(3)):
        assert value.data == "text"
        assert value.batch_size == (3, 2)
    assert spec.example_data == "text"
    assert spec.cardinality() == math.inf


def test_objects_are_in_and_tensors_are_not() -> None:
    """Any object of the right batch shape is in."""
    spec = NonTensor((2,))
    assert spec.is_in(NonTensorData("a", batch_size=(2,)))
    assert not spec.is_in(NonTensorData("a", batch_size=(3,)))
    assert spec.is_in("a")
    assert not spec.is_in(torch.zeros(2))
    with pytest.raises(SpecError, match="an object that is no tensor"):
        spec.assert_is_in(TensorDict({}, ()))


def test_encode_and_to_numpy_are_inverse() -> None:
    """Objects go in and come out; a stack comes out as a list."""
    spec = NonTensor(())
    assert spec.to_numpy(spec.encode("a")) == "a"
    assert spec.encode(spec.encode("a")).data == "a"
    stack = NonTensorStack(NonTensorData("a"), NonTensorData("b"))
    assert NonTensor((2,)).to_numpy(stack) == ["a", "b"]
    assert spec.project("a") == "a"


def test_in_a_composite() -> None:
    """A sample of a Composite with objects is in it, through expansion, stack and index."""
    spec = Composite(text=NonTensor(example_data="x"))
    assert spec.is_in(spec.rand())
    assert spec.expand(3).is_in(spec.expand(3).rand(2))
    assert stack_specs([spec, spec])[0] == spec
    assert spec.is_in(TensorDict({"text": "hello"}, ()))


def test_equality_and_repr() -> None:
    """Shape and example make the spec."""
    assert NonTensor((2,)) == NonTensor((1, 2))[0]
    assert NonTensor() != NonTensor(example_data=1)
    assert hash(NonTensor()) == hash(NonTensor())
    assert repr(NonTensor(example_data=1)) == "NonTensor(shape=(), device=None, example_data=1)"
    assert NonTensor().to("cpu").device == torch.device("cpu")
    assert NonTensor().dtype is None
    assert NonTensor().space is None


def test_stack_wants_equal_examples() -> None:
    """Specs with other examples do not stack."""
    with pytest.raises(SpecError, match="specs differ"):
        stack_specs([NonTensor(), NonTensor(example_data=1)])


def test_none_is_an_object_too() -> None:
    """An entry that is None is there."""
    spec = Composite(text=NonTensor())
    assert spec.encode({"text": None})["text"] is None
    with pytest.raises(MissingKeyError, match="text"):
        spec.encode({})
