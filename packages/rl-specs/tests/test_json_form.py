"""Specs as JSON and back: equal in every bit, and clear about what cannot be read."""

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_specs import (
    Binary,
    Bounded,
    Categorical,
    Choice,
    Composite,
    MultiCategorical,
    MultiOneHot,
    NonTensor,
    OneHot,
    SpecError,
    Stacked,
    TensorSpec,
    Unbounded,
    from_json,
    stack_specs,
    to_json,
)

SPECS: dict[str, TensorSpec] = {
    "bounded": Bounded(-1.0, 1.0, (3,)),
    "bounds by element": Bounded([0.1, -torch.inf, 1e-300], [0.1, 2.0, torch.inf], dtype=torch.float64),
    "half": Bounded(torch.tensor([0.1, 0.2], dtype=torch.bfloat16), torch.tensor([0.3, 1e30], dtype=torch.bfloat16)),
    "largest integers": Bounded(-(2**63), 2**63 - 1, (2,), dtype=torch.int64),
    "no elements": Bounded(0.0, 1.0, (0, 3)),
    "number": Bounded(0, 255, (), dtype=torch.uint8),
    "unbounded": Unbounded((2, 3), dtype=torch.complex64),
    "categorical": Categorical(4, (2,), dtype=torch.int32),
    "masked": Categorical(3, (2,), mask=torch.tensor([[True, False, True], [False, False, True]])),
    "one-hot": OneHot(4, (2, 4), mask=torch.tensor([True, False, True, True])),
    "multi-categorical": MultiCategorical([2, 3], (5, 2), mask=torch.tensor([True, True, True, False, True])),
    "multi-one-hot": MultiOneHot([2, 3], dtype=torch.float32),
    "binary": Binary(3, (2, 3)),
    "binary number": Binary(shape=()),
    "non-tensor": NonTensor((2,), example_data={"text": ["a", 1, 2.5, None, True]}),
    "choice": Choice([Bounded(0, 1, (2,)), Bounded(5, 6, (2,))]).expand(3, 2),
    "choice of objects": Choice([NonTensor(example_data="a"), NonTensor(example_data="b")]),
    "domains side by side": Stacked(Categorical(2, (4,)), Categorical(3, (4,)), dim=1),
    "entries side by side": stack_specs([Composite(a=OneHot(2)), Composite(a=OneHot(3), b=Unbounded())]),
}


def test_every_kind_comes_back() -> None:
    """Alone, and all of them as entries of a nested spec whose order is kept."""
    for spec in SPECS.values():
        assert from_json(to_json(spec)) == spec
    whole = Composite({**SPECS, "inner": Composite(b=Unbounded(), a=Unbounded(()))})
    again: Any = from_json(to_json(whole))
    assert again == whole
    assert list(again) == list(whole)
    assert list(again["inner"]) == ["b", "a"]
    batched = Composite(a=Unbounded((4, 2)), shape=(4,), device="cpu")
    assert from_json(to_json(batched)) == batched


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=6), st.sampled_from(["float32", "float64"]))
def test_bounds_keep_every_bit(numbers: list[float], dtype: str) -> None:
    """The sign of zero included."""
    low = torch.tensor(sorted(numbers), dtype=getattr(torch, dtype))
    high = low.flip(0).sort().values.roll(0)
    spec: Any = from_json(to_json(Bounded(low, high)))
    kind = torch.int32 if dtype == "float32" else torch.int64
    assert torch.equal(spec.low.contiguous().view(kind), low.view(kind))
    assert torch.equal(spec.high.contiguous().view(kind), high.view(kind))


def test_it_is_one_line_of_plain_json() -> None:
    """No infinities or other words that JSON does not have; equal bounds are one number."""
    text = to_json(Bounded(-torch.inf, 1.0, (1_000,)))
    fields = json.loads(text, parse_constant=pytest.fail)
    assert "\n" not in text
    assert fields["spec"]["low"] == "-inf"
    assert fields["spec"]["high"] == 1.0


def test_another_device() -> None:
    """The device of the text can be replaced, at every level."""
    text = to_json(Composite(a=Unbounded(device="meta"), n=Composite(b=Unbounded(device="meta"))))
    spec: Any = from_json(text, device="cpu")
    assert spec.device == torch.device("cpu")
    assert spec["n", "b"].device == torch.device("cpu")


def test_an_example_without_a_form_is_refused() -> None:
    """Nothing is written that would come back as something else."""
    for example in (object(), (1, 2), float("inf"), {1: 2}, torch.zeros(1)):
        with pytest.raises(SpecError, match="example_data"):
            to_json(NonTensor(example_data=example))


def changed(**fields: Any) -> str:
    """The text of a spec with other fields."""
    whole = json.loads(to_json(Categorical(3)))
    return json.dumps({**whole, "spec": {k: v for k, v in {**whole["spec"], **fields}.items() if v is not ...}})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("nonsense", "no JSON"),
        ("[]", "not what to_json writes"),
        ('{"format": 2, "spec": {}}', "later one"),
        ('{"format": 1, "spec": 3}', "an object"),
        (changed(type="Categoricl"), "Did you mean Categorical"),
        (changed(n=...), "'n' is missing"),
        (changed(n=0), "number of categories"),
        (changed(dtype="float99"), "no dtype"),
        (changed(shape="x"), "Categorical"),
        (changed(mask=[1, 0]), "Categorical"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, match: str) -> None:
    """Each kind of damage has its message."""
    with pytest.raises(SpecError, match=match):
        from_json(text)


def test_entries_that_are_no_object_are_refused() -> None:
    """A composite whose entries are a list is an error of the text, not of this library."""
    with pytest.raises(SpecError, match="Composite"):
        from_json('{"format":1,"spec":{"type":"Composite","shape":[],"device":null,"entries":[]}}')
