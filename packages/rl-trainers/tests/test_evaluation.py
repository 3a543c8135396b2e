"""Evaluation counts a fixed number of episodes and disturbs nothing."""

import io
import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs import EnvBase, RewardSum, StepCounter, TransformedEnv
from rl_specs import Bounded, Composite, TensorMap, Unbounded
from rl_trainers import EvaluationError, PPOConfig, build
from rl_trainers.evaluation import Evaluation, evaluate_ppo, quotas, run_episodes
from rl_trainers.ppo import PPO
from rl_trainers.random_state import random_state, seed_everything

MakeConfig = Callable[..., PPOConfig]


class MixedLengthEnv(EnvBase):
    """Environment `i` has episodes of `lengths[i]` steps with reward 1 each."""

    def __init__(self, lengths: list[int]) -> None:
        super().__init__(batch_size=(len(lengths),))
        batch = len(lengths)
        self.observation_spec = Composite({"observation": Unbounded(shape=(batch, 1))}, shape=(batch,))
        self.action_spec = Bounded(-1.0, 1.0, shape=(batch, 1))
        self._lengths = torch.tensor(lengths).unsqueeze(-1)
        self._clock = torch.zeros(batch, 1, dtype=torch.int64)

    def _reset(self, data: TensorMap | None) -> TensorMap:
        mask: Tensor = torch.ones_like(self._clock, dtype=torch.bool) if data is None else data["_reset"]
        self._clock = torch.where(mask, 0, self._clock)
        return {"observation": self._clock.float()}

    def _step(self, data: TensorMap) -> TensorMap:
        self._clock = self._clock + 1
        return {
            "observation": self._clock.float(),
            "reward": torch.ones_like(self._clock, dtype=torch.float32),
            "terminated": self._clock >= self._lengths,
        }

    def _set_seed(self, seed: int) -> None:
        self._clock = torch.zeros_like(self._clock)


def stand_still(data: TensorDictBase) -> TensorDictBase:
    """A policy that does nothing."""
    return data.set("action", torch.zeros(*data.batch_size, 1))


def mixed_env(lengths: list[int]) -> TransformedEnv:
    """Environments of mixed length with return and step count."""
    env = TransformedEnv(MixedLengthEnv(lengths))
    env.append_transform(RewardSum())
    env.append_transform(StepCounter())
    return env


def test_long_episodes_count_as_often_as_short_ones() -> None:
    """Each environment contributes its quota, though the short ones end many episodes before the long one ends one."""
    found = run_episodes(mixed_env([1, 10, 250]), stand_still, episodes=6, max_steps=1000)
    assert found.lengths == [1, 1, 10, 10, 250, 250]
    assert found.returns == [1.0, 1.0, 10.0, 10.0, 250.0, 250.0]


@given(episodes=st.integers(1, 200), num_envs=st.integers(1, 40))
def test_quotas(episodes: int, num_envs: int) -> None:
    """Quotas add up and differ by one at most."""
    found = quotas(episodes, num_envs)
    assert (sum(found), len(found)) == (episodes, num_envs)
    assert max(found) - min(found) <= 1


def test_endless_episode_is_an_error() -> None:
    """An episode longer than allowed ends the evaluation with advice."""
    with pytest.raises(EvaluationError, match=r"has not ended after \d+ steps.*env\.max_steps"):
        run_episodes(mixed_env([1, 10_000]), stand_still, episodes=2, max_steps=150)


def test_mean_and_deviation_by_hand() -> None:
    """Returns 1 and 3 have mean 2 and deviation 1."""
    found = Evaluation([1.0, 3.0], [5, 6])
    assert (found.mean, found.deviation) == (2.0, 1.0)
    assert found.to_dict() == {"mean": 2.0, "deviation": 1.0, "episodes": 2, "returns": [1.0, 3.0], "lengths": [5, 6]}


def _bytes(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def test_evaluation_disturbs_nothing(make_config: MakeConfig) -> None:
    """Weights, normaliser, environments, collector and random streams are byte for byte the same afterwards."""
    config = make_config()
    seed_everything(0)
    ppo = PPO(config)
    for data in itertools.islice(ppo, 2):
        ppo.update(data)
    before = _bytes([ppo.state_dict(), random_state()])
    first = evaluate_ppo(ppo, config, 3)
    assert _bytes([ppo.state_dict(), random_state()]) == before
    assert evaluate_ppo(ppo, config, 3) == first
    assert len(first.returns) == 3
    ppo.close()


def test_random_draws_of_a_policy_do_not_reach_training(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The global random streams are put back even if acting draws from them."""

    def run(*arguments: object, **keywords: object) -> Evaluation:
        return Evaluation([float(torch.rand(()))], [1])

    monkeypatch.setattr("rl_trainers.evaluation.run_episodes", run)
    config = make_config()
    ppo = PPO(config)
    before = _bytes(random_state())
    evaluate_ppo(ppo, config, 1)
    assert _bytes(random_state()) == before
    ppo.close()


@pytest.mark.parametrize("limit", [-1, 20])
def test_evaluation_uses_the_training_normalizer(make_config: MakeConfig, limit: int) -> None:
    """The evaluation environment normalises as training does at that moment, with a limit on trajectories too."""
    config = make_config("env.clip_observation=0", f"collector.max_frames_per_traj={limit}")
    seed_everything(0)
    ppo = PPO(config)
    ppo.update(next(iter(ppo)))
    normalizer = ppo.normalizer
    assert normalizer is not None
    frozen = build.build_env(config.env, 1, normalizer.frozen_copy())
    plain = build.build_env(make_config("env.normalize_observation=false").env, 1)
    for env in (frozen, plain):
        env.eval()
        env.set_seed(5)
    expected = (plain.reset()["observation"] - normalizer.loc) / normalizer.scale
    torch.testing.assert_close(frozen.reset()["observation"], expected.float())
    ppo.close()
