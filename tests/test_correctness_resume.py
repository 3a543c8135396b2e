"""A collector that is put into a saved state goes on bit for bit, with every option and every kind of environment."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import nn

from rl_collectors import Collector
from rl_envs import (
    ClipTransform,
    DoubleToFloat,
    EnvBase,
    GymEnv,
    NoopResetEnv,
    PendulumEnv,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    VecNorm,
)
from rl_modules import NormalParamExtractor, ProbabilisticActor, TanhNormal


def single(name: str) -> EnvBase:
    """One environment that starts after random steps and normalises by itself."""
    transforms = [NoopResetEnv(3), VecNorm(in_keys=["observation"]), RewardSum(), StepCounter(max_steps=11)]
    return TransformedEnv(GymEnv(name), transforms)


ENVS: dict[str, Callable[[], EnvBase]] = {
    "MuJoCo": lambda: TransformedEnv(
        GymEnv("InvertedDoublePendulum-v5", num_envs=2),
        [VecNorm(in_keys=["observation"]), ClipTransform(in_keys=["observation"], low=-3, high=3), RewardSum()],
    ),
    "classic control": lambda: TransformedEnv(GymEnv("Pendulum-v1", num_envs=2, max_episode_steps=13), RewardSum()),
    "native": lambda: TransformedEnv(PendulumEnv((2,)), [VecNorm(in_keys=["observation"]), StepCounter(max_steps=9)]),
    "in a row": lambda: SerialEnv(2, lambda: single("InvertedDoublePendulum-v5")),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "limited": {"max_frames_per_traj": 7},
    "random first": {"init_random_frames": 60},
    "reset each": {"reset_at_each_iter": True},
    "split": {"split_trajs": True, "max_frames_per_traj": 7},
}


def make_collector(env: str, options: dict[str, Any]) -> Collector:
    """The environment with a stochastic policy; weights are the same every time."""
    made = TransformedEnv(ENVS[env](), DoubleToFloat())
    features = made.observation_spec["observation"].shape[-1]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = nn.Sequential(nn.Linear(features, 2), NormalParamExtractor())
    actor = ProbabilisticActor(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=made.full_action_spec_unbatched,
        distribution_class=TanhNormal,
        distribution_kwargs={
            "low": made.action_spec_unbatched.space.low,
            "high": made.action_spec_unbatched.space.high,
        },
        return_log_prob=True,
    )
    return Collector(made, actor, frames_per_batch=40, **options)


def assert_same(found: TensorDictBase, expected: TensorDictBase) -> None:
    """Same entries, same bits."""
    assert set(found.keys(True, True)) == set(expected.keys(True, True))
    for key in expected.keys(True, True):
        assert torch.equal(found[key], expected[key]), key


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("name", OPTIONS)
def test_collection_goes_on_bitwise(env: str, name: str) -> None:
    """State and random state saved after a batch, in the middle of trajectories, give the batches that followed."""
    whole = make_collector(env, OPTIONS[name])
    whole.set_seed(1)
    torch.manual_seed(1)
    whole.rollout()
    file = io.BytesIO()
    torch.save({"collector": whole.state_dict(), "random": torch.get_rng_state()}, file)
    expected = [whole.rollout() for _ in range(3)]
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = make_collector(env, OPTIONS[name])
    again.set_seed(99)
    again.rollout()
    again.load_state_dict(saved["collector"])
    torch.set_rng_state(saved["random"])
    for batch in expected:
        assert_same(again.rollout(), batch)


@pytest.mark.parametrize("env", ENVS)
def test_batches_are_left_alone(env: str) -> None:
    """A batch that was handed out is the same after two more, and after the state has been saved and loaded."""
    collector = make_collector(env, {})
    collector.set_seed(1)
    batch = collector.rollout()
    copied = batch.clone()
    collector.load_state_dict(collector.state_dict())
    collector.rollout()
    collector.rollout()
    assert_same(batch, copied)
    assert not any(value.requires_grad for value in batch.values(True, True))
