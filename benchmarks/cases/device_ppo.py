"""PPO on batched pendulums that live on the device, thousands at once; prints frames/s for each number of envs.

One program for both libraries: each one's own torch pendulum with reward sum and step counter (200 steps an episode),
64x64 tanh networks, tanh-normal policy with log-prob; 32 steps of every env a batch, advantages once a batch, 4 epochs
of 4 minibatches, clipped loss with entropy, gradients clipped, fused Adam. TorchRL's pendulum gives the angle, whose
sine and cosine its networks take.
"""

import argparse
import time
from typing import Any

import torch
from _case import label, make_adam, report
from _library import load
from tensordict.nn import AddStateIndependentNormalScale, TensorDictModule
from torch import Tensor, nn

STEPS, LIMIT, EPOCHS, MINIBATCHES = 32, 200, 4, 4


class AngleFeatures(nn.Module):
    """What Gymnasium's pendulum observes, from angle and speed; both `[*B]`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, angle: Tensor, speed: Tensor) -> Any:
        """`network` at `[*B, 3]`."""
        return self.network(torch.stack((angle.cos(), angle.sin(), speed), -1))


def make_env(lib: Any, library: str, num_envs: int, device: torch.device) -> Any:
    """The library's own batched pendulum, and the observations that its networks read."""
    if library == "rl-suite":
        import rl_envs

        return lib.TransformedEnv(rl_envs.PendulumEnv([num_envs], device=device, seed=0)), ["observation"]
    import torchrl.envs

    pendulum, resize = torchrl.envs.PendulumEnv(device=device), torchrl.envs.BatchSizeTransform(batch_size=[num_envs])
    return lib.TransformedEnv(pendulum, resize), ["th", "thdot"]


def make_networks(lib: Any, env: Any, inputs: list[str], device: torch.device) -> tuple[Any, Any]:
    """Actor and critic."""
    shape = {"in_features": 3, "out_features": 1, "num_cells": [64, 64], "activation_class": nn.Tanh, "device": device}
    actor: nn.Module = nn.Sequential(lib.MLP(**shape), AddStateIndependentNormalScale(1).to(device))
    critic: nn.Module = lib.MLP(**shape)
    if len(inputs) > 1:
        actor, critic = AngleFeatures(actor), AngleFeatures(critic)
    space = env.action_spec_unbatched.space
    policy = lib.ProbabilisticActor(
        TensorDictModule(actor, in_keys=inputs, out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=env.action_spec_unbatched,
        distribution_class=lib.TanhNormal,
        distribution_kwargs={"low": space.low, "high": space.high, "tanh_loc": False},
        return_log_prob=True,
    )
    return policy, lib.ValueOperator(critic, in_keys=inputs)


def make_learner(lib: Any, policy: Any, critic: Any, frames: int, device: torch.device) -> Any:
    """What one batch is learnt from with."""
    loss = lib.ClipPPOLoss(policy, critic, clip_epsilon=0.2, entropy_coeff=0.01, normalize_advantage=True)
    loss = loss.to(device)
    advantage = lib.GAE(gamma=0.99, lmbda=0.95, value_network=critic, device=device)
    buffer = lib.TensorDictReplayBuffer(
        storage=lib.LazyTensorStorage(frames, device=device),
        sampler=lib.SamplerWithoutReplacement(),
        batch_size=frames // MINIBATCHES,
    )
    optimizer = make_adam(loss.parameters())

    def learn(batch: Any) -> None:
        with torch.no_grad():
            advantage(batch)
        buffer.extend(batch.reshape(-1))
        for _ in range(EPOCHS):
            for minibatch in buffer:
                optimizer.zero_grad(set_to_none=True)
                losses = loss(minibatch)
                (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), max_norm=0.5)
                optimizer.step()

    return learn


def finish(device: torch.device) -> None:
    """Wait for what the device still has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def frames_per_s(library: str, num_envs: int, device: torch.device, seconds: float) -> float:
    """Two batches untimed, then batches for as long as asked."""
    torch.manual_seed(0)
    lib = load(library)
    env, inputs = make_env(lib, library, num_envs, device)
    env.append_transform(lib.RewardSum())
    env.append_transform(lib.StepCounter(max_steps=LIMIT))
    policy, critic = make_networks(lib, env, inputs, device)
    frames = num_envs * STEPS
    collector = lib.Collector(env, policy, frames_per_batch=frames, total_frames=-1, device=device)
    learn = make_learner(lib, policy, critic, frames, device)
    started, count = 0.0, 0
    for index, batch in enumerate(collector):
        learn(batch)
        collector.update_policy_weights_()
        if index == 1:
            finish(device)
            started = time.perf_counter()
        elif index > 1:
            count += 1
            finish(device)
            if time.perf_counter() - started >= seconds:
                break
    elapsed = time.perf_counter() - started
    collector.shutdown()
    return frames * count / elapsed


def main() -> None:
    """Time the program and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=["rl-suite", "torchrl"], required=True)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:0, ...")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[256], help="on a GPU: 4096 to 65536")
    parser.add_argument("--seconds", type=float, default=3.0, help="timed for each number of envs, one batch at least")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(args.device)
    report(
        {label(count): frames_per_s(args.library, count, device, args.seconds) for count in args.num_envs}, "frames/s"
    )


if __name__ == "__main__":
    main()
