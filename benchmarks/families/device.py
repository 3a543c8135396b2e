"""Frames per second of PPO with environment, networks, batch and updates on one device."""

import torch
from _work import Comparison, Contender, Family

HAS_GPU = torch.cuda.is_available()
NOT_TIMED = " No GPU was at hand: these are figures of the CPU, with fewer envs; the GPU was not timed."


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    device = "cuda" if HAS_GPU else "cpu"
    sizes = ["4096", "16384", "65536"] if HAS_GPU else ["1024", "4096"]
    common = ("--device", device, "--seconds", "0.2" if is_quick else "5", "--num-envs", *sizes[: 1 if is_quick else 3])
    contenders = (
        Contender("rl-suite", "device_ppo.py", ("--library", "rl-suite", *common)),
        Contender("TorchRL", "device_ppo.py", ("--library", "torchrl", *common), is_peer=True),
    )
    return (Comparison(f"batched pendulums, {device}", contenders),)


FAMILY = Family(
    "device",
    "PPO on one device",
    "Each library's own pendulum in torch, stepped as one batch where the networks are; 32 steps of every env a batch, "
    "then 4 epochs of 4 minibatches with the clipped loss, entropy 0.01, gradients clipped at 0.5, fused Adam. Reward "
    "sum and step counter (200 steps an episode), no normalisation." + ("" if HAS_GPU else NOT_TIMED),
    _comparisons,
)
