"""Running mean and variance."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_envs import RunningMeanStd
from rl_specs import ShapeError


def test_by_hand() -> None:
    """Rows 1, 3 and then 5, 7 have mean 4 and variance 5; a row of 4 is in the middle."""
    stats = RunningMeanStd((1,), epsilon=1e-12)
    stats.update(torch.tensor([[1.0], [3.0]]))
    assert (stats.mean.item(), stats.var.item()) == pytest.approx((2.0, 1.0))
    stats.update(torch.tensor([[5], [7]]))
    assert (stats.mean.item(), stats.var.item(), stats.count.item()) == pytest.approx((4.0, 5.0, 4.0))
    found = stats.normalize(torch.tensor([[4.0], [9.0]]))
    assert found.flatten().tolist() == pytest.approx([0.0, 5**0.5])
    assert found.dtype == torch.float32


def test_before_any_data() -> None:
    """The unit normal stands for the data, with the weight `epsilon`; no rows change nothing."""
    stats = RunningMeanStd((2,))
    stats.update(torch.zeros(0, 2))
    assert stats.normalize(torch.tensor([3.0, -1.0])).tolist() == [3.0, -1.0]
    heavy = RunningMeanStd(epsilon=1.0)
    heavy.update(torch.tensor([2.0]))
    assert (heavy.mean.item(), heavy.var.item()) == (1.0, 1.5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5), min_size=1, max_size=6))
def test_equals_all_rows_at_once(batches: list[list[float]]) -> None:
    """However rows are spread over batches, their mean and variance are those of all of them."""
    stats = RunningMeanStd(epsilon=1e-12)
    for batch in batches:
        stats.update(torch.tensor(batch, dtype=torch.float64))
    rows = torch.tensor([value for batch in batches for value in batch], dtype=torch.float64)
    torch.testing.assert_close(stats.mean, rows.mean(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(stats.var, rows.var(correction=0), rtol=1e-6, atol=1e-5)


def test_batches_of_any_shape_and_state() -> None:
    """All leading dimensions are a batch; the statistics travel with the state, the count included."""
    first, second = RunningMeanStd((3,)), RunningMeanStd((3,))
    value = torch.arange(24.0).reshape(2, 4, 3)
    first.update(value)
    second.load_state_dict(first.state_dict())
    assert second.count.item() == pytest.approx(8.0, abs=1e-3)
    assert torch.equal(first.normalize(value), second.normalize(value))
    assert first.normalize(value).shape == (2, 4, 3)


def test_constant_data() -> None:
    """Rows that do not differ are normalised to zero and to nothing infinite."""
    stats = RunningMeanStd(epsilon=1e-12)
    stats.update(torch.full((100,), 7.0))
    assert stats.normalize(torch.tensor([7.0, 7.5])).tolist() == pytest.approx([0.0, 5000.0], rel=1e-3)


def test_misuse() -> None:
    """Rows of another shape and a weight that is not positive are refused."""
    with pytest.raises(ShapeError, match=r"\(\*B, 3\), found \(4, 2\)"):
        RunningMeanStd((3,)).update(torch.zeros(4, 2))
    with pytest.raises(ShapeError, match="rows of another shape"):
        RunningMeanStd((3,)).normalize(torch.zeros(()))
    with pytest.raises(ValueError, match="bad epsilon"):
        RunningMeanStd(epsilon=0)
    assert repr(RunningMeanStd((3,), epsilon=1)) == "RunningMeanStd(shape=(3,), count=1)"
