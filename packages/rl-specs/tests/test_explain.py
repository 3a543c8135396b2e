"""Differences between two specs."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_specs import (
    Bounded,
    Categorical,
    Choice,
    Composite,
    NonTensor,
    OneHot,
    Stacked,
    TensorSpec,
    Unbounded,
    explain_difference,
    stack_specs,
)

SPECS: list[TensorSpec] = [
    Bounded(-1, 1, (2,)),
    Bounded(-1, 2, (2,)),
    Bounded(-1, 1, (3,)),
    Bounded(-1, 1, (2,), dtype=torch.float64),
    Bounded(torch.arange(8.0), 8.0),
    Bounded(torch.tensor([0.0, 1, 2, 3, 4, 6, 5, 7]), 8.0),
    Unbounded((2,)),
    Categorical(3),
    NonTensor(),
    NonTensor(example_data=1),
    Composite(a=OneHot(3)),
    Composite(a=OneHot(4)),
    Composite(a=OneHot(3), b=Categorical(2)),
    Composite(n=Composite(a=OneHot(3))),
    Choice([OneHot(3)]),
    Choice([OneHot(3)] * 2),
    Stacked(OneHot(2), OneHot(3), dim=0),
    Stacked(OneHot(2), OneHot(4), dim=0),
    Stacked(OneHot(2), OneHot(3), OneHot(4), dim=0),
    stack_specs([Composite(a=OneHot(2)), Composite(a=OneHot(3))]),
    stack_specs([Composite(a=OneHot(2)), Composite(a=OneHot(3), b=Unbounded())]),
]


@settings(max_examples=100)
@given(st.sampled_from(SPECS), st.sampled_from(SPECS))
def test_empty_exactly_when_equal(a: TensorSpec, b: TensorSpec) -> None:
    """There is a table if and only if the specs differ."""
    assert (explain_difference(a, b) == "") == (a == b)


def test_table_names_every_difference() -> None:
    """Shape, dtype, domain, presence and kind each get a line with the full key."""
    a = Composite(n={"x": Bounded(-1, 1, (2,)), "y": OneHot(2), "only": Categorical(2)}, same=Unbounded(1))
    b = Composite(
        n={"x": Bounded(-1, 2, (3,), dtype=torch.float64), "y": Categorical(2)}, same=Unbounded(1), more=Unbounded(1)
    )
    table = explain_difference(a, b).splitlines()
    assert table[0].split() == ["key", "what", "expected", "found"]
    cells = [" ".join(line.split()) for line in table[1:]]
    assert cells[0] == '("n", "x") shape (2,) (3,)'
    assert cells[1] == '("n", "x") dtype float32 float64'
    assert cells[2] == '("n", "x") domain low=-1, high=1 low=-1, high=2'
    assert cells[3].startswith('("n", "y") type OneHot(')
    assert cells[4].startswith('("n", "only") presence Categorical(')
    assert cells[4].endswith("missing")
    assert cells[5].startswith('"more" presence missing Unbounded(')
    assert len(cells) == 6


def test_devices_differ() -> None:
    """Another device is a line of its own."""
    assert "device" in explain_difference(Unbounded(2), Unbounded(2, device="meta"))


def test_stacks_are_compared_part_by_part() -> None:
    """The key names the part and the entry in it."""
    parts = [Composite(a=OneHot(2)), Composite(a=OneHot(3))]
    a, b = stack_specs(parts), stack_specs([parts[0], Composite(a=OneHot(3), b=Unbounded())])
    lines = [" ".join(line.split()) for line in explain_difference(a, b).splitlines()[1:]]
    assert len(lines) == 1
    assert lines[0].startswith('("[1]", "b") presence missing Unbounded(')
    table = explain_difference(a, stack_specs([*parts, Composite(a=OneHot(4))]))
    assert "2 specs along dimension 0  3 specs along dimension 0" in table
