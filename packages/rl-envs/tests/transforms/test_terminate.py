"""Ends that a condition sets."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import StepCounter, TerminateTransform, TransformedEnv, check_env_specs
from rl_envs.testing import CountingEnv
from rl_specs import ShapeError

MakeEnv = Callable[..., Any]


@pytest.mark.parametrize("batch_size", [(), (2,), (2, 2)], ids=str)
@pytest.mark.parametrize(
    "stop",
    [
        lambda td: td["observation"] >= 3,
        lambda td: (td["observation"] >= 3).squeeze(-1),
        lambda td: bool((td["observation"] >= 3).any()),
        lambda td: (td["observation"] >= 3).any(),
    ],
    ids=["column", "row", "bool", "scalar"],
)
def test_an_episode_ends_where_the_condition_holds(batch_size: tuple[int, ...], stop: Any) -> None:
    """At the third step `terminated` and `done` are set, whatever form the answer has; `truncated` stays."""
    env = TransformedEnv(CountingEnv(batch_size, max_steps=100), TerminateTransform(stop))
    check_env_specs(env)
    data = env.rollout(10)
    assert data.shape == (*batch_size, 3)
    for key, last in (("terminated", True), ("done", True), ("truncated", False)):
        flags = data["next", key].reshape(-1, 3)
        assert flags.tolist() == [[False, False, last]] * len(flags)


def test_rows_end_by_themselves() -> None:
    """Only the rows in which the condition holds end."""
    env = TransformedEnv(CountingEnv((2,), max_steps=[2, 100]), TerminateTransform(lambda td: td["observation"] >= 4))
    data = env.rollout(5, break_when_any_done=False)
    assert data["next", "terminated"].squeeze(-1).int().tolist() == [[0, 1, 0, 1, 0], [0, 0, 0, 1, 0]]


def test_done_can_be_left_alone() -> None:
    """With `write_done=False` the episode goes on."""
    env = TransformedEnv(CountingEnv(), TerminateTransform(lambda td: True, write_done=False))
    data = env.rollout(3)
    assert data["next", "terminated"].all()
    assert not data["next", "done"].any()


def test_a_truncation_stays_one() -> None:
    """What truncates an episode before is kept, and the condition sees it."""
    env = TransformedEnv(CountingEnv(), [StepCounter(2), TerminateTransform(lambda td: td["truncated"])])
    last = env.rollout(5)[-1]["next"]
    assert last["truncated"].item()
    assert last["terminated"].item()


def test_bad_use() -> None:
    """An answer of another shape is no broadcast but an error; stored data are refused."""
    env = TransformedEnv(CountingEnv((3,)), TerminateTransform(lambda td: torch.ones(1, 3)))
    with pytest.raises(ShapeError, match=r"TerminateTransform: stop.*\(3, 1\).*\(1, 3\)"):
        env.step(env.rand_action(env.reset()))
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        TerminateTransform(lambda td: True)(TensorDict({"reward": torch.zeros(1)}))
