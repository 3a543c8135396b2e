"""Windows of steps, and the returns over them."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rl_specs.windows import window_lengths, window_returns


def _flags(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def _slow_lengths(is_last: list[bool], n_steps: int) -> list[int]:
    found = []
    for start in range(len(is_last)):
        length = 1
        while length < n_steps and start + length < len(is_last) and not is_last[start + length - 1]:
            length += 1
        found.append(length)
    return found


def test_lengths_by_hand() -> None:
    """A window of 3 is cut by the end of its trajectory, at step 2, and by the end of the data."""
    assert window_lengths(_flags(0, 0, 1, 0, 0, 0), 3).tolist() == [3, 2, 1, 3, 2, 1]
    assert window_lengths(_flags(0, 0, 1, 0, 0, 0), 1).tolist() == [1] * 6
    assert window_lengths(torch.stack([_flags(1, 0), _flags(0, 0)]), 5).tolist() == [[1, 1], [2, 1]]


def test_returns_by_hand() -> None:
    """Rewards 1, 2, 4 with a discount of 1/2: windows of 2, 2 and 1 steps give 2, 4 and 4."""
    reward = torch.tensor([1.0, 2.0, 4.0]).unsqueeze(-1)
    assert window_returns(reward, torch.tensor([2, 2, 1]), 0.5).squeeze(-1).tolist() == [2.0, 4.0, 4.0]
    assert reward.squeeze(-1).tolist() == [1.0, 2.0, 4.0]
    assert window_returns(torch.tensor([1, 2]), torch.tensor([2, 1]), 0.5).tolist() == [2.0, 2.0]


def test_rewards_outside_a_window_do_not_count() -> None:
    """An infinite reward after the end of an episode leaves the returns before it finite."""
    reward = torch.tensor([1.0, 2.0, torch.inf])
    assert window_returns(reward, window_lengths(_flags(0, 1, 0), 3), 0.0).tolist() == [1.0, 2.0, torch.inf]
    assert window_returns(reward[:0], window_lengths(_flags(), 3), 0.5).tolist() == []


@settings(deadline=None)
@given(
    rows=st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=3),
    n_steps=st.integers(1, 9),
    gamma=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
)
def test_as_a_slow_reference(rows: list[list[bool]], n_steps: int, gamma: float) -> None:
    """Lengths and returns are those of plain loops, whatever ends where."""
    is_last = torch.tensor(rows)
    lengths = window_lengths(is_last, n_steps)
    assert lengths.tolist() == [_slow_lengths(row, n_steps) for row in rows]
    reward = torch.randn(*is_last.shape, 2, dtype=torch.float64)
    windowed = window_returns(reward, lengths, gamma)
    for row, ends in enumerate(rows):
        for step in range(len(ends)):
            inside = range(int(lengths[row, step]))
            expected = sum((gamma**i * reward[row, step + i] for i in inside), torch.zeros(2).double())
            torch.testing.assert_close(windowed[row, step], expected)
