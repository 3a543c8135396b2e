"""The parts of the MuJoCo PPO tutorial, with its spellings, and the whole program on a small budget."""

import warnings
from collections.abc import Iterator

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import AddStateIndependentNormalScale, TensorDictModule
from torch import nn
from tqdm import tqdm

from rl_buffers import LazyTensorStorage, TensorDictReplayBuffer
from rl_buffers.samplers import SamplerWithoutReplacement
from rl_collectors import Collector
from rl_envs import (
    ClipTransform,
    DoubleToFloat,
    ExplorationType,
    GymEnv,
    RewardSum,
    StepCounter,
    TransformedEnv,
    VecNorm,
    check_env_specs,
    set_exploration_type,
)
from rl_modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
from rl_objectives import ClipPPOLoss, group_optimizers
from rl_objectives.value import GAE

pytestmark = pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")


def make_env(env_name: str = "HalfCheetah-v4", device: str = "cpu") -> TransformedEnv:
    """The tutorial's env, under its old id; callable without arguments, as a collector calls it."""
    env = TransformedEnv(GymEnv(env_name, device=device))
    env.append_transform(VecNorm(in_keys=["observation"], decay=0.99999, eps=1e-2))
    env.append_transform(ClipTransform(in_keys=["observation"], low=-10, high=10))
    env.append_transform(RewardSum())
    env.append_transform(StepCounter())
    env.append_transform(DoubleToFloat(in_keys=["observation"]))
    return env


def make_network(size: int, outputs: int, gain: float, device: str) -> MLP:
    """Two hidden layers on `device`, initialised orthogonally through `.modules()`."""
    network = MLP(in_features=size, activation_class=nn.Tanh, out_features=outputs, num_cells=[64, 64], device=device)
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert len(linear) == 3
    for layer in linear:
        nn.init.orthogonal_(layer.weight, gain)
        layer.bias.data.zero_()
    return network


def make_actor(env: TransformedEnv, device: str = "cpu") -> ProbabilisticActor:
    """The tutorial's policy: a scale that does not depend on the state, specs and bounds without batch dimensions."""
    outputs = env.action_spec_unbatched.shape[-1]
    network = nn.Sequential(
        make_network(env.observation_spec["observation"].shape[-1], outputs, 1.0, device),
        AddStateIndependentNormalScale(outputs, scale_lb=1e-8).to(device),
    )
    return ProbabilisticActor(
        TensorDictModule(module=network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=env.full_action_spec_unbatched.to(device),
        distribution_class=TanhNormal,
        distribution_kwargs={
            "low": env.action_spec_unbatched.space.low.to(device),
            "high": env.action_spec_unbatched.space.high.to(device),
            "tanh_loc": False,
        },
        return_log_prob=True,
        default_interaction_type=ExplorationType.RANDOM,
    )


def make_critic(env: TransformedEnv, device: str = "cpu") -> ValueOperator:
    """The tutorial's value."""
    size = env.observation_spec["observation"].shape[-1]
    return ValueOperator(make_network(size, 1, 0.01, device), in_keys=["observation"])


@pytest.fixture
def env() -> Iterator[TransformedEnv]:
    """HalfCheetah with the tutorial's transforms."""
    torch.manual_seed(0)
    made = make_env()
    made.set_seed(0)
    yield made
    made.close()


def test_the_old_id_works_and_says_that_it_is_old() -> None:
    """HalfCheetah-v4 runs; Gymnasium's notice comes through."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        env = GymEnv("HalfCheetah-v4", device="cpu")
    assert any("out of date" in str(warning.message) for warning in caught)
    assert env.rollout(3).batch_size == torch.Size([3])
    env.close()


def test_transforms_are_appended_in_order(env: TransformedEnv) -> None:
    """Each `append_transform` puts one more at the end; the specs tell the result."""
    kinds = [type(env.transform[i]) for i in range(len(env.transform))]
    assert kinds == [VecNorm, ClipTransform, RewardSum, StepCounter, DoubleToFloat]
    spec = env.observation_spec
    assert {"observation", "episode_reward", "step_count"} <= set(spec.keys())
    assert spec["observation"].dtype == torch.float32
    assert spec["observation"].shape == torch.Size([17])
    assert env.action_spec.shape == torch.Size([6])
    check_env_specs(env)


def test_specs_print_shape_dtype_and_bounds(env: TransformedEnv) -> None:
    """Printed specs describe every entry."""
    assert "observation" in str(env.observation_spec)
    assert all(part in str(env.action_spec) for part in ("6", "float32", "-1", "1", "cpu"))


def test_unbatched_views_have_no_batch_dimension() -> None:
    """In an env of several rows, `*_unbatched` specs are those of one row."""
    env = GymEnv("Pendulum-v1", num_envs=3)
    assert env.action_spec.shape == torch.Size([3, 1])
    assert env.action_spec_unbatched.shape == torch.Size([1])
    assert env.full_action_spec_unbatched["action"].shape == torch.Size([1])
    assert env.action_spec_unbatched.space.low.shape == torch.Size([1])
    env.close()


def test_transforms_write_returns_counts_and_clipped_floats(env: TransformedEnv) -> None:
    """`episode_reward` adds rewards up, `step_count` counts, observations are floats within the clip."""
    data = env.rollout(20)
    total = data["next", "reward"].cumsum(0)
    assert torch.allclose(data["next", "episode_reward"], total, atol=1e-5)
    assert data["next", "step_count"].squeeze(-1).tolist() == list(range(1, 21))
    assert data["step_count"].squeeze(-1).tolist() == list(range(20))
    assert data["observation"].dtype == torch.float32
    assert data["next", "observation"].abs().max() <= 10


def test_actor_writes_action_and_log_probability(env: TransformedEnv) -> None:
    """Actions are drawn outside of any context, lie within the bounds and come with `sample_log_prob`."""
    actor = make_actor(env)
    root = env.reset()
    first, second = actor(root.clone()), actor(root.clone())
    assert {"loc", "scale", "action", "sample_log_prob"} <= set(first.keys())
    assert first["sample_log_prob"].shape == torch.Size([])
    assert not torch.equal(first["action"], second["action"])
    assert env.action_spec.is_in(first["action"])
    dist = actor.get_dist(root.clone())
    assert torch.allclose(dist.log_prob(first["action"]), first["sample_log_prob"], atol=1e-4)
    assert bool((first["scale"] == first["scale"][0]).all())


def test_scale_has_a_parameter_of_its_own_and_a_lower_bound(env: TransformedEnv) -> None:
    """The scale is learned, and however small its parameter, it stays at 1e-8 or above."""
    actor = make_actor(env)
    scale = [parameter for parameter in actor.parameters() if parameter.shape == torch.Size([6])]
    assert len(scale) == 2
    for parameter in scale:
        parameter.data.fill_(-1e4)
    assert actor(env.reset())["scale"].min().item() == pytest.approx(1e-8)


def test_critic_writes_a_state_value(env: TransformedEnv) -> None:
    """`ValueOperator` names its output."""
    assert make_critic(env)(env.reset())["state_value"].shape == torch.Size([1])


def test_buffer_goes_through_each_batch_without_repetition() -> None:
    """Iteration gives every row once in minibatches; a second epoch is possible; a device is taken."""
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(64, device="cpu"), sampler=SamplerWithoutReplacement(), batch_size=16
    )
    for start in (0, 100):
        buffer.extend(TensorDict({"row": torch.arange(start, start + 64)}, [64]))
        batches = list(buffer)
        assert [batch.batch_size for batch in batches] == [torch.Size([16])] * 4
        rows = torch.cat([batch["row"] for batch in batches])
        assert sorted(rows.tolist()) == list(range(start, start + 64))
        assert rows.tolist() != sorted(rows.tolist())


def test_group_optimizers_steps_both_and_can_be_scheduled(env: TransformedEnv) -> None:
    """One optimizer from two, with both groups; gradients are set to None; a scheduler accepts it."""
    actor, critic = make_actor(env), make_critic(env)
    optim = group_optimizers(
        torch.optim.Adam(actor.parameters(), lr=3e-4, eps=1e-5),
        torch.optim.Adam(critic.parameters(), lr=1e-3, eps=1e-5),
    )
    assert [group["lr"] for group in optim.param_groups] == [3e-4, 1e-3]
    before = [parameter.clone() for module in (actor, critic) for parameter in module.parameters()]
    data = TensorDict({"observation": torch.randn(8, 17)}, [8])
    (actor(data)["loc"].square().sum() + actor(data)["scale"].sum() + critic(data)["state_value"].sum()).backward()
    optim.step()
    optim.zero_grad(set_to_none=True)
    after = [parameter for module in (actor, critic) for parameter in module.parameters()]
    assert all(parameter.grad is None for parameter in after)
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optim, lambda step: 0.5)
    assert scheduler.get_last_lr() == [1.5e-4, 5e-4]


def test_the_whole_program_runs() -> None:
    """Collect with an env function, estimate, several epochs of minibatches, update weights, evaluate."""
    device, frames_per_batch, total_frames, epochs = "cpu", 128, 256, 2
    env = make_env()
    actor, critic = make_actor(env, device), make_critic(env, device)
    adv_module = GAE(gamma=0.99, lmbda=0.95, value_network=critic, average_gae=False, device=device)
    loss_module = ClipPPOLoss(
        actor_network=actor,
        critic_network=critic,
        clip_epsilon=0.2,
        loss_critic_type="smooth_l1",
        entropy_coeff=0.01,
        critic_coeff=0.5,
        normalize_advantage=True,
    )
    optim = group_optimizers(
        torch.optim.Adam(actor.parameters(), lr=3e-4, eps=1e-5),
        torch.optim.Adam(critic.parameters(), lr=3e-4, eps=1e-5),
    )
    collector = Collector(
        create_env_fn=make_env,
        policy=actor,
        frames_per_batch=frames_per_batch,
        total_frames=total_frames,
        device=device,
        max_frames_per_traj=-1,
    )
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(frames_per_batch, device=device),
        sampler=SamplerWithoutReplacement(),
        batch_size=64,
    )
    before = [parameter.clone() for parameter in loss_module.parameters()]
    progress = tqdm(total=total_frames, disable=True)
    frames = 0
    for data in collector:
        frames += data.numel()
        progress.update(data.numel())
        for _ in range(epochs):
            with torch.no_grad():
                data = adv_module(data)
            buffer.extend(data.reshape(-1))
            minibatches = 0
            for batch in buffer:
                minibatches += 1
                optim.zero_grad(set_to_none=True)
                loss = loss_module(batch)
                (loss["loss_objective"] + loss["loss_critic"] + loss["loss_entropy"]).backward()
                nn.utils.clip_grad_norm_(loss_module.parameters(), max_norm=0.5)
                optim.step()
            assert minibatches == frames_per_batch // 64
        collector.update_policy_weights_()
        returns = data["next", "episode_reward"][data["next", "done"]]
        assert len(returns) == 0  # an episode has 1000 steps
    collector.shutdown()
    env.close()
    assert frames == total_frames
    assert all(not torch.equal(old, new) for old, new in zip(before, loss_module.parameters(), strict=True))


def test_evaluation_rollout_of_the_tutorial() -> None:
    """One whole episode with the deterministic policy; the mask of ends picks its return; statistics stay."""
    env = make_env(device="cpu")
    actor = make_actor(env)
    env.rollout(50, actor)
    env.eval()
    before = {name: value.clone() for name, value in env.transform.state_dict().items()}
    with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
        actor.eval()
        data = env.rollout(policy=actor, max_steps=1000, auto_reset=True, break_when_any_done=True)
    returns = data["next", "episode_reward"][data["next", "done"]]
    assert data.batch_size == torch.Size([1000])
    assert returns.shape == torch.Size([1])
    assert returns.item() == pytest.approx(data["next", "reward"].sum().item(), rel=1e-3)
    assert all(torch.equal(before[name], value) for name, value in env.transform.state_dict().items())
    middle = (env.action_spec.space.low + env.action_spec.space.high) / 2
    assert torch.allclose(data["action"], data["loc"].tanh() + middle, atol=1e-5)
    env.close()
