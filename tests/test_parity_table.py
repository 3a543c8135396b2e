"""The fast path against stepping by hand, for every combination of transforms, environment and policy."""

from collections.abc import Callable
from typing import Any

import gymnasium
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import AddStateIndependentNormalScale, NormalParamExtractor, TensorDictModule
from torch import nn

from rl_collectors import Collector
from rl_envs import (
    CatTensors,
    ClipTransform,
    DoubleToFloat,
    EnvBase,
    ExplorationType,
    GymEnv,
    GymWrapper,
    InitTracker,
    ObservationNorm,
    PendulumEnv,
    RewardScaling,
    RewardSum,
    SerialEnv,
    StepCounter,
    Transform,
    TransformedEnv,
    VecNorm,
    set_exploration_type,
    step_mdp,
)
from rl_modules import MLP, ProbabilisticActor, TanhNormal

STEPS = 9
LIMIT = 4


class Shifted(Transform):
    """A user's transform that knows TensorDicts alone."""

    def __init__(self) -> None:
        super().__init__(["observation"], ["observation"])

    def _call(self, data: Any) -> Any:
        assert isinstance(data, TensorDictBase)
        return data.set("observation", data.get("observation") + 0.25)


def vector_env(mode: AutoresetMode) -> EnvBase:
    """Gymnasium's own vectorisation."""
    makers = [lambda: gymnasium.make("Pendulum-v1", max_episode_steps=LIMIT) for _ in range(2)]
    return GymWrapper(SyncVectorEnv(makers, autoreset_mode=mode))


ENVS: dict[str, Callable[[], EnvBase]] = {
    "gym": lambda: GymEnv("Pendulum-v1", max_episode_steps=LIMIT),
    "gym loop": lambda: GymEnv("Pendulum-v1", num_envs=3, max_episode_steps=LIMIT),
    "gym vector, same step": lambda: vector_env(AutoresetMode.SAME_STEP),
    "gym vector, next step": lambda: vector_env(AutoresetMode.NEXT_STEP),
    "serial": lambda: SerialEnv(2, lambda: GymEnv("Pendulum-v1", max_episode_steps=LIMIT)),
    "native": PendulumEnv,
    "native batch": lambda: PendulumEnv(batch_size=(2, 2)),
}
"""Environments with Pendulum's specs; the native ones have no end of their own."""

TRANSFORMS: dict[str, Callable[[], list[Transform]]] = {
    "none": list,
    "VecNorm": lambda: [VecNorm(in_keys=["observation"])],
    "VecNorm, out key": lambda: [VecNorm(in_keys=["observation"], out_keys=["normal"])],
    "VecNorm of the reward": lambda: [VecNorm(in_keys=["observation", "reward"])],
    "ObservationNorm": lambda: [ObservationNorm(0.5, 2.0, in_keys=["observation"])],
    "ClipTransform": lambda: [ClipTransform(in_keys=["observation", "reward"], low=-0.5, high=0.5)],
    "RewardScaling": lambda: [RewardScaling(loc=1.0, scale=0.1)],
    "RewardSum": lambda: [RewardSum()],
    "InitTracker": lambda: [InitTracker()],
    "CatTensors": lambda: [StepCounter(), CatTensors(in_keys=["observation"], out_key="both", del_keys=False)],
    "DoubleToFloat": lambda: [DoubleToFloat()],
    "the user's own": lambda: [Shifted()],
    "the tutorial's": lambda: [
        VecNorm(in_keys=["observation"], decay=0.99999, eps=1e-2),
        ClipTransform(in_keys=["observation"], low=-10, high=10),
        RewardSum(),
        StepCounter(),
        DoubleToFloat(in_keys=["observation"]),
    ],
}


def _actor(network: nn.Module) -> ProbabilisticActor:
    return ProbabilisticActor(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        distribution_kwargs={"low": -2.0, "high": 2.0},
        return_log_prob=True,
    )


def extractor_policy() -> ProbabilisticActor:
    """A policy whose network gives location and scale."""
    return _actor(nn.Sequential(MLP(3, 2, num_cells=[8, 8]), NormalParamExtractor()))


def scale_policy() -> ProbabilisticActor:
    """The MuJoCo tutorial's policy."""
    return _actor(nn.Sequential(MLP(3, 1, num_cells=[8]), AddStateIndependentNormalScale(1)))


def hooked_policy() -> ProbabilisticActor:
    """A policy that cannot be taken apart."""
    policy = scale_policy()
    policy.register_forward_hook(lambda module, inputs, output: output)
    return policy


def plain_policy() -> Callable[[TensorDictBase], TensorDictBase]:
    """A function."""

    def act(data: TensorDictBase) -> TensorDictBase:
        return data.set("action", data["observation"][..., :1].clamp(-1, 1).float())

    return act


POLICIES: dict[str, Callable[[], Any]] = {
    "extractor": extractor_policy,
    "state-independent scale": scale_policy,
    "hooked": hooked_policy,
    "function": plain_policy,
}


def make_env(env_kind: str, transforms: str) -> EnvBase:
    """The environment in its transforms, with episodes of four steps."""
    env = TransformedEnv(ENVS[env_kind]())
    if env_kind.startswith("native"):
        env.append_transform(StepCounter(LIMIT, step_count_key="native_count"))
    for transform in TRANSFORMS[transforms]():
        env.append_transform(transform)
    env.set_seed(3)
    return env


def by_hand(env: EnvBase, policy: Callable[[TensorDictBase], TensorDictBase]) -> TensorDictBase:
    """Steps through the public calls alone."""
    slices = []
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        root: TensorDictBase = env.reset()
        for _ in range(STEPS):
            step = env.step(policy(root))
            slices.append(step.clone())
            root = step_mdp(step)
            if root["done"].any():
                root = env.reset(root.set("_reset", root["done"].clone()))
    stacked: TensorDictBase = TensorDict.stack(slices, len(env.batch_size))
    return stacked


@pytest.mark.parametrize("policy_kind", POLICIES)
@pytest.mark.parametrize("env_kind", ENVS)
@pytest.mark.parametrize("transforms", TRANSFORMS)
def test_the_fast_path_is_stepping_by_hand(transforms: str, env_kind: str, policy_kind: str) -> None:
    """A batch is bitwise what `policy`, `env.step`, `step_mdp` and `env.reset` give, resets in the middle included."""
    torch.manual_seed(0)
    policy = POLICIES[policy_kind]()
    torch.manual_seed(1)
    reference = by_hand(make_env(env_kind, transforms), policy)
    env = make_env(env_kind, transforms)
    torch.manual_seed(1)
    collector = Collector(env, policy, frames_per_batch=STEPS * max(1, env.batch_size.numel()))
    batch = collector.rollout()
    assert bool(batch["next", "done"].any())
    keys = set(batch.keys(True, True)) - {("collector", "traj_ids"), ("collector", "policy_version")}
    assert keys == set(reference.keys(True, True))
    for key in keys:
        assert torch.equal(batch[key], reference[key]), key
        assert batch[key].dtype == reference[key].dtype, key
    collector.shutdown()
