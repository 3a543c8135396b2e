"""The parts of the inverted double pendulum tutorial, with its spellings, and the whole program on a small budget."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import gymnasium
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from tensordict.nn.distributions import NormalParamExtractor
from torch import nn

from rl_buffers import ReplayBuffer
from rl_buffers.samplers import SamplerWithoutReplacement
from rl_buffers.storages import LazyTensorStorage
from rl_collectors import SyncDataCollector
from rl_envs import (
    Compose,
    DoubleToFloat,
    ExplorationType,
    ObservationNorm,
    StepCounter,
    TransformedEnv,
    check_env_specs,
    set_exploration_type,
)
from rl_envs.gym import GymEnv, GymWrapper
from rl_modules import ProbabilisticActor, TanhNormal, ValueOperator
from rl_objectives import ClipPPOLoss
from rl_objectives.value import GAE

pytestmark = pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")

DEVICE = torch.device("cpu")
CELLS = 16


def hidden() -> list[nn.Module]:
    """Three lazy tanh layers on the device."""
    return [layer for _ in range(3) for layer in (nn.LazyLinear(CELLS, device=DEVICE), nn.Tanh())]


def make_policy(env: TransformedEnv, **spelling: Any) -> ProbabilisticActor:
    """The tutorial's policy; the bounds go by `min` and `max` unless others are given."""
    network = nn.Sequential(
        *hidden(), nn.LazyLinear(2 * env.action_spec.shape[-1], device=DEVICE), NormalParamExtractor()
    )
    space = env.action_spec.space
    return ProbabilisticActor(
        module=TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        spec=env.action_spec,
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        distribution_kwargs=spelling or {"min": space.low, "max": space.high},
        return_log_prob=True,
    )


def make_value() -> ValueOperator:
    """The tutorial's value."""
    return ValueOperator(module=nn.Sequential(*hidden(), nn.LazyLinear(1, device=DEVICE)), in_keys=["observation"])


@pytest.fixture
def env() -> Iterator[TransformedEnv]:
    """The normalised double pendulum."""
    torch.manual_seed(0)
    made = TransformedEnv(
        GymEnv("InvertedDoublePendulum-v4", device=DEVICE),
        Compose(ObservationNorm(in_keys=["observation"]), DoubleToFloat(), StepCounter()),
    )
    made.set_seed(0)
    made.transform[0].init_stats(num_iter=1000, reduce_dim=0, cat_dim=0)
    yield made
    made.close()


def test_device_is_taken_over(env: TransformedEnv) -> None:
    """The transformed env has the device of the env that it wraps, and its data are there."""
    assert env.device == DEVICE
    assert env.rollout(2).device == DEVICE


def test_keywords_reach_gymnasium_make() -> None:
    """Extra keywords of `GymEnv` are those of `gymnasium.make`; a made env can be wrapped instead."""
    keywords: dict[str, Any] = {"max_episode_steps": 3, "reset_noise_scale": 0.0}
    by_name = GymEnv("InvertedDoublePendulum-v5", device=DEVICE, **keywords)
    by_hand = GymWrapper(gymnasium.make("InvertedDoublePendulum-v5", **keywords), device=DEVICE)
    for env in (by_name, by_hand):
        assert torch.equal(env.reset()["observation"], env.reset()["observation"])
        data = env.rollout(10)
        assert data.batch_size == torch.Size([3])
        assert data["next", "truncated"].squeeze(-1).tolist() == [False, False, True]
        env.close()


def test_statistics_normalise_random_data(env: TransformedEnv) -> None:
    """`init_stats` fills location and scale of one observation, so that random data have mean 0 and deviation 1."""
    norm = env.transform[0]
    assert norm.loc.shape == norm.scale.shape == torch.Size([11])
    data = torch.cat([env.rollout(1000)["next", "observation"] for _ in range(150)])
    varied = norm.scale.to(data.dtype) < 1e4  # the model has coordinates that do not move
    assert data.mean(0)[varied].abs().max() < 0.5
    assert (data.std(0)[varied] - 1).abs().max() < 0.5


def test_specs_of_the_tutorial(env: TransformedEnv) -> None:
    """`input_spec` holds the action spec; observation and reward specs tell their entries; the check passes."""
    assert set(env.observation_spec.keys()) == {"observation", "step_count"}
    assert env.reward_spec.shape == torch.Size([1])
    assert env.input_spec["full_action_spec", "action"] == env.action_spec
    assert env.action_spec.shape == torch.Size([1])
    check_env_specs(env)


def test_three_random_steps(env: TransformedEnv) -> None:
    """A rollout has the shape of its steps; next of one step is the root of the following one."""
    rollout = env.rollout(3)
    assert rollout.batch_size == torch.Size([3])
    flags = {"done", "terminated", "truncated"}
    assert set(rollout.keys()) == {"action", "next", "observation", "step_count", *flags}
    assert set(rollout["next"].keys()) == {"observation", "reward", "step_count", *flags}
    assert torch.equal(rollout["next", "observation"][:-1], rollout["observation"][1:])
    assert bool(env.action_spec.is_in(rollout["action"][0]))


def test_policy_and_value_read_what_reset_returns(env: TransformedEnv) -> None:
    """Lazy networks take their sizes from the first data; entries are written into the TensorDict given."""
    policy, value = make_policy(env), make_value()
    root = env.reset()
    assert policy(root) is root
    assert {"loc", "scale", "action", "sample_log_prob"} <= set(root.keys())
    assert value(env.reset())["state_value"].shape == torch.Size([1])


def test_bounds_under_both_spellings(env: TransformedEnv) -> None:
    """`min`/`max` and `low`/`high` make the same distribution."""
    space = env.action_spec.space
    loc, scale = torch.tensor([[0.3], [-1.0]]), torch.tensor([[0.5], [2.0]])
    old, new = TanhNormal(loc, scale, min=-2.0, max=3.0), TanhNormal(loc, scale, low=-2.0, high=3.0)
    action = new.sample()
    assert torch.allclose(old.log_prob(action), new.log_prob(action), atol=1e-3)
    assert ((action >= -2) & (action <= 3)).all()
    assert torch.equal(old.mode, new.mode)
    torch.manual_seed(1)
    first = make_policy(env, min=space.low, max=space.high)
    torch.manual_seed(1)
    second = make_policy(env, low=space.low, high=space.high)
    root = env.reset()
    torch.manual_seed(2)
    one = first(root.clone())["action"]
    torch.manual_seed(2)
    assert torch.equal(one, second(root.clone())["action"])


def test_in_keys_may_map_arguments_to_entries(env: TransformedEnv) -> None:
    """A mapping says which entry is which argument of the distribution."""
    network = nn.Sequential(nn.LazyLinear(2), NormalParamExtractor())
    policy = ProbabilisticActor(
        module=TensorDictModule(network, in_keys=["observation"], out_keys=["mu", "sigma"]),
        spec=env.action_spec,
        in_keys={"loc": "mu", "scale": "sigma"},
        distribution_class=TanhNormal,
        return_log_prob=True,
    )
    assert {"mu", "sigma", "action", "sample_log_prob"} <= set(policy(env.reset()).keys())


def test_collector_cuts_batches_and_stops(env: TransformedEnv) -> None:
    """Batches of `frames_per_batch` until `total_frames`; the env goes on over the ends of episodes."""
    collector = SyncDataCollector(
        env, make_policy(env), frames_per_batch=100, total_frames=300, split_trajs=False, device=DEVICE
    )
    batches = list(collector)
    assert [batch.numel() for batch in batches] == [100, 100, 100]
    assert all(batch["next", "done"].any() for batch in batches)
    ids = torch.cat([batch["collector", "traj_ids"] for batch in batches])
    ends = torch.cat([batch["next", "done"] for batch in batches]).squeeze(-1)
    assert torch.equal(ids[1:] != ids[:-1], ends[:-1])
    collector.shutdown()


def test_max_frames_per_traj_resets_the_env() -> None:
    """`max_frames_per_traj` ends trajectories that are still going."""
    collector = SyncDataCollector(
        GymEnv("Pendulum-v1"), None, frames_per_batch=20, total_frames=20, max_frames_per_traj=5
    )
    (batch,) = list(collector)
    assert batch["next", "truncated"].squeeze(-1).nonzero().squeeze(-1).tolist() == [4, 9, 14, 19]
    collector.shutdown()


def test_only_the_storage_of_a_buffer_is_needed() -> None:
    """Sampler and writer have defaults; a sampler without repetition does not repeat a row within an epoch."""
    data = TensorDict({"row": torch.arange(100)}, [100])
    plain = ReplayBuffer(storage=LazyTensorStorage(max_size=100))
    plain.extend(data)
    assert plain.sample(30).batch_size == torch.Size([30])
    once = ReplayBuffer(storage=LazyTensorStorage(max_size=100), sampler=SamplerWithoutReplacement())
    once.extend(data.cpu())
    rows = torch.cat([once.sample(25)["row"] for _ in range(4)])
    assert sorted(rows.tolist()) == list(range(100))


def test_gae_of_the_tutorial_standardises_the_advantage(env: TransformedEnv) -> None:
    """`average_gae=True` gives the advantage mean 0 and deviation 1 and leaves the target alone."""
    policy, value = make_policy(env), make_value()
    data = env.rollout(100, policy, break_when_any_done=False)
    plain = GAE(gamma=0.99, lmbda=0.95, value_network=value)(data.clone())
    GAE(gamma=0.99, lmbda=0.95, value_network=value, average_gae=True)(data)
    assert data["advantage"].mean().item() == pytest.approx(0, abs=1e-5)
    assert data["advantage"].std().item() == pytest.approx(1, abs=1e-3)
    assert torch.allclose(data["value_target"], plain["value_target"])
    assert torch.allclose(plain["advantage"], plain["value_target"] - plain["state_value"], atol=1e-4)


def test_mean_exploration_takes_the_expected_action(env: TransformedEnv) -> None:
    """Under `ExplorationType.MEAN` the action is the mean of the distribution, the same at each call."""
    policy = make_policy(env)
    root = env.reset()
    with set_exploration_type(ExplorationType.MEAN), torch.no_grad():
        first, second = policy(root.clone()), policy(root.clone())
    assert torch.equal(first["action"], second["action"])
    draws = TanhNormal(first["loc"], first["scale"]).sample(torch.Size([200_000]))
    assert torch.allclose(first["action"], draws.mean(0), atol=0.01)


def test_the_whole_program_runs(env: TransformedEnv) -> None:
    """Collect, estimate, epochs of sampled minibatches, evaluation with the mean action, cosine schedule, logs."""
    frames_per_batch, sub_batch_size, total_frames, epochs, entropy_eps = 128, 32, 384, 2, 1e-4
    policy, value = make_policy(env), make_value()
    policy(env.reset())
    value(env.reset())
    collector = SyncDataCollector(
        env,
        policy,
        frames_per_batch=frames_per_batch,
        total_frames=total_frames,
        split_trajs=False,
        device=DEVICE,
    )
    buffer = ReplayBuffer(storage=LazyTensorStorage(max_size=frames_per_batch), sampler=SamplerWithoutReplacement())
    advantage_module = GAE(gamma=0.99, lmbda=0.95, value_network=value, average_gae=True)
    loss_module = ClipPPOLoss(
        actor_network=policy,
        critic_network=value,
        clip_epsilon=0.2,
        entropy_bonus=bool(entropy_eps),
        entropy_coef=entropy_eps,
        critic_coef=1.0,
        loss_critic_type="smooth_l1",
    )
    optim = torch.optim.Adam(loss_module.parameters(), 3e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optim, total_frames // frames_per_batch, 0.0)
    logs: dict[str, list[float]] = defaultdict(list)
    for i, data in enumerate(collector):
        steps = data["step_count"].squeeze(-1)
        assert steps[0] == 0 or i != 1, "the evaluation left the env elsewhere, so a new trajectory begins"
        for _ in range(epochs):
            advantage_module(data)
            buffer.extend(data.reshape(-1).cpu())
            for _ in range(frames_per_batch // sub_batch_size):
                losses = loss_module(buffer.sample(sub_batch_size).to(DEVICE))
                (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
                nn.utils.clip_grad_norm_(loss_module.parameters(), 1.0)
                optim.step()
                optim.zero_grad()
        logs["reward"].append(data["next", "reward"].mean().item())
        logs["step_count"].append(data["step_count"].max().item())
        logs["lr"].append(optim.param_groups[0]["lr"])
        if i % 10 == 0:
            with set_exploration_type(ExplorationType.MEAN), torch.no_grad():
                evaluation = env.rollout(1000, policy)
            assert bool(evaluation["next", "done"][-1])
            logs["eval reward (sum)"].append(evaluation["next", "reward"].sum().item())
            logs["eval step_count"].append(evaluation["step_count"].max().item())
            assert logs["eval step_count"][-1] == evaluation.batch_size[0] - 1
        scheduler.step()
    collector.shutdown()
    assert [len(logs[key]) for key in ("reward", "lr", "eval reward (sum)")] == [3, 3, 1]
    assert logs["lr"] == pytest.approx([3e-4, 2.25e-4, 0.75e-4])
    assert all(isinstance(count, int) and count > 0 for count in logs["step_count"])
