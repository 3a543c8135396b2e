"""PPO on the inverted double pendulum: normalisation from random data, a scheduler, evaluation while training, plots.

`python examples/ppo_inverted_double_pendulum.py --frames 50000 --plot curves.png`
"""

import argparse
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from tqdm import tqdm

from rl_buffers import LazyTensorStorage, ReplayBuffer, SamplerWithoutReplacement
from rl_collectors import SyncDataCollector
from rl_envs import (
    Compose,
    DoubleToFloat,
    ExplorationType,
    GymEnv,
    ObservationNorm,
    StepCounter,
    TransformedEnv,
    check_env_specs,
    set_exploration_type,
)
from rl_modules import NormalParamExtractor, ProbabilisticActor, TanhNormal, ValueOperator
from rl_objectives import GAE, ClipPPOLoss

mpl.use("Agg")
import matplotlib.pyplot as plt


def make_env(init_frames: int) -> TransformedEnv:
    """The double pendulum, its observations normalised by statistics of random steps."""
    env = TransformedEnv(
        GymEnv("InvertedDoublePendulum-v5"),
        Compose(ObservationNorm(in_keys=["observation"]), DoubleToFloat(), StepCounter()),
    )
    env.set_seed(0)
    env.transform[0].init_stats(num_iter=init_frames, reduce_dim=0, cat_dim=0)
    print("normalisation constant shape:", env.transform[0].loc.shape)
    print("observation_spec:", env.observation_spec)
    print("reward_spec:", env.reward_spec)
    print("input_spec:", env.input_spec)
    print("action_spec (as defined by input_spec):", env.action_spec)
    check_env_specs(env)
    rollout = env.rollout(3)
    print("rollout of three steps:", rollout)
    print("shape of the rollout:", rollout.batch_size)
    return env


def hidden_layers(cells: int) -> list[nn.Module]:
    """Three tanh layers whose input size is found at the first call."""
    return [layer for _ in range(3) for layer in (nn.LazyLinear(cells), nn.Tanh())]


def make_policy(env: TransformedEnv, cells: int) -> ProbabilisticActor:
    """A network to location and scale, and a tanh-normal within the bounds of the action."""
    network = nn.Sequential(*hidden_layers(cells), nn.LazyLinear(2 * env.action_spec.shape[-1]), NormalParamExtractor())
    return ProbabilisticActor(
        module=TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        spec=env.action_spec,
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        distribution_kwargs={"low": env.action_spec.space.low, "high": env.action_spec.space.high},
        return_log_prob=True,
    )


def evaluate(env: TransformedEnv, policy: ProbabilisticActor, logs: dict[str, list[float]]) -> None:
    """One episode with the expected action; its reward, return and length go to `logs`."""
    with set_exploration_type(ExplorationType.DETERMINISTIC), torch.no_grad():
        rollout = env.rollout(1000, policy)
    logs["eval reward"].append(rollout["next", "reward"].mean().item())
    logs["eval reward (sum)"].append(rollout["next", "reward"].sum().item())
    logs["eval step_count"].append(rollout["step_count"].max().item())


def plot(logs: dict[str, list[float]], path: Path) -> None:
    """Four curves: reward and steps, while training and in evaluation."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 10))
    titles = {
        "reward": "training rewards (average)",
        "step_count": "max step count (training)",
        "eval reward (sum)": "return (test)",
        "eval step_count": "max step count (test)",
    }
    for axis, (key, title) in zip(axes.flat, titles.items(), strict=True):
        axis.plot(logs[key])
        axis.set_title(title)
    figure.savefig(path)
    plt.close(figure)


def main(
    total_frames: int = 50_000, frames_per_batch: int = 1000, cells: int = 256, init_frames: int = 1000
) -> dict[str, list[float]]:
    """Train; the logs hold one value a batch, evaluations one per ten batches."""
    torch.manual_seed(0)
    sub_batch_size, num_epochs, max_grad_norm, entropy_eps = 64, 10, 1.0, 1e-4
    env = make_env(init_frames)
    policy = make_policy(env, cells)
    value = ValueOperator(nn.Sequential(*hidden_layers(cells), nn.LazyLinear(1)), in_keys=["observation"])
    policy(env.reset())
    value(env.reset())
    collector = SyncDataCollector(
        env, policy, frames_per_batch=frames_per_batch, total_frames=total_frames, split_trajs=False
    )
    buffer = ReplayBuffer(storage=LazyTensorStorage(max_size=frames_per_batch), sampler=SamplerWithoutReplacement())
    advantage = GAE(gamma=0.99, lmbda=0.95, value_network=value, average_gae=True)
    loss_module = ClipPPOLoss(
        actor_network=policy,
        critic_network=value,
        clip_epsilon=0.2,
        entropy_bonus=bool(entropy_eps),
        entropy_coeff=entropy_eps,
        critic_coeff=1.0,
        loss_critic_type="smooth_l1",
    )
    optimizer = torch.optim.Adam(loss_module.parameters(), 3e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total_frames // frames_per_batch, 0.0)
    logs: dict[str, list[float]] = defaultdict(list)
    progress = tqdm(total=total_frames)
    for i, data in enumerate(collector):
        for _ in range(num_epochs):
            advantage(data)
            buffer.extend(data.reshape(-1))
            for _ in range(frames_per_batch // sub_batch_size):
                losses = loss_module(buffer.sample(sub_batch_size))
                loss = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
                loss.backward()
                nn.utils.clip_grad_norm_(loss_module.parameters(), max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
        logs["reward"].append(data["next", "reward"].mean().item())
        logs["step_count"].append(data["step_count"].max().item())
        logs["lr"].append(optimizer.param_groups[0]["lr"])
        progress.update(data.numel())
        if i % 10 == 0:
            evaluate(env, policy, logs)
        progress.set_description(f"return (test) {logs['eval reward (sum)'][-1]:.1f}, lr {logs['lr'][-1]:.1e}")
        scheduler.step()
    progress.close()
    collector.shutdown()
    return logs


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=50_000)
    parser.add_argument("--plot", type=Path, default=Path("ppo_inverted_double_pendulum.png"))
    arguments = parser.parse_args()
    plot(main(arguments.frames), arguments.plot)
    print(f"wrote {arguments.plot}")
