"""How each kind of spec is written."""

import torch

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
    Stacked,
    Unbounded,
    stack_specs,
)

EXPECTED = """\
Composite(shape=(2,), device=None)
    bounded: Bounded(shape=(2, 3), low=-1, high=[0, 1, 2, 0, 1, 2], dtype=float32, device=cpu)
    pixels: Bounded(shape=(2, 8, 8), low=0, high=255, dtype=uint8, device=cpu)
    unbounded: Unbounded(shape=(2, 4), any value, dtype=float64, device=cpu)
    categorical: Categorical(shape=(2,), n=3, dtype=int64, device=cpu)
    masked: OneHot(shape=(2, 3), n=3, mask=[[1, 0, 1], [1, 0, 1]], dtype=bool, device=cpu)
    several: MultiCategorical(shape=(2, 2), nvec=[2, 3], dtype=int64, device=cpu)
    vectors: MultiOneHot(shape=(2, 5), nvec=[2, 3], dtype=bool, device=cpu)
    binary: Binary(shape=(2, 3), n=3, dtype=int8, device=cpu)
    text: NonTensor(shape=(2,), device=None, example_data='hello')
    choice: Choice(shape=(2,), places=(2,), device=cpu)
        0: Categorical(shape=(), n=2, dtype=int64, device=cpu)
        1: Categorical(shape=(), n=5, dtype=int64, device=cpu)
    agents: StackedComposite(shape=(2,), dim=0, device=None)
        0: Composite(shape=(), device=None)
            x: Unbounded(shape=(1,), any value, dtype=float32, device=cpu)
        1: Composite(shape=(), device=None)
            y: Unbounded(shape=(1,), any value, dtype=float32, device=cpu)"""


def test_every_kind_is_readable() -> None:
    """A line for each leaf, entries and parts indented below what holds them."""
    spec = Composite(
        bounded=Bounded(-1, torch.arange(3.0).expand(2, 3)),
        pixels=Bounded(0, 255, (2, 8, 8), dtype=torch.uint8),
        unbounded=Unbounded((2, 4), dtype=torch.float64),
        categorical=Categorical(3, (2,)),
        masked=OneHot(3, (2, 3), mask=torch.tensor([True, False, True])),
        several=MultiCategorical([2, 3], (2, 2)),
        vectors=MultiOneHot([2, 3], (2, 5)),
        binary=Binary(3, (2, 3)),
        text=NonTensor((2,), example_data="hello"),
        choice=Choice([Categorical(2), Categorical(5)]).expand(2),
        agents=stack_specs([Composite(x=Unbounded()), Composite(y=Unbounded())]),
        shape=(2,),
    )
    assert repr(spec) == EXPECTED


def test_stacks_of_tensors_list_their_parts() -> None:
    """With -1 in the shape where sizes differ."""
    assert repr(Stacked(OneHot(2), OneHot(3), dim=0)).splitlines() == [
        "Stacked(shape=(2, -1), dim=0, device=cpu)",
        "    0: OneHot(shape=(2,), n=2, dtype=bool, device=cpu)",
        "    1: OneHot(shape=(3,), n=3, dtype=bool, device=cpu)",
    ]
