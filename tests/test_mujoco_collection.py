"""Batched MuJoCo environments under a collector, with transforms and a sampling policy."""

import io

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import nn

from rl_collectors import Collector
from rl_envs import (
    Compose,
    DoubleToFloat,
    ExplorationType,
    HopperEnv,
    RewardSum,
    StepCounter,
    TransformedEnv,
    VecNorm,
    set_exploration_type,
    step_mdp,
)
from rl_modules import MLP, NormalParamExtractor, ProbabilisticActor, TanhNormal, ValueOperator
from rl_objectives import GAE

NUM_ENVS, STEPS = 4, 60


def make_env() -> TransformedEnv:
    """Hoppers that fall within a batch, as PPO sees them."""
    transforms = Compose(VecNorm(in_keys=["observation"]), RewardSum(), StepCounter(max_steps=50), DoubleToFloat())
    env = TransformedEnv(HopperEnv(NUM_ENVS, num_threads=2), transforms)
    env.set_seed(3)
    return env


def make_policy() -> ProbabilisticActor:
    """A tanh-normal policy with its log-prob."""
    torch.manual_seed(0)
    network = nn.Sequential(MLP(in_features=11, out_features=6, num_cells=[16]), NormalParamExtractor())
    return ProbabilisticActor(
        module=TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        return_log_prob=True,
    )


def by_hand(env: TransformedEnv, policy: ProbabilisticActor, steps: int) -> TensorDictBase:
    """A rollout through the public calls alone."""
    slices = []
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        root: TensorDictBase = env.reset()
        for _ in range(steps):
            step = env.step(policy(root))
            slices.append(step.clone())
            root = step_mdp(step)
            if root["done"].any():
                root = env.reset(root.set("_reset", root["done"].clone()))
    stacked: TensorDictBase = TensorDict.stack(slices, 1)
    return stacked


def test_batches_equal_stepping_by_hand() -> None:
    """A batch is bitwise what the public step, policy and reset give, falls and resets in the middle."""
    policy = make_policy()
    frames = NUM_ENVS * STEPS
    torch.manual_seed(1)
    (batch,) = list(Collector(make_env(), policy, frames_per_batch=frames, total_frames=frames))
    torch.manual_seed(1)
    reference = by_hand(make_env(), policy, STEPS)
    assert batch["next", "terminated"].any()
    for key in reference.keys(True, True):
        assert torch.equal(batch[key], reference[key]), key


def test_a_run_resumed_from_a_file_goes_on_bitwise() -> None:
    """Collecting, saving, loading into new objects and collecting equals collecting on."""
    policy, frames = make_policy(), NUM_ENVS * 20
    collector = Collector(make_env(), policy, frames_per_batch=frames)
    torch.manual_seed(1)
    collector.rollout()
    file = io.BytesIO()
    torch.save(collector.state_dict(), file)
    file.seek(0)
    other = Collector(make_env(), policy, frames_per_batch=frames)
    other.load_state_dict(torch.load(file, weights_only=True))
    torch.manual_seed(2)
    expected = collector.rollout()
    torch.manual_seed(2)
    found = other.rollout()
    for key in expected.keys(True, True):
        assert torch.equal(expected[key], found[key]), key


def test_advantages_of_a_batch() -> None:
    """What is collected goes into an estimator as it is."""
    frames = NUM_ENVS * STEPS
    batch = Collector(make_env(), make_policy(), frames_per_batch=frames).rollout()
    value = ValueOperator(MLP(in_features=11, out_features=1, num_cells=[16]), in_keys=["observation"])
    advantage = GAE(gamma=0.99, lmbda=0.95, value_network=value)(batch)["advantage"]
    assert advantage.shape == (NUM_ENVS, STEPS, 1)
    assert advantage.dtype == torch.float32
    assert advantage.isfinite().all()
