"""Random time limits."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from rl_envs import RandomTruncationTransform, StepCounter, TransformedEnv, check_env_specs
from rl_envs.testing import CountingEnv
from rl_specs import SpecError


def lengths(env: TransformedEnv, steps: int) -> list[list[int]]:
    """Lengths of the episodes of each row, in their order."""
    done: Tensor = env.rollout(steps, break_when_any_done=False)["next", "done"].squeeze(-1)
    found = []
    for row in done.reshape(-1, steps):
        ends = [-1, *row.nonzero().flatten().tolist()]
        found.append([after - before for before, after in pairwise(ends)])
    return found


def make(batch_size: tuple[int, ...] = (8,), **arguments: Any) -> TransformedEnv:
    """Rows of endless episodes with limits of 3 to 6 steps."""
    base = CountingEnv(batch_size, max_steps=10_000)
    env = TransformedEnv(base, [StepCounter(), RandomTruncationTransform(3, 6, **arguments)])
    env.set_seed(0)
    return env


@pytest.mark.parametrize("batch_size", [(), (3,), (2, 2)], ids=str)
def test_flags_and_specs(batch_size: tuple[int, ...]) -> None:
    """At its limit a row is truncated and done, never terminated."""
    env = make(batch_size)
    check_env_specs(env)
    data = env.rollout(12, break_when_any_done=False)
    assert data["next", "done"].any()
    assert torch.equal(data["next", "done"], data["next", "truncated"])
    assert not data["next", "terminated"].any()


def test_the_first_episodes_are_spread_and_later_ones_whole() -> None:
    """Without `prob`, first episodes have 1 to 6 steps, all of these in a large batch, and all later ones 6."""
    found = lengths(make((64,)), 40)
    assert {row[0] for row in found} == {1, 2, 3, 4, 5, 6}
    assert {length for row in found for length in row[1:]} == {6}


def test_later_episodes_may_be_cut() -> None:
    """With `prob=1` later episodes have 3 to 6 steps; `first_episode_prob=0` leaves the second one whole."""
    found = lengths(make((64,), prob=1.0, first_episode_prob=0.0), 60)
    assert {row[1] for row in found} == {6}
    assert {length for row in found for length in row[2:]} == {3, 4, 5, 6}
    share = [length < 6 for row in lengths(make((256,), prob=0.4), 60) for length in row[1:]]
    assert sum(share) / len(share) == pytest.approx(0.4 * 3 / 4, abs=0.03)


def test_a_full_reset_is_no_first_one() -> None:
    """Resetting everything once more draws as for later episodes."""
    env = make((32,))
    env.reset()
    assert {row[0] for row in lengths(env, 8)} == {6}


def test_seed_and_state() -> None:
    """Limits are those of the seed; a loaded state goes on with limits and draws."""
    env, other = make(prob=0.5), make(prob=0.5)
    assert lengths(env, 40) == lengths(other, 40)
    root = env.reset()
    third = make(prob=0.5)
    third.load_state_dict(env.state_dict())
    for one in (env, third):
        data = one.rollout(30, auto_reset=False, tensordict=root.clone(), break_when_any_done=False)
        one.state_dict()["transform"]  # what follows depends on nothing else
        assert torch.equal(data["next", "done"], data["next", "truncated"])
    assert torch.equal(env.transform[1].horizon, third.transform[1].horizon)
    assert env.transform[1].episode.min() > 1


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: RandomTruncationTransform(0, 3), "min_horizon"),
    (lambda: RandomTruncationTransform(4, 3), "min_horizon"),
    (lambda: RandomTruncationTransform(1, 3, prob=1.5), "probability"),
]


@pytest.mark.parametrize(("make_bad", "part"), BAD)
def test_bad_arguments(make_bad: Callable[[], object], part: str) -> None:
    """Horizons in the wrong order and probabilities beyond 1 are refused."""
    with pytest.raises(ValueError, match=part):
        make_bad()


def test_wiring() -> None:
    """Without a step counter before it the message says to add one; stored data are refused."""
    with pytest.raises(SpecError, match="Put a StepCounter before it"):
        TransformedEnv(CountingEnv(), RandomTruncationTransform(1, 3))
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        RandomTruncationTransform(1, 3)(TensorDict({"reward": torch.zeros(1)}))


def test_a_seed_starts_anew() -> None:
    """The same seed once more gives the same limits, first episodes spread again."""
    env = make((16,), prob=0.5)
    first = lengths(env, 40)
    env.set_seed(0)
    assert lengths(env, 40) == first
