"""Rewards to go."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rl_envs.transforms._returns import reward_to_go
from rl_specs import ShapeError


def _flags(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def test_rewards_of_other_episodes_do_not_count() -> None:
    """An infinite reward after the end of an episode leaves the returns before it finite."""
    reward = torch.tensor([1.0, 2.0, torch.inf])
    assert reward_to_go(reward, _flags(0, 1, 0), 0.5, 0).tolist() == [2.0, 2.0, torch.inf]


def test_reward_to_go_by_hand() -> None:
    """Rewards 1, 2, 4, 8 with a discount of 1/2 and an end after the second: 2, 2, 8, 8."""
    reward, is_last = torch.tensor([[1.0], [2.0], [4.0], [8.0]]), _flags(0, 1, 0, 0).unsqueeze(-1)
    assert reward_to_go(reward, is_last, 0.5, 0).squeeze(-1).tolist() == [2.0, 2.0, 8.0, 8.0]
    assert reward_to_go(reward, is_last, torch.tensor([0.5]), 0).squeeze(-1).tolist() == [2.0, 2.0, 8.0, 8.0]
    with pytest.raises(ShapeError, match="is_last"):
        reward_to_go(reward, is_last.squeeze(-1), 0.5, 0)


@settings(deadline=None)
@given(
    rows=st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=3),
    gamma=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
)
def test_as_a_slow_reference(rows: list[list[bool]], gamma: float) -> None:
    """Rewards to go are those of plain loops, whatever ends where."""
    is_last = torch.tensor(rows)
    reward = torch.randn(*is_last.shape, 2, dtype=torch.float64)
    whole = reward_to_go(reward, is_last.unsqueeze(-1).expand_as(reward), gamma, 1)
    for row, ends in enumerate(rows):
        for step in range(len(ends)):
            rest = range(next((i for i in range(step, len(ends)) if ends[i]), len(ends) - 1) - step + 1)
            expected = sum((gamma**i * reward[row, step + i] for i in rest), torch.zeros(2).double())
            torch.testing.assert_close(whole[row, step], expected)
