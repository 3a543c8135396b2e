"""Environments of the introduction and of the README: keys, shapes, pixels, transforms, loops written by hand."""

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import nn

from rl_collectors import Collector, SyncDataCollector
from rl_envs import (
    Compose,
    DoubleToFloat,
    EnvBase,
    NoopResetEnv,
    ObservationNorm,
    PendulumEnv,
    SerialEnv,
    StepCounter,
    ToTensorImage,
    TransformedEnv,
    step_mdp,
)
from rl_envs.gym import GymEnv, GymWrapper
from rl_modules import SafeModule
from rl_specs import Bounded

FLAGS = {"done", "terminated", "truncated"}


def make_pixel_env() -> GymEnv:
    """Pendulum with frames beside its observation, three simulator steps an action."""
    return GymEnv("Pendulum-v1", frame_skip=3, from_pixels=True, pixels_only=False)


@pytest.fixture
def pixel_env() -> Iterator[TransformedEnv]:
    """The pixel env of the introduction with its three transforms."""
    env = TransformedEnv(make_pixel_env(), Compose(NoopResetEnv(3), ToTensorImage()))
    returned = env.append_transform(ObservationNorm(in_keys=["pixels"], loc=2, scale=1))
    assert returned is env
    yield env
    env.close()


def shapes(data: TensorDictBase) -> dict[Any, tuple[int, ...]]:
    """Shape of every leaf."""
    return {key: tuple(value.shape) for key, value in data.items(True, True)}


# ------------------------------------------------------------------------------------------------ Gymnasium


@pytest.mark.parametrize(
    "make", [lambda: GymEnv("Pendulum-v1"), lambda: GymWrapper(gymnasium.make("Pendulum-v1"))], ids=["name", "env"]
)
def test_a_random_step_fills_the_printed_keys(make: Callable[[], EnvBase]) -> None:
    """`rand_step` adds the action and `next` to what `reset` returned; no device, no batch dimension."""
    env = make()
    root = env.reset()
    assert set(root.keys()) == {"observation", *FLAGS}
    data = env.rand_step(root)
    expected: dict[Any, tuple[int, ...]] = {"action": (1,), "observation": (3,), **dict.fromkeys(FLAGS, (1,))}
    expected |= {("next", key): (1,) for key in (*FLAGS, "reward")} | {("next", "observation"): (3,)}
    assert shapes(data) == expected
    assert data.batch_size == data["next"].batch_size == torch.Size([])
    assert data.device is None
    assert env.device is None
    dtypes = {key: data[key].dtype for key in ("action", "observation", "done")}
    assert dtypes == {"action": torch.float32, "observation": torch.float32, "done": torch.bool}
    assert data["next", "reward"].dtype == torch.float32
    assert env.action_spec.device == torch.device("cpu")
    env.close()


def test_frame_skip_adds_the_rewards_of_the_skipped_steps() -> None:
    """One step with `frame_skip=3` is three steps with the same action."""
    single, skipping = GymEnv("Pendulum-v1"), GymEnv("Pendulum-v1", frame_skip=3)
    roots = []
    for env in (single, skipping):
        env.set_seed(1)
        roots.append(env.reset())
    assert torch.equal(roots[0]["observation"], roots[1]["observation"])
    action = torch.tensor([1.5])
    reward = torch.zeros(1)
    root: TensorDictBase = roots[0]
    for _ in range(3):
        root = single.step(root.set("action", action))
        reward += root["next", "reward"]
        root = step_mdp(root)
    data = skipping.step(roots[1].set("action", action))
    assert torch.allclose(data["next", "reward"], reward, atol=1e-5)
    assert torch.equal(data["next", "observation"], root["observation"])


# ------------------------------------------------------------------------------------------------ pixels


@pytest.mark.parametrize("is_only", [True, False])
def test_frames_come_under_pixels(is_only: bool) -> None:
    """`from_pixels` adds uint8 frames `[500, 500, 3]`; `pixels_only` decides whether the observation stays."""
    env = GymEnv("Pendulum-v1", frame_skip=3, from_pixels=True, pixels_only=is_only)
    root = env.reset()
    assert set(root.keys()) == {"pixels", *FLAGS} | (set() if is_only else {"observation"})
    assert root["pixels"].shape == torch.Size([500, 500, 3])
    assert root["pixels"].dtype == torch.uint8
    assert len(root["pixels"].unique()) > 2
    assert env.observation_spec["pixels"].is_in(root["pixels"])
    env.close()


def test_image_transforms_of_the_introduction(pixel_env: TransformedEnv) -> None:
    """Channels first, floats, scaled to 0..1 and then shifted by `loc`; at reset and at steps, and in the specs."""
    root = pixel_env.reset()
    assert shapes(root) == {"observation": (3,), "pixels": (3, 500, 500), **dict.fromkeys(FLAGS, (1,))}
    data = pixel_env.rand_step(root)
    for pixels in (data["pixels"], data["next", "pixels"]):
        assert pixels.dtype == torch.float32
        assert pixels.shape == torch.Size([3, 500, 500])
        assert 2 <= pixels.min() < pixels.max() <= 3
    assert pixel_env.observation_spec["pixels"].shape == torch.Size([3, 500, 500])
    assert pixel_env.observation_spec["pixels"].is_in(data["next", "pixels"])


def test_environments_print_as_in_the_introduction(pixel_env: TransformedEnv) -> None:
    """Env, base env and each transform with its settings are in the printed form, in order."""
    lines = [line.strip(" ,)") for line in repr(pixel_env).splitlines()]
    assert lines[0] == "TransformedEnv("
    assert lines[1] == "env=GymEnv(env=Pendulum-v1, batch_size=torch.Size([]), device=None"
    assert lines[2] == "transform=Compose("
    assert lines[3] == "NoopResetEnv(noops=3, random=True"
    assert lines[4] == "ToTensorImage(keys=['pixels']"
    assert lines[5] == "ObservationNorm(loc=2.0000, scale=1.0000, keys=['pixels']"


def test_the_parent_of_a_transform_is_the_env_before_it(pixel_env: TransformedEnv) -> None:
    """`transform[2].parent` has the first two transforms and so images that are not normalised."""
    parent = pixel_env.transform[2].parent
    assert parent is not None
    assert "ToTensorImage" in repr(parent)
    assert "ObservationNorm" not in repr(parent)
    pixels = parent.reset()["pixels"]
    assert 0 <= pixels.min() < pixels.max() <= 1


def test_noops_move_the_start() -> None:
    """`NoopResetEnv(3)` takes one to three random steps after a reset: the start is not that of the env."""
    starts = []
    for noops in (0, 3):
        env = TransformedEnv(GymEnv("Pendulum-v1"), NoopResetEnv(noops))
        env.set_seed(0)
        starts.append(env.reset())
    assert not torch.equal(starts[0]["observation"], starts[1]["observation"])
    assert set(starts[1].keys()) == {"observation", *FLAGS}


def test_statistics_of_pixels() -> None:
    """`init_stats` works on images too, here one location and scale for each channel."""
    env = TransformedEnv(make_pixel_env(), Compose(ToTensorImage(), ObservationNorm(in_keys=["pixels"])))
    norm = env.transform[1]
    norm.init_stats(num_iter=3, reduce_dim=(0, 2, 3), cat_dim=0, keep_dims=(2, 3))
    assert norm.loc.shape == norm.scale.shape == torch.Size([3, 1, 1])
    pixels = torch.stack([env.rollout(1)["next", "pixels"][0] for _ in range(2)])
    assert pixels.shape == torch.Size([2, 3, 500, 500])
    assert pixels.mean((0, 2, 3)).abs().max() < 0.5
    env.close()


def test_transforms_apply_to_a_batch_of_envs() -> None:
    """Four pixel envs in one: every entry has a leading 4, specs too."""
    env = TransformedEnv(SerialEnv(4, make_pixel_env), Compose(StepCounter(), ToTensorImage()))
    env.append_transform(ObservationNorm(in_keys=["pixels"], loc=2, scale=1))
    root = env.reset()
    assert root.batch_size == env.batch_size == torch.Size([4])
    assert shapes(root) == {
        "observation": (4, 3),
        "pixels": (4, 3, 500, 500),
        "step_count": (4, 1),
        **dict.fromkeys(FLAGS, (4, 1)),
    }
    assert root["step_count"].dtype == torch.int64
    spec = env.action_spec
    assert isinstance(spec, Bounded)
    assert (spec.shape, spec.dtype, spec.device) == (torch.Size([4, 1]), torch.float32, torch.device("cpu"))
    assert spec.space.low.shape == spec.space.high.shape == torch.Size([4, 1])
    assert spec.domain == "continuous"
    env.close()


# ------------------------------------------------------------------------------------------------ loops


@pytest.fixture
def actor() -> SafeModule:
    """A linear policy with the spec of the env's action."""
    torch.manual_seed(7)
    spec = GymEnv("Pendulum-v1").action_spec
    return SafeModule(nn.Linear(3, 1), spec=spec, in_keys=["observation"], out_keys=["action"])


def by_hand(env: GymEnv, actor: SafeModule, steps: int) -> list[TensorDictBase]:
    """Act, step and advance, `steps` times or until the episode ends."""
    torch.manual_seed(0)
    env.set_seed(0)
    data: TensorDictBase = env.reset()
    taken: list[TensorDictBase] = []
    for _ in range(steps):
        actor(data)
        taken.append(env.step(data))
        assert taken[-1] is data
        if data["done"].any():
            break
        data = step_mdp(data)
    return taken


def test_rollout_equals_loops_written_by_hand(actor: SafeModule) -> None:
    """Stacked steps, steps written into a TensorDict without entries, and `rollout` are the same data."""
    env, steps = GymEnv("Pendulum-v1"), 100
    stacked = TensorDict.stack(by_hand(env, actor, steps), 0)
    preallocated = TensorDict({}, [steps])
    for index, step in enumerate(by_hand(env, actor, steps)):
        preallocated[index] = step
    torch.manual_seed(0)
    env.set_seed(0)
    rollout = env.rollout(policy=actor, max_steps=steps)
    assert stacked.batch_size == rollout.batch_size == torch.Size([steps])
    assert set(shapes(rollout)) == set(shapes(stacked)) == set(shapes(preallocated))
    assert bool((stacked == preallocated).all())
    assert bool((rollout == preallocated).all())


def test_step_mdp_makes_next_the_root(actor: SafeModule) -> None:
    """The observation moves to the root; neither `next` nor action nor reward is left."""
    env = GymEnv("Pendulum-v1")
    data = env.rand_step(env.reset())
    following = step_mdp(data)
    assert set(following.keys()) == {"observation", *FLAGS}
    assert torch.equal(following["observation"], data["next", "observation"])


def test_collector_over_serial_envs(actor: SafeModule) -> None:
    """60 frames of three envs are `[3, 20]`, with trajectory ids of their own; four batches make 240."""
    policy = TensorDictModule(nn.Linear(3, 1), in_keys=["observation"], out_keys=["action"])
    collector = SyncDataCollector(
        create_env_fn=SerialEnv(3, lambda: GymEnv("Pendulum-v1")),
        policy=policy,
        total_frames=240,
        max_frames_per_traj=-1,
        frames_per_batch=60,
        device="cpu",
    )
    batches = 0
    for data in collector:
        batches += 1
        assert data.batch_size == torch.Size([3, 20])
        assert data.device == torch.device("cpu")
        assert data["collector", "traj_ids"].shape == torch.Size([3, 20])
        assert data["collector", "traj_ids"].dtype == torch.int64
        assert len(data["collector", "traj_ids"].unique()) == 3
        assert shapes(data)["next", "observation"] == (3, 20, 3)
        collector.update_policy_weights_()
    assert batches == 4
    collector.shutdown()


# ------------------------------------------------------------------------------------------------ README


def test_the_quick_demo_of_the_readme() -> None:
    """A native env, a counter with a limit, a lazy network as policy: 32 steps."""
    env = TransformedEnv(PendulumEnv(), StepCounter(max_steps=200))
    policy = TensorDictModule(
        nn.Sequential(nn.LazyLinear(64), nn.Tanh(), nn.Linear(64, 1), nn.Tanh()),
        in_keys=["observation"],
        out_keys=["action"],
    )
    rollout = env.rollout(max_steps=32, policy=policy)
    assert rollout.batch_size == torch.Size([32])
    assert rollout["next", "reward"].shape[:1] == torch.Size([32])
    assert rollout["step_count"].squeeze(-1).tolist() == list(range(32))


def test_step_counter_truncates_at_its_limit() -> None:
    """`max_steps` ends an episode with `truncated`."""
    env = TransformedEnv(PendulumEnv(), StepCounter(max_steps=4))
    rollout = env.rollout(max_steps=32)
    assert rollout["next", "truncated"].squeeze(-1).tolist() == [False, False, False, True]
    assert not rollout["next", "terminated"].any()


@pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")
def test_the_preprocessing_of_the_readme() -> None:
    """Normalisation and conversion in one `Compose` over HalfCheetah-v4 on a named device."""
    env = TransformedEnv(
        GymEnv("HalfCheetah-v4", device="cpu:0"), Compose(ObservationNorm(in_keys=["observation"]), DoubleToFloat())
    )
    env.transform[0].init_stats(num_iter=20)
    assert env.rollout(2)["observation"].dtype == torch.float32
    env.close()


def test_the_collector_of_the_readme_takes_an_env() -> None:
    """`Collector(create_env_fn=env, ...)` with an env that exists; time, envs and keys keep their structure."""
    env = TransformedEnv(PendulumEnv(batch_size=[2]), StepCounter(max_steps=200))
    policy = TensorDictModule(nn.Sequential(nn.Linear(3, 1), nn.Tanh()), in_keys=["observation"], out_keys=["action"])
    collector = Collector(create_env_fn=env, policy=policy, frames_per_batch=64, total_frames=128)
    batches = list(collector)
    assert [batch.batch_size for batch in batches] == [torch.Size([2, 32])] * 2
    assert torch.equal(batches[1]["step_count"][:, 0], batches[0]["next", "step_count"][:, -1])
    nested = TensorDict.stack(batches, dim=0).reshape(-1)[:5]
    assert nested["next", "reward"].shape == torch.Size([5, 1])
    collector.shutdown()
