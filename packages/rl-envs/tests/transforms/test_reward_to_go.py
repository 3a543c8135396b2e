"""The reward of the rest of an episode, stored with each step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import Reward2GoTransform, TransformedEnv
from rl_specs import MissingKeyError, ShapeError, SpecError

MakeEnv = Callable[..., Any]


def _batch(rewards: list[list[float]], ends: list[list[int]], flag: str = "done") -> TensorDict:
    reward = torch.tensor(rewards).unsqueeze(-1)
    done = torch.tensor(ends, dtype=torch.bool).unsqueeze(-1)
    following = {"reward": reward, "done": torch.zeros_like(done), flag: done}
    return TensorDict({"next": following}, reward.shape[:2])


def test_by_hand() -> None:
    """Episodes that end in the middle: sums start anew after them, and the data given stay."""
    data = _batch([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]], [[0, 1, 1], [0, 0, 1]])
    before = data.clone()
    stored = Reward2GoTransform(0.5, out_keys=["reward_to_go"]).inv(data)
    assert stored["reward_to_go"].squeeze(-1).tolist() == [[2.0, 2.0, 4.0], [1.75, 1.5, 1.0]]
    assert stored["reward_to_go"].shape == data["next", "reward"].shape
    assert (data == before).all()
    assert "reward_to_go" not in data


def test_the_documented_numbers() -> None:
    """Five rewards of 1 with a discount of 0.99: 4.9010, 3.9404, 2.9701, 1.9900, 1."""
    stored = Reward2GoTransform(gamma=0.99, out_keys=["reward_to_go"]).inv(_batch([[1.0] * 5], [[0, 0, 0, 0, 1]]))
    expected = torch.tensor([4.9010, 3.9404, 2.9701, 1.9900, 1.0]).reshape(1, 5, 1)
    torch.testing.assert_close(stored["reward_to_go"], expected, atol=1e-4, rtol=0)


def test_the_reward_itself_by_default() -> None:
    """Without out keys the sums replace the rewards."""
    stored = Reward2GoTransform().inv(_batch([[1.0, 2.0]], [[0, 1]]))
    assert stored["next", "reward"].flatten().tolist() == [3.0, 2.0]


@pytest.mark.parametrize("flag", ["done", "truncated"])
def test_truncation_ends_an_episode(flag: str) -> None:
    """A truncation ends the sum as a termination does, and nothing is added for what comes after it."""
    stored = Reward2GoTransform(1.0, out_keys="sum").inv(_batch([[1.0, 2.0, 4.0]], [[1, 0, 0]], flag))
    assert stored["sum"].flatten().tolist() == [1.0, 6.0, 4.0]


def test_row_without_time_in_front() -> None:
    """A single row `[T]` works as rows `[B, T]` do."""
    stored = Reward2GoTransform(1.0).inv(_batch([[1.0, 2.0]], [[0, 1]])[0])
    assert stored["next", "reward"].flatten().tolist() == [3.0, 2.0]


def test_several_agents() -> None:
    """A reward of several agents uses the flag of each, or the one of the step."""
    reward = torch.ones(3, 2, 1)
    each = torch.tensor([[True, False], [False, False], [True, True]]).unsqueeze(-1)
    data = TensorDict({"next": {"agents": {"reward": reward, "done": each}, "done": each.all(1)}}, [3])
    key = ("next", "agents", "reward")
    own = Reward2GoTransform(in_keys=[key], out_keys=["sum"], done_key=("agents", "done")).inv(data)
    assert own["sum"].squeeze(-1).tolist() == [[1.0, 3.0], [2.0, 2.0], [1.0, 1.0]]
    common = Reward2GoTransform(in_keys=[key], out_keys=["sum"]).inv(data)
    assert common["sum"].squeeze(-1).tolist() == [[3.0, 3.0], [2.0, 2.0], [1.0, 1.0]]
    data["next", "done"] = each[:, 0].expand(3, 3)
    with pytest.raises(ShapeError, match="is_last"):
        Reward2GoTransform(in_keys=[key]).inv(data)


def test_a_discount_for_each_entry() -> None:
    """A tensor of discounts broadcasts to one step of the reward, and is part of the state."""
    data = TensorDict({"next": {"reward": torch.ones(2, 2), "done": torch.tensor([[False], [True]])}}, [2])
    transform = Reward2GoTransform(torch.tensor([0.5, 0.25]))
    assert transform.inv(data)["next", "reward"].tolist() == [[1.5, 1.25], [1.0, 1.0]]
    assert list(transform.state_dict()) == ["gamma"]


def test_rows_without_an_end_are_refused() -> None:
    """Nothing is known of an episode that goes on beyond the data; rows without an end are counted."""
    with pytest.raises(RuntimeError, match=r"1 of 2 rows hold no end of an episode.*Store whole episodes"):
        Reward2GoTransform().inv(_batch([[1.0, 2.0], [1.0, 2.0]], [[0, 1], [0, 0]]))


def test_wrong_use(toy: MakeEnv) -> None:
    """Missing entries, arguments out of range and use in an environment are errors that say what to do."""
    data = _batch([[1.0]], [[1]])
    with pytest.raises(MissingKeyError, match="in_keys"):
        Reward2GoTransform(in_keys=["reward"]).inv(data)
    with pytest.raises(MissingKeyError, match="done_key"):
        Reward2GoTransform(done_key="finished").inv(data)
    with pytest.raises(ValueError, match="gamma"):
        Reward2GoTransform(1.1)
    with pytest.raises(ValueError, match="differ in number"):
        Reward2GoTransform(in_keys=[("next", "reward")], out_keys=["a", "b"])
    with pytest.raises(SpecError, match="give it to a replay buffer"):
        TransformedEnv(toy(), Reward2GoTransform())


def test_state() -> None:
    """The discount travels with the state."""
    transform, other = (Reward2GoTransform(torch.tensor(gamma), out_keys=["to_go"]) for gamma in (0.5, 0.9))
    other.load_state_dict(transform.state_dict())
    found = other.inv(_batch([[1.0, 1.0, 1.0]], [[0, 0, 1]]))
    assert found["to_go"].flatten().tolist() == [1.75, 1.5, 1.0]
