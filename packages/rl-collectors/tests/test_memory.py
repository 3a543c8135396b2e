"""Tests that collection keeps nothing of the batches that it has handed out."""

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from tensordict.nn import (
    NormalParamExtractor,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
)
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from rl_collectors import Collector
from rl_envs import EnvBase, GymEnv, PendulumEnv, RewardSum, StepCounter, TransformedEnv, VecNorm

STEPS = 16


def independent_normal(loc: Tensor, scale: Tensor) -> Any:
    """Normal over vectors."""
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


def sampling_policy() -> ProbabilisticTensorDictSequential:
    """Normal policy of small scale, with log-probability, for Pendulum."""
    linear = nn.Linear(3, 2)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    network = nn.Sequential(linear, NormalParamExtractor(scale_mapping="biased_softplus_0.05"))
    return ProbabilisticTensorDictSequential(
        TensorDictModule(network, ["observation"], ["loc", "scale"]),
        ProbabilisticTensorDictModule(
            ["loc", "scale"], ["action"], distribution_class=independent_normal, return_log_prob=True
        ),
    )


def transformed(env: EnvBase) -> TransformedEnv:
    """Transforms with state, and episodes that end within a batch."""
    env = TransformedEnv(env)
    for transform in (VecNorm(in_keys=["observation"]), RewardSum(), StepCounter(max_steps=5)):
        env.append_transform(transform)
    return env


def pendulums() -> Collector:
    """Batched pendulums under a policy that samples."""
    return Collector(transformed(PendulumEnv([4])), sampling_policy(), frames_per_batch=4 * STEPS)


def gymnasium_envs() -> Collector:
    """Two environments of Gymnasium under a policy that samples."""
    return Collector(transformed(GymEnv("Pendulum-v1", num_envs=2)), sampling_policy(), frames_per_batch=2 * STEPS)


def random_actions() -> Collector:
    """One environment of Gymnasium under random actions, trajectories apart."""
    return Collector(transformed(GymEnv("CartPole-v1")), None, frames_per_batch=STEPS, split_trajs=True)


def alive() -> tuple[int, int, int]:
    """Objects that the garbage collector knows, tensors among them, and bytes of the storages of those."""
    gc.collect()
    objects = gc.get_objects()
    tensors = [known for known in objects if issubclass(type(known), Tensor)]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return len(objects), len(tensors), sum(storages.values())


def growth(make: Callable[[], Collector]) -> list[int]:
    """By how many objects, tensors and bytes twenty batches grow what is alive, with weight updates between.

    The lesser growth of two such windows counts, because caches that fill once may do so in the first.
    """
    torch.manual_seed(0)
    collector = make()
    batches = iter(collector)
    counts = []
    for count in (5, 20, 20):
        for _ in range(count):
            next(batches)
            collector.update_policy_weights_()
        counts.append(alive())
    collector.shutdown()
    first, second = ([after - before for before, after in zip(*pair, strict=True)] for pair in (counts[:2], counts[1:]))
    return list(map(min, first, second))


CASES = {make.__name__: make for make in (pendulums, gymnasium_envs, random_actions)}


def test_batches_leave_nothing_behind() -> None:
    """Objects, tensors and bytes stay as many over further batches, in a process where nothing else is alive."""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert set(found) == set(CASES)
    for name, (objects, tensors, size) in found.items():
        assert tensors <= 0, name
        assert objects < 20, name
        assert size < 4096, name


if __name__ == "__main__":
    print(json.dumps({name: growth(make) for name, make in CASES.items()}))
