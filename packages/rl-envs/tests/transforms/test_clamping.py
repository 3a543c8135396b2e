"""Clamping of values and specs."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from rl_envs.transforms._clamping import clamp, clamped_spec, unclamped_spec
from rl_specs import Bounded, TensorSpec, Unbounded


def test_integers_stay_inside() -> None:
    """Bounds between integers are rounded inwards, and bounds beyond the dtype do nothing."""
    value = torch.tensor([-3, 0, 3], dtype=torch.int8)
    assert clamp(value, -2.5, 1.5).tolist() == [-2, 0, 1]
    assert clamp(value, -1000, None).tolist() == [-3, 0, 3]


def test_bools() -> None:
    """A bool is refused with what to do about it."""
    with pytest.raises(TypeError, match="True and False have no bounds"):
        clamp(torch.tensor([True]), 0, 1)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (Bounded(-5.0, 0.5, shape=(2,)), Bounded(-1.0, 0.5, shape=(2,))),
        (Unbounded(shape=(2,)), Bounded(-1.0, 1.0, shape=(2,))),
        (Unbounded(shape=(2,), dtype=torch.int64), Bounded(-1, 1, shape=(2,), dtype=torch.int64)),
    ],
)
def test_specs(spec: TensorSpec, expected: TensorSpec) -> None:
    """The tighter one of two bounds counts."""
    assert clamped_spec(spec, -1, 1) == expected


def test_one_sided_integers_are_unbounded() -> None:
    """An integer spec has no infinite bounds."""
    assert clamped_spec(Unbounded(shape=(2,), dtype=torch.int64), -1, None) == Unbounded(shape=(2,), dtype=torch.int64)


def test_bounds_of_double_precision() -> None:
    """Bounds of a float64 entry are the numbers given, not those rounded to single precision, and hold its values."""
    spec = clamped_spec(Unbounded(shape=(1,), dtype=torch.float64), 0.1, 0.7)
    assert isinstance(spec, Bounded)
    assert (spec.low.item(), spec.high.item()) == (0.1, 0.7)
    value = clamp(torch.tensor([0.0], dtype=torch.float64), 0.1, 0.7)
    assert value.item() == 0.1
    assert spec.is_in(value)
    assert clamped_spec(Unbounded(shape=(1,), dtype=torch.float64), None, 0.7).is_in(-value)
    half = clamped_spec(Unbounded(shape=(1,), dtype=torch.float16), -0.1, 0.1)
    assert half.is_in(clamp(torch.tensor([1.0], dtype=torch.float16), -0.1, 0.1))


def test_integers_beyond_single_precision() -> None:
    """Bounds of an int64 entry are exact."""
    spec = clamped_spec(Unbounded(shape=(1,), dtype=torch.int64), -(2**24) - 0.5, 2**24 + 1)
    assert spec == Bounded(-(2**24), 2**24 + 1, shape=(1,), dtype=torch.int64)


NUMBERS = st.integers(-4, 4)


@given(
    bounds=st.tuples(NUMBERS, NUMBERS).map(sorted),
    low=st.none() | NUMBERS,
    high=st.none() | NUMBERS,
    is_float=st.booleans(),
)
def test_what_may_be_clamped(bounds: list[int], low: int | None, high: int | None, is_float: bool) -> None:
    """A number is in the spec of what is clamped exactly where its clamped value is in the spec, as long as clamping
    leaves the spec some values."""
    dtype = torch.float32 if is_float else torch.int64
    spec = Bounded(bounds[0], bounds[1], shape=(), dtype=dtype)
    assume(low is not None or high is not None)
    lowest, highest = -9 if low is None else low, 9 if high is None else high
    assume(lowest <= highest and lowest <= bounds[1] and highest >= bounds[0])
    outer = unclamped_spec(spec, low, high)
    for number in range(-6, 7):
        value = torch.tensor(number, dtype=dtype)
        assert bool(outer.is_in(value)) == bool(spec.is_in(clamp(value, low, high))), number
