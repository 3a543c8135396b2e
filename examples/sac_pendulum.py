"""Soft actor-critic from start to end: Pendulum-v1 in a few minutes on a laptop."""

import copy
import math

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from rl_buffers import LazyTensorStorage, TensorDictReplayBuffer
from rl_collectors import Collector
from rl_envs import DoubleToFloat, ExplorationType, GymEnv, RewardSum, TransformedEnv, set_exploration_type
from rl_modules import MLP, NormalParamExtractor, ProbabilisticActor, TanhNormal


class Critics(nn.Module):
    """Two estimates of the value of an action, `[..., 2]`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(MLP(size, 1, num_cells=[64, 64]) for _ in range(2))

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """Both estimates."""
        inputs = torch.cat([observation, action], -1)
        return torch.cat([network(inputs) for network in self.networks], -1)


def drawn(actor: ProbabilisticActor, observation: Tensor) -> TensorDictBase:
    """Actions drawn at random, through which gradients flow, with their log-probabilities."""
    with set_exploration_type(ExplorationType.RANDOM):  # by default a policy acts deterministically
        data: TensorDictBase = actor(TensorDict({"observation": observation}, observation.shape[:-1]))
    return data


def value_target(
    batch: TensorDictBase, actor: ProbabilisticActor, critics: nn.Module, temperature: float, gamma: float
) -> Tensor:
    """Reward plus discounted soft value of the next observation, `[n, 1]`."""
    following = drawn(actor, batch["next", "observation"])
    next_value = critics(following["observation"], following["action"]).amin(-1, keepdim=True)
    next_value = next_value - temperature * following["sample_log_prob"].unsqueeze(-1)
    alive = ~batch["next", "terminated"]  # Pendulum only ever runs out of time, which ends no return
    target: Tensor = batch["next", "reward"] + gamma * alive * next_value
    return target


def main(total_frames: int = 8_000, num_envs: int = 4, random_frames: int = 1000, gamma: float = 0.98) -> float:
    """Train, then return the mean episode return of the deterministic policy."""
    torch.manual_seed(0)
    env, test_env = (
        TransformedEnv(GymEnv("Pendulum-v1", num_envs=num_envs), [DoubleToFloat(), RewardSum()]) for _ in range(2)
    )
    env.set_seed(0)
    test_env.set_seed(1)
    size, actions = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    network = nn.Sequential(MLP(size, 2 * actions, num_cells=[64, 64]), NormalParamExtractor())
    actor = ProbabilisticActor(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        distribution_kwargs={"low": -2.0, "high": 2.0},
        return_log_prob=True,
    )
    critics = Critics(size + actions)
    target = copy.deepcopy(critics).requires_grad_(False)
    log_temperature = torch.zeros((), requires_grad=True)
    actor_optimizer = torch.optim.Adam(actor.parameters(), lr=1e-3)
    critic_optimizer = torch.optim.Adam(critics.parameters(), lr=1e-3)
    temperature_optimizer = torch.optim.Adam([log_temperature], lr=1e-3)

    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(total_frames), batch_size=256, generator=torch.Generator().manual_seed(0)
    )
    collector = Collector(env, actor, frames_per_batch=16, total_frames=total_frames, init_random_frames=random_frames)
    for number, data in enumerate(collector):
        buffer.extend(data.select("observation", "action", "next").reshape(-1))
        if len(buffer) < random_frames:
            continue
        for _ in range(16):
            batch = buffer.sample()
            temperature = math.exp(log_temperature.item())
            with torch.no_grad():
                expected = value_target(batch, actor, target, temperature, gamma)
            critic_loss = (critics(batch["observation"], batch["action"]) - expected).square().mean()
            critic_optimizer.zero_grad()
            critic_loss.backward()
            critic_optimizer.step()

            chosen = drawn(actor, batch["observation"])
            log_prob = chosen["sample_log_prob"]
            value = critics(chosen["observation"], chosen["action"]).amin(-1)
            actor_loss = (temperature * log_prob - value).mean()
            actor_optimizer.zero_grad()
            actor_loss.backward()
            actor_optimizer.step()

            temperature_loss = -(log_temperature * (log_prob.detach() - actions).mean())
            temperature_optimizer.zero_grad()
            temperature_loss.backward()
            temperature_optimizer.step()
            with torch.no_grad():
                for slow, fast in zip(target.parameters(), critics.parameters(), strict=True):
                    slow.lerp_(fast, 0.005)
        finished = data["next", "episode_reward"][data["next", "done"]]
        if number % 50 == 49 and len(finished):
            print(f"{buffer.write_count:6d} frames: return {finished.mean():7.1f}, temperature {temperature:.2f}")
    collector.shutdown()

    with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
        test = test_env.rollout(200, actor, break_when_any_done=False)
    return float(test["next", "episode_reward"][test["next", "done"]].mean())


if __name__ == "__main__":
    print(f"deterministic policy: {main():.1f}")
