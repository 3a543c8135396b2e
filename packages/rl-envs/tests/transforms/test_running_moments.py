"""Running mean and variance against a slow weighted reference."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_envs.transforms import running_moments
from rl_envs.transforms.running_moments import RunningMoments

CALLS = st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=4), min_size=1, max_size=6)


def _reference(calls: list[list[float]], decay: float) -> tuple[float, float, float]:
    """Count, mean and variance with a weight per row: `decay` to the power of the calls since."""
    pairs = [(decay ** (len(calls) - 1 - at), x) for at, call in enumerate(calls) for x in call]
    total = sum(weight for weight, _ in pairs)
    mean = sum(weight * x for weight, x in pairs) / total
    return total, mean, sum(weight * (x - mean) ** 2 for weight, x in pairs) / total


@given(CALLS, st.floats(0.5, 1.0))
@settings(max_examples=60, deadline=None)
def test_equals_weighted_moments(calls: list[list[float]], decay: float) -> None:
    """Count, mean and variance are the weighted moments of all rows."""
    moments = RunningMoments(torch.Size((1,)), decay=decay, eps=1e-8)
    for call in calls:
        moments.update_and_normalize(torch.tensor(call, dtype=torch.float64).unsqueeze(-1))
    count, mean, variance = _reference(calls, decay)
    assert moments.count.item() == pytest.approx(count, rel=1e-9)
    assert moments.mean.item() == pytest.approx(mean, rel=1e-9, abs=1e-6)
    assert (moments.m2 / moments.count).item() == pytest.approx(variance, rel=1e-6, abs=1e-5)


def test_hand_computed() -> None:
    """Rows 1, 3, 2 with decay 0.9 weigh 0.81, 0.9 and 1: mean 5.51 / 2.71, and so on."""
    moments = RunningMoments(torch.Size(()), decay=0.9, eps=0.04)
    outputs = [moments.update_and_normalize(torch.tensor(x)).item() for x in (1.0, 3.0, 2.0)]
    mean = 5.51 / 2.71
    variance = 12.91 / 2.71 - mean**2
    assert moments.count.item() == pytest.approx(2.71)
    assert moments.mean.item() == pytest.approx(mean)
    assert outputs == pytest.approx([0.0, 0.9486833, (2 - mean) / variance**0.5], abs=1e-6)


def test_agrees_over_dims() -> None:
    """Rows in one call weigh alike: one call of `[4, 2]` equals one of `[2, 2, 2]`."""
    rows = torch.randn(4, 2, dtype=torch.float64)
    flat, grid = (RunningMoments(torch.Size((2,)), decay=0.9, eps=1e-4) for _ in range(2))
    one = flat.update_and_normalize(rows)
    two = grid.update_and_normalize(rows.reshape(2, 2, 2))
    torch.testing.assert_close(one, two.reshape(4, 2))
    torch.testing.assert_close(flat.m2, rows.var(0, correction=0) * 4)


def test_far_offset_keeps_the_variance() -> None:
    """A mean of 1e6 beside a deviation of 1 costs no accuracy of the variance."""
    rows = torch.randn(2000, 1, dtype=torch.float64)
    moments = RunningMoments(torch.Size((1,)), decay=1.0, eps=1e-8)
    for chunk in (rows + 1e6).reshape(200, 10, 1):
        moments.update_and_normalize(chunk)
    torch.testing.assert_close(moments.m2 / moments.count, rows.var(0, correction=0), rtol=1e-6, atol=0)


def test_masked_rows_equal_the_rows_alone() -> None:
    """`update_rows` takes in the rows of the mask, whatever stands in the others, NaN included."""
    rows = torch.randn(3, 2, dtype=torch.float64)
    some, masked = (RunningMoments(torch.Size((2,)), decay=0.9, eps=1e-4) for _ in range(2))
    for moments in (some, masked):
        moments.update_and_normalize(rows + 1)
    some.update_and_normalize(rows[[0, 2]])
    spoiled = rows.clone()
    spoiled[1] = torch.nan
    masked.update_rows(spoiled, torch.tensor([True, False, True]))
    for name in ("count", "mean", "m2"):
        torch.testing.assert_close(getattr(some, name), getattr(masked, name))


def test_empty_mask_changes_nothing() -> None:
    """With no row in the mask the statistics stay byte for byte, the count included."""
    moments = RunningMoments(torch.Size((2,)), decay=0.5, eps=1e-4)
    moments.update_and_normalize(torch.randn(3, 2))
    before = copy.deepcopy(moments.state_dict())
    moments.update_rows(torch.randn(3, 2), torch.zeros(3, dtype=torch.bool))
    assert all(torch.equal(before[key], value) for key, value in moments.state_dict().items())


@pytest.mark.parametrize("mask", [[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [[0, 1], [0, 0]]], ids=str)
@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_rows_on_arrays_equal_those_in_torch(
    mask: list[Any], shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways of taking in some rows give the same statistics and the same rows, and leave the input as it is."""
    rows = torch.tensor(mask, dtype=torch.bool)
    value = torch.randn(*rows.shape, *shape)
    value[~rows] = torch.nan
    given = value.clone()
    arrays, plain = (RunningMoments(torch.Size(shape), decay=0.9, eps=1e-4) for _ in range(2))
    for moments in (arrays, plain):
        moments.update_and_normalize(torch.randn(5, *shape, generator=torch.Generator().manual_seed(0)))
    expected = arrays.update_and_normalize_rows(value, rows)[rows]
    monkeypatch.setattr(running_moments, "_SMALL", -1)
    found = plain.update_and_normalize_rows(value, rows)[rows]
    torch.testing.assert_close(expected, found, rtol=1e-12 if expected.dtype is torch.float64 else 1e-6, atol=0)
    for name in ("count", "mean", "m2"):
        torch.testing.assert_close(getattr(arrays, name), getattr(plain, name), rtol=1e-12, atol=0)
    torch.testing.assert_close(value, given, rtol=0, atol=0, equal_nan=True)


def test_an_unbatched_value_is_a_row() -> None:
    """Without a batch the mask is one flag: set, the value is taken in; not set, nothing happens."""
    some, whole = (RunningMoments(torch.Size((2,)), decay=0.9, eps=1e-4) for _ in range(2))
    value = torch.tensor([3.0, -1.0])
    some.update_and_normalize_rows(value, torch.tensor(False))
    found = some.update_and_normalize_rows(value, torch.tensor(True))
    assert torch.equal(found, whole.update_and_normalize(value))
    assert torch.equal(some.count, whole.count)


def test_without_data_it_is_the_identity() -> None:
    """Before the first row the mean is 0 and the deviation 1."""
    moments = RunningMoments(torch.Size((2,)), decay=0.9, eps=1e-4)
    value = torch.tensor([3.0, -4.0])
    assert torch.equal(moments.normalize(value), value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_gradient_of_the_input(dtype: torch.dtype) -> None:
    """The result has the input's dtype, and the gradient of the input is 1 / scale."""
    moments = RunningMoments(torch.Size((2,)), decay=0.9, eps=1e-4)
    moments.update_and_normalize(torch.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=dtype))
    value = torch.tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
    result = moments.update_and_normalize(value)
    (gradient,) = torch.autograd.grad(result.sum(), value)
    assert result.dtype == dtype
    torch.testing.assert_close(gradient, (1 / moments.scale()).to(dtype))
    assert not moments.mean.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (5,), (2, 3), (1,)])
@pytest.mark.parametrize("shape", [(), (4,), (2, 2)])
def test_small_entries_through_arrays_equal_tensors(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], batch: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Statistics and results are the same to rounding whether numpy or torch takes the rows in."""
    few, many = (RunningMoments(torch.Size(shape), decay=0.99, eps=1e-4) for _ in range(2))
    for _ in range(20):
        rows = torch.randn((*batch, *shape), dtype=dtype) * 3 + 1
        before = rows.clone()
        one = few.update_and_normalize(rows)
        with monkeypatch.context() as patch:
            patch.setattr(running_moments, "_SMALL", -1)
            two = many.update_and_normalize(rows)
        assert torch.equal(rows, before)
        assert one.dtype == dtype
        assert one.shape == rows.shape
        torch.testing.assert_close(one, two)
    for name in ("count", "mean", "m2"):
        torch.testing.assert_close(getattr(few, name), getattr(many, name), rtol=1e-12, atol=1e-12)


def test_arrays_follow_the_buffers() -> None:
    """A copy, a move to shared memory and a loaded state each go on from their own statistics."""
    moments = RunningMoments(torch.Size((2,)), decay=1.0, eps=1e-4)
    moments.update_and_normalize(torch.ones(2))
    twin = copy.deepcopy(moments)
    assert twin._views is None  # an address of this process may mean something else where the copy is unpickled
    twin.update_and_normalize(torch.full((2,), 3.0))
    assert moments.mean.tolist() == [1.0, 1.0]
    assert twin.mean.tolist() == [2.0, 2.0]
    moments.share_memory()
    moments.update_and_normalize(torch.full((2,), 5.0))
    assert moments.mean.tolist() == [3.0, 3.0]
    moments.load_state_dict(twin.state_dict())
    moments.update_and_normalize(torch.full((2,), 5.0))
    assert moments.mean.tolist() == [3.0, 3.0]
    assert moments.count.item() == pytest.approx(3.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_few_bits(dtype: torch.dtype) -> None:
    """Values of few bits are summed in double precision, and come back in their own dtype."""
    values = (torch.arange(300.0) % 7 + 100).reshape(300, 1).to(dtype)
    moments, some = (RunningMoments(torch.Size((1,)), decay=1.0, eps=1e-8) for _ in range(2))
    for row in values:
        result = moments.update_and_normalize(row)
        assert result.dtype is dtype
    exact = values.double()
    assert moments.mean.item() == pytest.approx(exact.mean().item(), rel=1e-12)
    assert moments.scale().item() == pytest.approx(exact.std(correction=0).item(), rel=1e-9)
    mask = torch.arange(300) < 50
    assert some.update_and_normalize_rows(values, mask).dtype is dtype
    assert some.mean.item() == pytest.approx(exact[:50].mean().item(), rel=1e-12)
