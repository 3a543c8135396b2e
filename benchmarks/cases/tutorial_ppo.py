"""Collection, or the whole PPO loop, on HalfCheetah-v5 with the MuJoCo tutorial's settings; prints frames/s as JSON.

One program for both libraries: 64x64 tanh networks, tanh-normal policy with log-prob, running normalisation, clip,
reward sum, step counter, float32; 2,048 frames a batch, 10 epochs, minibatches of 256.
"""

import argparse
import json
import sys
import time
from typing import Any

import torch
from _library import load
from tensordict.nn import AddStateIndependentNormalScale, TensorDictModule
from torch import nn


def make_env(lib: Any, name: str, num_envs: int) -> Any:
    """The tutorial's transforms over one environment, or over several in this process."""
    if num_envs == 1:
        base = lib.GymEnv(name)
    elif "rl_envs" in sys.modules:
        base = lib.GymEnv(name, num_envs=num_envs)  # steps in this process, as DummyVecEnv and SerialEnv do
    else:
        base = lib.SerialEnv(num_envs, lambda: lib.GymEnv(name))
    env = lib.TransformedEnv(base)
    env.append_transform(lib.VecNorm(in_keys=["observation"], decay=0.99999, eps=1e-2))
    env.append_transform(lib.ClipTransform(in_keys=["observation"], low=-10, high=10))
    env.append_transform(lib.RewardSum())
    env.append_transform(lib.StepCounter())
    env.append_transform(lib.DoubleToFloat(in_keys=["observation"]))
    return env


def make_networks(lib: Any, env: Any) -> tuple[Any, Any]:
    """Actor and critic of the tutorial."""
    size, actions = env.observation_spec["observation"].shape[-1], env.action_spec_unbatched.shape[-1]
    network = nn.Sequential(
        lib.MLP(in_features=size, out_features=actions, num_cells=[64, 64], activation_class=nn.Tanh),
        AddStateIndependentNormalScale(actions, scale_lb=1e-8),
    )
    space = env.action_spec_unbatched.space
    actor = lib.ProbabilisticActor(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=env.full_action_spec_unbatched,
        distribution_class=lib.TanhNormal,
        distribution_kwargs={"low": space.low, "high": space.high, "tanh_loc": False},
        return_log_prob=True,
        default_interaction_type=lib.ExplorationType.RANDOM,
    )
    value = lib.MLP(in_features=size, out_features=1, num_cells=[64, 64], activation_class=nn.Tanh)
    return actor, lib.ValueOperator(value, in_keys=["observation"])


def train_on(lib: Any, batch: Any, parts: dict[str, Any]) -> None:
    """Ten epochs over one batch, as the tutorial writes them."""
    for _ in range(10):
        with torch.no_grad():
            parts["gae"](batch)
        parts["buffer"].extend(batch.reshape(-1))
        for minibatch in parts["buffer"]:
            parts["optim"].zero_grad(set_to_none=True)
            loss = parts["loss"](minibatch)
            (loss["loss_objective"] + loss["loss_critic"] + loss["loss_entropy"]).backward()
            nn.utils.clip_grad_norm_(parts["loss"].parameters(), max_norm=0.5)
            parts["optim"].step()


def main() -> None:
    """Time the program and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=["rl-suite", "torchrl"], required=True)
    parser.add_argument("--work", choices=["collection", "ppo"], required=True)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--num-envs", type=int, default=1)
    parser.add_argument("--batches", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lib = load(args.library)
    env = make_env(lib, args.env, args.num_envs)
    env.set_seed(0)
    actor, critic = make_networks(lib, env)
    collector = lib.Collector(env, actor, frames_per_batch=2048, total_frames=2048 * (args.batches + 1))
    loss = lib.ClipPPOLoss(
        actor_network=actor,
        critic_network=critic,
        clip_epsilon=0.2,
        entropy_coeff=0.01,
        critic_coeff=0.5,
        normalize_advantage=True,
    )
    parts = {
        "gae": lib.GAE(gamma=0.99, lmbda=0.95, value_network=critic, average_gae=False),
        "buffer": lib.TensorDictReplayBuffer(
            storage=lib.LazyTensorStorage(2048), sampler=lib.SamplerWithoutReplacement(), batch_size=256
        ),
        "loss": loss,
        "optim": torch.optim.Adam(loss.parameters(), lr=3e-4, eps=1e-5),
    }
    times = []
    start = time.perf_counter()
    for batch in collector:
        if args.work == "ppo":
            train_on(lib, batch, parts)
            collector.update_policy_weights_()
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
    collector.shutdown()
    timed = times[1:]
    print(json.dumps({"frames_per_s": 2048 * len(timed) / sum(timed)}))


if __name__ == "__main__":
    main()
