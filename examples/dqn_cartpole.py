"""Deep Q-learning with prioritized replay from start to end: CartPole-v1 in about a minute on a laptop."""

import copy

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from rl_buffers import LazyTensorStorage, LinearAnnealing, TensorDictPrioritizedReplayBuffer
from rl_collectors import Collector
from rl_envs import GymEnv, RewardSum, TransformedEnv
from rl_modules import MLP


def td_error(batch: TensorDictBase, network: nn.Module, target: nn.Module, gamma: float) -> Tensor:
    """Error of each row `[n]`: its action's value minus reward and discounted value of the next observation."""
    value = (network(batch["observation"]) * batch["action"]).sum(-1)
    with torch.no_grad():
        following = batch["next", "observation"]
        best = network(following).argmax(-1, keepdim=True)  # chosen by one network, valued by the other
        next_value = target(following).gather(-1, best)
        alive = ~batch["next", "terminated"]  # a time limit does not end the return: bootstrap after "truncated"
        expected = batch["next", "reward"] + gamma * alive * next_value
    error: Tensor = value - expected.squeeze(-1)
    return error


def main(total_frames: int = 20_000, num_envs: int = 4, updates_per_batch: int = 8) -> float:
    """Train, then return the mean episode return of the greedy policy."""
    torch.manual_seed(0)
    env, test_env = (TransformedEnv(GymEnv("CartPole-v1", num_envs=num_envs), RewardSum()) for _ in range(2))
    env.set_seed(0)
    test_env.set_seed(1)
    size, actions = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    network = MLP(size, actions, num_cells=[120, 84])
    target = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    epsilon = 1.0

    def act(observation: Tensor) -> Tensor:
        greedy = network(observation).argmax(-1)
        random = torch.randint(actions, greedy.shape)
        action = torch.where(torch.rand(greedy.shape) < epsilon, random, greedy)
        return nn.functional.one_hot(action, actions)

    policy = TensorDictModule(act, in_keys=["observation"], out_keys=["action"])
    buffer = TensorDictPrioritizedReplayBuffer(
        alpha=0.6,
        beta=LinearAnnealing(0.4, 1.0, total_frames // 2),
        storage=LazyTensorStorage(20_000),
        batch_size=128,
        generator=torch.Generator().manual_seed(0),
    )
    collector = Collector(env, policy, frames_per_batch=16, total_frames=total_frames)
    for number, data in enumerate(collector):
        buffer.extend(data.reshape(-1))
        epsilon = max(0.05, 1.0 - 3.0 * buffer.write_count / total_frames)
        if len(buffer) < 1000:
            continue
        for _ in range(updates_per_batch):
            batch = buffer.sample()
            error = td_error(batch, network, target, gamma=0.99)
            losses = nn.functional.smooth_l1_loss(error, torch.zeros_like(error), reduction="none")
            loss = (batch["_weight"] * losses).mean()  # makes up for rows that are drawn more often than others
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()
            batch["td_error"] = error.detach().abs()
            buffer.update_tensordict_priority(batch)
            with torch.no_grad():
                for slow, fast in zip(target.parameters(), network.parameters(), strict=True):
                    slow.lerp_(fast, 0.005)
        finished = data["next", "episode_reward"][data["next", "done"]]
        if number % 100 == 0 and len(finished):
            print(f"{buffer.write_count:6d} frames: return {finished.mean():6.1f}, epsilon {epsilon:.2f}")
    collector.shutdown()

    epsilon = 0.0
    with torch.no_grad():
        test = test_env.rollout(500, policy, break_when_any_done=False)
    returns = test["next", "episode_reward"][test["next", "done"]]
    return float(returns.mean()) if len(returns) else 500.0


if __name__ == "__main__":
    print(f"greedy policy: {main():.1f}")
