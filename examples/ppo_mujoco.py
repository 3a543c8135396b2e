"""PPO on a MuJoCo task, assembled from the building blocks: environment, actor, critic, collector, buffer, loss.

Running normalisation of observations, a tanh-normal policy, epochs of minibatches without repetition, an evaluation
with the deterministic policy: `python examples/ppo_mujoco.py --frames 1000000`.
"""

import argparse

import torch
import tqdm
from tensordict.nn import AddStateIndependentNormalScale, TensorDictModule
from torch import nn

from rl_buffers import LazyTensorStorage, SamplerWithoutReplacement, TensorDictReplayBuffer
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
    set_exploration_type,
)
from rl_modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
from rl_objectives import GAE, ClipPPOLoss, group_optimizers


def make_env(env_name: str = "HalfCheetah-v5", device: str = "cpu") -> TransformedEnv:
    """A Gymnasium environment with running normalisation, returns and step counts."""
    env = TransformedEnv(GymEnv(env_name, device=device))
    env.append_transform(VecNorm(in_keys=["observation"], decay=0.99999, eps=1e-2))
    env.append_transform(ClipTransform(in_keys=["observation"], low=-10, high=10))
    env.append_transform(RewardSum())
    env.append_transform(StepCounter())
    env.append_transform(DoubleToFloat(in_keys=["observation"]))
    return env


def orthogonal(network: nn.Module, gain: float) -> None:
    """Initialise linear layers orthogonally, biases with zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)


def make_actor(env: TransformedEnv) -> ProbabilisticActor:
    """A tanh-normal policy whose scale is a parameter of its own."""
    size, actions = env.observation_spec["observation"].shape[-1], env.action_spec_unbatched.shape[-1]
    mean = MLP(in_features=size, out_features=actions, num_cells=[64, 64], activation_class=nn.Tanh)
    orthogonal(mean, 1.0)
    network = nn.Sequential(mean, AddStateIndependentNormalScale(actions, scale_lb=1e-8))
    space = env.action_spec_unbatched.space
    return ProbabilisticActor(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=env.full_action_spec_unbatched,
        distribution_class=TanhNormal,
        distribution_kwargs={"low": space.low, "high": space.high, "tanh_loc": False},
        return_log_prob=True,
        default_interaction_type=ExplorationType.RANDOM,
    )


def make_critic(env: TransformedEnv) -> ValueOperator:
    """A network from observation to state value."""
    size = env.observation_spec["observation"].shape[-1]
    value = MLP(in_features=size, out_features=1, num_cells=[64, 64], activation_class=nn.Tanh)
    orthogonal(value, 0.01)
    return ValueOperator(value, in_keys=["observation"])


def evaluate(env: TransformedEnv, actor: ProbabilisticActor, trained_env: TransformedEnv) -> float:
    """Return of one episode with the deterministic policy and the statistics that training gathered."""
    env.transform.load_state_dict(trained_env.transform.state_dict())
    env.eval()
    with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
        rollout = env.rollout(policy=actor, max_steps=1000, auto_reset=True, break_when_any_done=True)
    return float(rollout["next", "episode_reward"][-1])


def main(total_frames: int = 1_000_000, frames_per_batch: int = 2048, env_name: str = "HalfCheetah-v5") -> float:
    """Train, then return the return of an evaluation episode."""
    torch.manual_seed(0)
    env = make_env(env_name)
    env.set_seed(0)
    actor, critic = make_actor(env), make_critic(env)
    advantage = GAE(gamma=0.99, lmbda=0.95, value_network=critic, average_gae=False)
    loss_module = ClipPPOLoss(
        actor_network=actor,
        critic_network=critic,
        clip_epsilon=0.2,
        loss_critic_type="smooth_l1",
        entropy_coeff=0.01,
        critic_coeff=0.5,
        normalize_advantage=True,
    )
    optimizer = group_optimizers(
        torch.optim.Adam(actor.parameters(), lr=3e-4, eps=1e-5),
        torch.optim.Adam(critic.parameters(), lr=3e-4, eps=1e-5),
    )
    collector = Collector(env, actor, frames_per_batch=frames_per_batch, total_frames=total_frames)
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(frames_per_batch), sampler=SamplerWithoutReplacement(), batch_size=256
    )
    progress = tqdm.tqdm(total=total_frames, unit="frame")
    for data in collector:
        for _ in range(10):
            with torch.no_grad():
                advantage(data)
            buffer.extend(data.reshape(-1))
            for minibatch in buffer:
                losses = loss_module(minibatch)
                loss = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(loss_module.parameters(), max_norm=0.5)
                optimizer.step()
        collector.update_policy_weights_()
        progress.update(data.numel())
        finished = data["next", "episode_reward"][data["next", "done"]]
        if len(finished):
            progress.set_description(f"return={finished.mean().item():.1f}")
    progress.close()
    result = evaluate(make_env(env_name), actor, env)
    collector.shutdown()
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--env", default="HalfCheetah-v5")
    arguments = parser.parse_args()
    print(f"return of the deterministic policy: {main(arguments.frames, env_name=arguments.env):.1f}")
