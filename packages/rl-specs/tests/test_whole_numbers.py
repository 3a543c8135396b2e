"""Numbers as integers: rounded, and never wrapped around."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_specs import Bounded, Categorical, MultiCategorical, Unbounded
from rl_specs._whole_numbers import to_whole

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@settings(max_examples=60, deadline=None)
@given(st.floats(), st.sampled_from(FLOATS))
def test_numbers_go_to_the_nearest_int64(number: float, dtype: torch.dtype) -> None:
    """Python's own rounding of what the tensor holds, cut off at the ends of int64; NaN is the lowest."""
    held = torch.tensor(number, dtype=dtype)
    exact = held.double().item()
    expected = -(2**63) if math.isnan(exact) or exact < -(2.0**63) else 2**63 - 1
    if math.isfinite(exact):
        expected = min(max(round(exact), -(2**63)), 2**63 - 1)
    assert to_whole(held).item() == expected


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("target", [torch.uint8, torch.int32, torch.int64])
def test_projections_into_integers_end_at_the_bounds(dtype: torch.dtype, target: torch.dtype) -> None:
    """Huge and infinite numbers land on the bound that they lie beyond, also where a float cannot hold that bound."""
    info = torch.iinfo(target)
    value = torch.tensor([1e10, 1e30, math.inf, -1e10, -math.inf], dtype=dtype)
    value = value.clamp(-3e38, None) if dtype != torch.float16 else value
    low = max(info.min, -(2**31))
    expected = [min(info.max, 2**31 - 1)] * 3 + [low] * 2
    bounded = Bounded(low, expected[0], (), dtype=target).project(value)
    beyond = [value[i].item() for i in range(5)]
    assert bounded.tolist() == [min(max(number, low), expected[0]) for number in beyond]
    assert Unbounded((), dtype=torch.int32).project(value[1:]).tolist() == [2**31 - 1] * 2 + [-(2**31)] * 2
    assert Categorical(3).project(value).tolist() == [2, 2, 2, 0, 0]
    assert MultiCategorical([3, 4]).project(value[[1, 2]]).tolist() == [2, 3]


def test_bounds_that_no_float_holds() -> None:
    """The nearest integer inside is found where float32 would round the bound itself."""
    spec = Bounded(2**24 - 1, 2**24 + 1, (), dtype=torch.int32)
    assert spec.project(torch.tensor([2.0**24, 2.0**24 + 2, 0.0])).tolist() == [2**24, 2**24 + 1, 2**24 - 1]
    assert Bounded(0, 2**63 - 1, (), dtype=torch.int64).project(torch.tensor(1e30)).item() == 2**63 - 1
