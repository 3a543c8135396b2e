"""Collection, or the whole PPO loop, with the MuJoCo tutorial's settings; prints frames/s for each number of envs.

One program for both libraries: 64x64 tanh networks, tanh-normal policy (one-hot categorical for discrete actions) with
log-prob, running normalisation, clip, reward sum, step counter, float32; 2,048 frames a batch, 10 epochs, minibatches
of 256.
"""

import argparse
import sys
import time
from functools import partial
from typing import Any

import torch
from _case import label, make_adam, report
from _library import load
from tensordict.nn import AddStateIndependentNormalScale, TensorDictModule
from torch import nn

FRAMES = 2048


def make_env(lib: Any, name: str, num_envs: int, *, is_native: bool = False) -> Any:
    """The tutorial's transforms over one environment, or over several in this process."""
    base: Any
    if is_native:
        base = getattr(lib.mujoco, f"{name.partition('-')[0]}Env")(num_envs=num_envs, num_threads=1)
    elif num_envs == 1:
        base = lib.GymEnv(name)
    elif "rl_envs" in sys.modules:
        base = lib.GymEnv(name, num_envs=num_envs, backend="serial")  # in this process, as DummyVecEnv does
    else:
        base = lib.SerialEnv(num_envs, lambda: lib.GymEnv(name))
    env = lib.TransformedEnv(base)
    env.append_transform(lib.VecNorm(in_keys=["observation"], decay=0.99999, eps=1e-2))
    env.append_transform(lib.ClipTransform(in_keys=["observation"], low=-10, high=10))
    env.append_transform(lib.RewardSum())
    env.append_transform(lib.StepCounter())
    if base.observation_spec["observation"].dtype == torch.float64:
        env.append_transform(lib.DoubleToFloat(in_keys=["observation"]))
    return env


def make_networks(lib: Any, env: Any) -> tuple[Any, Any]:
    """Actor and critic of the tutorial; logits and a categorical where the actions are discrete."""
    size, actions = env.observation_spec["observation"].shape[-1], env.action_spec_unbatched.shape[-1]
    shape = {"in_features": size, "num_cells": [64, 64], "activation_class": nn.Tanh}
    space = env.action_spec_unbatched.space
    network: nn.Module = lib.MLP(out_features=actions, **shape)
    common = {
        "spec": env.full_action_spec_unbatched,
        "return_log_prob": True,
        "default_interaction_type": lib.ExplorationType.RANDOM,
    }
    if hasattr(space, "low"):
        network = nn.Sequential(network, AddStateIndependentNormalScale(actions, scale_lb=1e-8))
        keys = ["loc", "scale"]
        common["distribution_class"] = lib.TanhNormal
        common["distribution_kwargs"] = {"low": space.low, "high": space.high, "tanh_loc": False}
    else:
        keys = ["logits"]
        common["distribution_class"] = lib.OneHotCategorical
    actor = lib.ProbabilisticActor(
        TensorDictModule(network, in_keys=["observation"], out_keys=keys), in_keys=keys, **common
    )
    return actor, lib.ValueOperator(lib.MLP(out_features=1, **shape), in_keys=["observation"])


def make_learner(lib: Any, actor: Any, critic: Any, is_compiled: bool) -> dict[str, Any]:
    """Loss, advantages, buffer and optimiser of the tutorial."""
    loss = lib.ClipPPOLoss(
        actor_network=actor,
        critic_network=critic,
        clip_epsilon=0.2,
        entropy_coeff=0.01,
        critic_coeff=0.5,
        normalize_advantage=True,
    )
    return {
        "gae": lib.GAE(gamma=0.99, lmbda=0.95, value_network=critic, average_gae=False),
        "buffer": lib.TensorDictReplayBuffer(
            storage=lib.LazyTensorStorage(FRAMES), sampler=lib.SamplerWithoutReplacement(), batch_size=256
        ),
        "loss": loss,
        "losses_at": lib.compile_loss(loss) if is_compiled else loss,
        "optim": make_adam(loss.parameters()),
    }


def train_on(lib: Any, batch: Any, parts: dict[str, Any]) -> None:
    """Ten epochs over one batch, as the tutorial writes them."""
    for _ in range(10):
        with torch.no_grad():
            parts["gae"](batch)
        parts["buffer"].extend(batch.reshape(-1))
        for minibatch in parts["buffer"]:
            parts["optim"].zero_grad(set_to_none=True)
            loss = parts["losses_at"](minibatch)
            (loss["loss_objective"] + loss["loss_critic"] + loss["loss_entropy"]).backward()
            nn.utils.clip_grad_norm_(parts["loss"].parameters(), max_norm=0.5)
            parts["optim"].step()


def frames_per_s(lib: Any, args: argparse.Namespace, num_envs: int) -> float:
    """Collect one batch untimed, then batches for as long as asked."""
    torch.manual_seed(0)
    env = make_env(lib, args.env, num_envs, is_native=args.native)
    env.set_seed(0)
    actor, critic = make_networks(lib, env)
    if args.overlap is None:
        collector = lib.Collector(env, actor, frames_per_batch=FRAMES, total_frames=-1)
    else:
        env.close()
        maker = partial(make_env, lib, args.env, num_envs, is_native=args.native)
        collector = lib.Collector(maker, actor, frames_per_batch=FRAMES, overlap=args.overlap)
    parts = make_learner(lib, actor, critic, args.compile) if args.work == "ppo" else {}
    batches, started, seconds = 0, 0.0, 0.0
    for index, batch in enumerate(collector):
        if parts:
            train_on(lib, batch, parts)
            collector.update_policy_weights_()
        if index == 0:
            started = time.perf_counter()
            continue
        batches, seconds = index, time.perf_counter() - started
        if seconds >= args.seconds:
            break
    collector.shutdown()
    return FRAMES * batches / seconds


def main() -> None:
    """Time the program and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=["rl-suite", "torchrl"], required=True)
    parser.add_argument("--work", choices=["collection", "ppo"], required=True)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[1])
    parser.add_argument("--seconds", type=float, default=3.0, help="timed for each number of envs, one batch at least")
    parser.add_argument("--compile", action="store_true", help="compile the loss; rl-suite only")
    parser.add_argument("--native", action="store_true", help="our batched MuJoCo task instead of Gymnasium's")
    parser.add_argument(
        "--overlap", type=int, help="batches that a worker collects ahead of the learner; rl-suite only"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    lib = load(args.library)
    report({label(count): frames_per_s(lib, args, count) for count in args.num_envs}, "frames/s")


if __name__ == "__main__":
    main()
