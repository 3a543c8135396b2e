"""Numbers of trajectories."""

import pytest
import torch
from tensordict import TensorDict

from rl_envs import ParallelEnv, SerialEnv, StepCounter, TrajCounter, TransformedEnv, check_env_specs
from rl_envs.testing import CountingEnv, NestedCountingEnv
from rl_specs import MissingKeyError, SpecError


def test_one_row() -> None:
    """Three episodes of six steps are 0, 1 and 2; another rollout goes on with 3."""
    env = TransformedEnv(CountingEnv(max_steps=100), [StepCounter(6), TrajCounter()])
    data = env.rollout(18, break_when_any_done=False)
    assert data["next", "traj_count"].flatten().tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert torch.equal(data["traj_count"], data["next", "traj_count"])
    assert env.rollout(1)["traj_count"].item() == 3
    check_env_specs(env)


@pytest.mark.parametrize("kind", ["batch", "serial", "parallel"])
def test_rows_in_the_order_of_their_resets(kind: str) -> None:
    """Rows of one reset are numbered in their order, and each trajectory of every worker has one number."""
    if kind == "batch":
        env = TransformedEnv(CountingEnv((2,), max_steps=[2, 3]), TrajCounter())
    else:
        makers = [Ending(2), Ending(3)]
        base = SerialEnv(2, makers) if kind == "serial" else ParallelEnv(2, makers, start_method="fork")
        env = TransformedEnv(base, TrajCounter())
    data = env.rollout(7, break_when_any_done=False)
    env.close()
    assert data["traj_count"].squeeze(-1).tolist() == [[0, 0, 2, 2, 4, 4, 5], [1, 1, 1, 3, 3, 3, 6]]


class Ending:
    """Makes an environment with episodes of `n` steps."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self) -> CountingEnv:
        """The environment."""
        return CountingEnv(max_steps=self.n)


def test_nothing_restarts_the_count() -> None:
    """Neither a seed nor a loaded state lets a number come twice."""
    env, other = (TransformedEnv(CountingEnv((2, 2)), TrajCounter()) for _ in range(2))
    assert env.reset()["traj_count"].flatten().tolist() == [0, 1, 2, 3]
    env.set_seed(0)
    assert env.reset()["traj_count"].flatten().tolist() == [4, 5, 6, 7]
    other.load_state_dict(env.state_dict())
    assert other.reset()["traj_count"].flatten().tolist() == [8, 9, 10, 11]


def test_repeats() -> None:
    """With `repeats=2` two trajectories after each other share a number."""
    env = TransformedEnv(CountingEnv(max_steps=1), TrajCounter("number", repeats=2))
    data = env.rollout(5, break_when_any_done=False)
    assert data["number"].flatten().tolist() == [0, 0, 1, 1, 2]


def test_wiring() -> None:
    """A key without a flag beside it, one that is there already, a root without the number and bad numbers are told."""
    with pytest.raises(SpecError, match=r'no flag \("agents", "done"\)'):
        TransformedEnv(CountingEnv(), TrajCounter(("agents", "traj_count")))
    with pytest.raises(SpecError, match="written already"):
        TransformedEnv(CountingEnv(), [TrajCounter(), TrajCounter()])
    with pytest.raises(ValueError, match="repeats"):
        TrajCounter(repeats=0)
    env = TransformedEnv(CountingEnv(), TrajCounter())
    with pytest.raises(MissingKeyError, match="traj_count"):
        env.step(env.rand_action(env.reset().exclude("traj_count")))
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        TrajCounter()(TensorDict({"reward": torch.zeros(1)}))


def test_flags_of_agents_alone() -> None:
    """Where each agent has flags and the row has none, a row has one number."""
    env = TransformedEnv(NestedCountingEnv((2,)), TrajCounter())
    check_env_specs(env)
    assert env.reset()["traj_count"].shape == (2, 1)
