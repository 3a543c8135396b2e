"""The fast path against stepping by hand, for every combination of transforms, environment and policy."""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cloudpickle  # type: ignore[import-untyped]  # ships no types
import gymnasium
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import AddStateIndependentNormalScale, NormalParamExtractor, TensorDictModule
from torch import Tensor, nn

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
    InvertedPendulumEnv,
    ObservationNorm,
    ParallelEnv,
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
from rl_modules import MLP, Categorical, MaskedCategorical, OneHotCategorical, ProbabilisticActor, TanhNormal

STEPS = 9
LIMIT = 4


class Shifted(Transform):
    """A user's transform that knows TensorDicts alone."""

    def __init__(self) -> None:
        super().__init__(["observation"], ["observation"])

    def _call(self, data: Any) -> Any:
        assert isinstance(data, TensorDictBase)
        return data.set("observation", data.get("observation") + 0.25)


def make_uneven(**options: Any) -> gymnasium.Env[Any, Any]:
    """Gymnasium's pendulum in episodes of two to five steps, drawn anew each time, so that the rows of a batch part."""
    from gymnasium.envs.classic_control import PendulumEnv as Pendulum

    class Uneven(Pendulum):  # annotations as text: names in a class body do not travel with a function pickled by value
        def reset(self, **kwargs: "Any") -> "Any":
            found = super().reset(**kwargs)
            self.steps_left = int(self.np_random.integers(2, 6))
            return found

        def step(self, action: "Any") -> "Any":
            observation, reward, terminated, _, info = super().step(action)  # type: ignore[no-untyped-call]  # theirs has none
            self.steps_left -= 1
            return observation, reward, terminated, self.steps_left == 0, info

    return Uneven(**options)


UNEVEN = "Uneven-v0"


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """The id of the uneven pendulum, for workers too, which cannot import this file."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    gymnasium.register(UNEVEN, make_uneven)
    yield
    del gymnasium.registry[UNEVEN]
    cloudpickle.unregister_pickle_by_value(module)


def vector_env(mode: AutoresetMode) -> EnvBase:
    """Gymnasium's own vectorisation."""
    makers = [lambda: gymnasium.make(UNEVEN) for _ in range(2)]
    return GymWrapper(SyncVectorEnv(makers, autoreset_mode=mode))


def pendulums(backend: Any = "serial", num_envs: int | None = 3) -> EnvBase:
    """The uneven pendulum."""
    return GymEnv(UNEVEN, num_envs=num_envs, backend=backend)


def cart_poles(is_index: bool, **options: Any) -> EnvBase:
    """Gymnasium's cart pole with short episodes; actions are indices, or one-hot."""
    return GymEnv("CartPole-v1", num_envs=3, categorical_action_encoding=is_index, max_episode_steps=LIMIT, **options)


def native_mujoco() -> EnvBase:
    """A task on MuJoCo's own threads, its observations in the policies' precision."""
    task = InvertedPendulumEnv(num_envs=3, max_episode_steps=LIMIT)
    return TransformedEnv(task, DoubleToFloat(in_keys=["observation"]))


def on_workers() -> EnvBase:
    """Three environments on two worker processes."""
    return ParallelEnv(3, partial(pendulums, num_envs=None), num_processes=2, start_method="fork")


ENVS: dict[str, Callable[[], EnvBase]] = {
    "gym": lambda: GymEnv("Pendulum-v1", max_episode_steps=LIMIT),
    "gym loop": pendulums,
    "gym vector, same step": lambda: vector_env(AutoresetMode.SAME_STEP),
    "gym vector, next step": lambda: vector_env(AutoresetMode.NEXT_STEP),
    "serial": lambda: SerialEnv(2, lambda: pendulums(num_envs=None)),
    "native": PendulumEnv,
    "native batch": lambda: PendulumEnv(batch_size=(2, 2)),
    "native MuJoCo": native_mujoco,
    "parallel": on_workers,
    "gym processes": lambda: pendulums("process"),
    "EnvPool": lambda: GymEnv("Pendulum-v1", num_envs=3, backend="envpool", max_episode_steps=LIMIT),
    "cart poles": lambda: cart_poles(False),
    "cart poles, index": lambda: cart_poles(True),
    "cart poles, EnvPool": lambda: cart_poles(True, backend="envpool"),
}
"""Environments; the native pendulums have no end of their own."""

SHARED = {"parallel", "gym processes"}
"""Environments whose worker processes serve all tests, each of which seeds them."""

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


def _sizes(env: EnvBase) -> tuple[int, int]:
    return env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]


def _actor(network: nn.Module) -> ProbabilisticActor:
    return ProbabilisticActor(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        distribution_kwargs={"low": -2.0, "high": 2.0},
        return_log_prob=True,
    )


def extractor_policy(env: EnvBase) -> ProbabilisticActor:
    """A policy whose network gives location and scale."""
    inputs, actions = _sizes(env)
    return _actor(nn.Sequential(MLP(inputs, 2 * actions, num_cells=[8, 8]), NormalParamExtractor()))


def scale_policy(env: EnvBase) -> ProbabilisticActor:
    """The MuJoCo tutorial's policy."""
    inputs, actions = _sizes(env)
    return _actor(nn.Sequential(MLP(inputs, actions, num_cells=[8]), AddStateIndependentNormalScale(actions)))


def hooked_policy(env: EnvBase) -> ProbabilisticActor:
    """A policy that cannot be taken apart."""
    policy = scale_policy(env)
    policy.register_forward_hook(lambda module, inputs, output: output)
    return policy


def plain_policy(env: EnvBase) -> Callable[[TensorDictBase], TensorDictBase]:
    """A function."""

    def act(data: TensorDictBase) -> TensorDictBase:
        return data.set("action", data["observation"][..., :1].clamp(-1, 1).float())

    return act


class Masked(nn.Module):
    """Logits, and a mask that forbids the first action where the cart is on the left."""

    def __init__(self) -> None:
        super().__init__()
        self.network = MLP(4, 2, num_cells=[8])

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Both `[*B, 2]`."""
        may_go_left = observation[..., :1] > 0
        return self.network(observation), torch.cat((may_go_left, torch.ones_like(may_go_left)), -1)


def discrete_policy(env: EnvBase, distribution: type[Any]) -> ProbabilisticActor:
    """A policy over two actions."""
    is_masked = distribution is MaskedCategorical
    network = Masked() if is_masked else MLP(4, 2, num_cells=[8])
    keys = ["logits", "mask"] if is_masked else ["logits"]
    module = TensorDictModule(network, in_keys=["observation"], out_keys=keys)
    return ProbabilisticActor(module, in_keys=keys, distribution_class=distribution, return_log_prob=True)


POLICIES: dict[str, Callable[[EnvBase], Any]] = {
    "extractor": extractor_policy,
    "state-independent scale": scale_policy,
    "hooked": hooked_policy,
    "function": plain_policy,
    "one-hot": partial(discrete_policy, distribution=OneHotCategorical),
    "index": partial(discrete_policy, distribution=Categorical),
    "masked index": partial(discrete_policy, distribution=MaskedCategorical),
}


def policies_of(env_kind: str) -> list[str]:
    """The policies that fit the actions of an environment."""
    match env_kind:
        case "cart poles":
            return ["one-hot"]
        case "cart poles, index":
            return ["index", "masked index"]
        case "cart poles, EnvPool":
            return ["index"]
        case "native MuJoCo" | "parallel" | "gym processes" | "EnvPool":
            return ["extractor", "function"]
        case "gym vector, same step" | "gym vector, next step" | "serial" | "native batch":
            return ["state-independent scale", "hooked"]
    return ["extractor", "state-independent scale", "hooked", "function"]


@pytest.fixture(scope="module")
def bases() -> Iterator[Callable[[str], EnvBase]]:
    """Environments without transforms, by kind."""
    shared: dict[str, EnvBase] = {}

    def base(kind: str) -> EnvBase:
        if kind not in SHARED:
            return ENVS[kind]()
        if kind not in shared:
            shared[kind] = ENVS[kind]()
        return shared[kind]

    yield base
    for env in shared.values():
        env.close()


def make_env(base: EnvBase, env_kind: str, transforms: str) -> EnvBase:
    """The environment in its transforms, with short episodes."""
    env = TransformedEnv(base)
    if env_kind in ("native", "native batch"):
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


@pytest.mark.parametrize(("env_kind", "policy_kind"), [(env, policy) for env in ENVS for policy in policies_of(env)])
@pytest.mark.parametrize("transforms", TRANSFORMS)
def test_the_fast_path_is_stepping_by_hand(
    transforms: str, env_kind: str, policy_kind: str, bases: Callable[[str], EnvBase]
) -> None:
    """A batch is bitwise what `policy`, `env.step`, `step_mdp` and `env.reset` give, resets in the middle included."""
    env = make_env(bases(env_kind), env_kind, transforms)
    torch.manual_seed(0)
    policy = POLICIES[policy_kind](env)
    torch.manual_seed(1)
    reference = by_hand(env, policy)
    env = make_env(bases(env_kind), env_kind, transforms)
    torch.manual_seed(1)
    collector = Collector(env, policy, frames_per_batch=STEPS * max(1, env.batch_size.numel()))
    batch = collector.rollout()
    assert bool(batch["next", "done"].any())
    keys = set(batch.keys(True, True)) - {("collector", "traj_ids"), ("collector", "policy_version")}
    assert keys == set(reference.keys(True, True))
    for key in keys:
        assert torch.equal(batch[key], reference[key]), key
        assert batch[key].dtype == reference[key].dtype, key
    collector.shutdown(close_env=env_kind not in SHARED)
