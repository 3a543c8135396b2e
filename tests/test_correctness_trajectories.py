"""From environments through the collector to the advantage: ends of episodes mean the same in every layer."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import gymnasium
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from rl_collectors import Collector
from rl_envs import EnvBase, GymEnv, GymWrapper, SerialEnv, StepCounter, TransformedEnv
from rl_modules import ValueOperator
from rl_objectives import GAE, TDLambdaEstimator

LIMIT, STEPS, ENVS, GAMMA, LMBDA = 15, 70, 3, 0.9, 0.8
NAME = "CartPole-v1"


def vector(mode: AutoresetMode) -> EnvBase:
    """Cart poles in a vector environment."""
    makers = [partial(gymnasium.make, NAME, max_episode_steps=LIMIT)] * ENVS
    return GymWrapper(SyncVectorEnv(makers, autoreset_mode=mode))


MAKERS: dict[str, Callable[[], EnvBase]] = {
    "loop": lambda: GymEnv(NAME, num_envs=ENVS, max_episode_steps=LIMIT),
    "serial": lambda: SerialEnv(ENVS, lambda: GymEnv(NAME, max_episode_steps=LIMIT)),
    "counter": lambda: TransformedEnv(GymEnv(NAME, num_envs=ENVS), StepCounter(max_steps=LIMIT)),
    "counters inside": lambda: SerialEnv(ENVS, lambda: TransformedEnv(GymEnv(NAME), StepCounter(max_steps=LIMIT))),
    **{mode.name: partial(vector, mode) for mode in AutoresetMode},
}
LIMITED = {"collector": (lambda: GymEnv(NAME, num_envs=ENVS), LIMIT)}
every_env = pytest.mark.parametrize("name", [*MAKERS, *LIMITED])


def collect(name: str, batches: int = 2) -> list[TensorDictBase]:
    """Batches of random actions, the seed always the same."""
    make, limit = LIMITED.get(name) or (MAKERS[name], None)
    env = make()
    env.set_seed(4)
    torch.manual_seed(4)
    collector = Collector(env, None, frames_per_batch=ENVS * STEPS, max_frames_per_traj=limit)
    found = [collector.rollout() for _ in range(batches)]
    collector.shutdown()
    return found


def make_critic() -> ValueOperator:
    """A value that tells observations apart."""
    torch.manual_seed(1)
    return ValueOperator(nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)), in_keys=["observation"])


def by_hand(piece: TensorDictBase, critic: ValueOperator) -> Tensor:
    """Advantages of one trajectory, `[T, 1]`, from the definition."""
    with torch.no_grad():
        value = critic.module(piece["observation"]).double()
        following = critic.module(piece["next", "observation"]).double()
    advantage, found = torch.zeros(1, dtype=torch.float64), []
    for t in reversed(range(piece.shape[0])):
        bootstrap = following[t] * float(not piece["next", "terminated"][t])
        delta = piece["next", "reward"][t] + GAMMA * bootstrap - value[t]
        advantage = delta + GAMMA * LMBDA * advantage
        found.append(advantage)
    return torch.stack(found[::-1])


def pieces(row: TensorDictBase) -> list[TensorDictBase]:
    """Trajectories of a row `[T]`, by their ids."""
    ids = row["collector", "traj_ids"]
    cuts = [0, *((ids[1:] != ids[:-1]).nonzero().squeeze(-1) + 1).tolist(), row.shape[0]]
    return [row[start:stop] for start, stop in pairwise(cuts)]


@every_env
def test_estimates_on_a_batch_are_those_of_its_trajectories(name: str) -> None:
    """GAE of a collected batch is, trajectory by trajectory, the definition: truncations bootstrap from the state in
    which they happened, terminations from nothing, and nothing crosses an end."""
    critic = make_critic()
    gae = GAE(gamma=GAMMA, lmbda=LMBDA, value_network=critic)
    shifted = GAE(gamma=GAMMA, lmbda=LMBDA, value_network=critic, shifted=True)
    returns = TDLambdaEstimator(gamma=GAMMA, lmbda=LMBDA, value_network=critic)
    count = 0
    for batch in collect(name):
        assert batch["next", "truncated"].any()
        assert batch["next", "terminated"].any()
        whole, other, third = (estimator(batch.copy()) for estimator in (gae, shifted, returns))
        torch.testing.assert_close(other["advantage"], whole["advantage"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(third["advantage"], whole["advantage"], rtol=1e-5, atol=1e-5)
        for row in range(ENVS):
            for piece in pieces(whole[row]):
                expected = by_hand(piece, critic)
                torch.testing.assert_close(piece["advantage"].double(), expected, rtol=1e-5, atol=1e-5)
                count += 1
    assert count > 4 * ENVS


@every_env
def test_every_way_to_run_environments_gives_the_same_batches(name: str) -> None:
    """With a seed, observations, rewards, flags and trajectories do not depend on who steps and who resets."""
    for found, expected in zip(collect(name), collect("loop"), strict=True):
        for key in expected.keys(True, True):
            assert torch.equal(found[key], expected[key]), key


@every_env
def test_a_trajectory_is_one_episode(name: str) -> None:
    """Ids change exactly where an episode is done, go on from batch to batch, and the next root is a first state."""
    first, second = collect(name)
    whole: TensorDictBase = TensorDict.cat([first, second], -1)
    ids, done = whole["collector", "traj_ids"], whole["next", "done"].squeeze(-1)
    assert torch.equal(ids[:, 1:] != ids[:, :-1], done[:, :-1])
    for row in range(ENVS):
        for piece in pieces(whole[row]):
            assert torch.equal(piece["observation"][1:], piece["next", "observation"][:-1])
            assert not piece["done"].any()
            assert piece.shape[0] <= LIMIT
            assert piece["observation"][0].abs().max() <= 0.05
    assert len(set(ids.flatten().tolist())) == int(done[:, :-1].sum()) + ENVS
