"""PPO from start to end in one sitting: CartPole-v1, solved in under a minute on a laptop."""

import torch
from tensordict.nn import TensorDictModule

from rl_buffers import LazyTensorStorage, SamplerWithoutReplacement, TensorDictReplayBuffer
from rl_collectors import Collector
from rl_envs import DoubleToFloat, ExplorationType, GymEnv, RewardSum, TransformedEnv, set_exploration_type
from rl_modules import MLP, OneHotCategorical, ProbabilisticActor, ValueOperator
from rl_objectives import GAE, ClipPPOLoss


def main(total_frames: int = 100_000, num_envs: int = 8, frames_per_batch: int = 1024) -> float:
    """Train, then return the mean episode return of the deterministic policy."""
    torch.manual_seed(0)
    env = TransformedEnv(GymEnv("CartPole-v1", num_envs=num_envs))
    env.append_transform(DoubleToFloat())
    env.append_transform(RewardSum())  # writes the return so far under "episode_reward"
    env.set_seed(0)

    size, actions = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    actor = ProbabilisticActor(
        TensorDictModule(MLP(size, actions, num_cells=[64, 64]), in_keys=["observation"], out_keys=["logits"]),
        in_keys=["logits"],
        distribution_class=OneHotCategorical,
        return_log_prob=True,  # PPO compares with the log-probability at collection time
    )
    critic = ValueOperator(MLP(size, 1, num_cells=[64, 64]), in_keys=["observation"])

    collector = Collector(env, actor, frames_per_batch=frames_per_batch, total_frames=total_frames)
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(frames_per_batch), sampler=SamplerWithoutReplacement(), batch_size=256
    )
    advantage = GAE(gamma=0.99, lmbda=0.95, value_network=critic)
    loss_module = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_coeff=0.01, normalize_advantage=True)
    optimizer = torch.optim.Adam(loss_module.parameters(), lr=1e-3)

    for data in collector:  # data: TensorDict [num_envs, steps], "next" holds what each step returned
        for _ in range(10):
            with torch.no_grad():
                advantage(data)  # writes "advantage" and "value_target"
            buffer.extend(data.reshape(-1))
            for minibatch in buffer:  # every frame once
                losses = loss_module(minibatch)
                loss = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(loss_module.parameters(), 0.5)
                optimizer.step()
        finished = data["next", "episode_reward"][data["next", "done"]]
        if len(finished):
            print(f"{collector.collected_frames:7d} frames: return {finished.mean():6.1f}")

    with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
        test = env.rollout(500, actor, break_when_any_done=False)
    returns = test["next", "episode_reward"][test["next", "done"]]
    collector.shutdown()
    return float(returns.mean()) if len(returns) else 0.0


if __name__ == "__main__":
    print(f"deterministic policy: {main():.1f}")
