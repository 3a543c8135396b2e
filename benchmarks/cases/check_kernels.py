"""Every operator of rl-cuda on a device against plain torch on the CPU, bit for bit; to be run under compute-sanitizer.

Prints how many comparisons were made, and ends with the first that differs. Sizes lie on either side of each limit
between two ways of working, and batches name leaves several times and leaves that are not there.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

import rl_cuda
from rl_buffers import LazyTensorStorage, PrioritizedSampler, TensorDictPrioritizedReplayBuffer
from rl_cuda._estimators_torch import gae_torch, lambda_return_torch, vtrace_torch
from rl_cuda._reverse_scan_torch import recurrence_torch
from rl_cuda._tree_query_torch import sum_tree_find_torch, sum_tree_sample_torch
from rl_cuda._tree_update_torch import tree_rebuild_torch, tree_update_torch

CAPACITIES, BATCHES = (1, 33, 5_000), (1, 64, 65, 2_048, 2_049)
SHAPES = ((1, 1), (3, 33), (2, 1_500), (600, 70), (0, 5))
DTYPES = (torch.float32, torch.float64)
NEW = {"sum": rl_cuda.new_sum_tree, "min": rl_cuda.new_min_tree, "max": rl_cuda.new_max_tree}
UPDATE = {"sum": rl_cuda.sum_tree_update, "min": rl_cuda.min_tree_update, "max": rl_cuda.max_tree_update}

Pair = tuple[str, Tensor, Tensor, float]
"""What it is, what the device found, what is expected, and by how much they may differ."""


def tree_pairs(device: torch.device, generator: torch.Generator) -> Iterator[Pair]:
    """Updates, rebuilds, searches and draws."""
    for kind, dtype, capacity, batch in itertools.product(NEW, DTYPES, CAPACITIES, BATCHES):
        expected, what = NEW[kind](capacity, dtype=dtype), f"{kind} tree, {dtype}, {capacity} leaves, {batch} entries"
        tree = expected.to(device)
        index = torch.randint(-2, capacity + 2, (batch,), generator=generator)
        value = torch.rand(batch, generator=generator, dtype=dtype)
        UPDATE[kind](tree, index.to(device), value.to(device), check_index=False)
        tree_update_torch(expected, index, value, kind)  # type: ignore[arg-type]  # a key of NEW
        yield what, tree, expected, 0.0
        rl_cuda.tree_rebuild(tree, kind)  # type: ignore[arg-type]  # a key of NEW
        tree_rebuild_torch(expected, kind)  # type: ignore[arg-type]  # a key of NEW
        yield f"rebuilt {what}", tree, expected, 0.0
        if kind == "sum":
            uniform = torch.rand(batch, generator=generator, dtype=torch.float64)
            prefix = uniform * expected[-1]
            yield (
                f"found in {what}",
                rl_cuda.sum_tree_find(tree, prefix.to(device)),
                sum_tree_find_torch(expected, prefix),
                0.0,
            )
            reference, beta = torch.ones((), dtype=dtype), torch.full((), 0.5, dtype=torch.float64)
            given = {"reference": reference.to(device), "beta": beta.to(device)}
            found = rl_cuda.sum_tree_sample(tree, uniform.to(device), **given)
            drawn = sum_tree_sample_torch(expected, uniform, reference, beta)
            yield f"drawn from {what}", found[0], drawn[0], 0.0
            yield f"weights of {what}", found[1], drawn[1], 1e-6


def scan_pairs(device: torch.device, generator: torch.Generator) -> Iterator[Pair]:
    """Recurrences and the estimators that rest on them."""
    for shape, dtype in itertools.product(SHAPES, DTYPES):
        value, following, reward, log_pi, log_mu = torch.randn(5, *shape, generator=generator, dtype=dtype)
        done, terminated = torch.rand(2, *shape, generator=generator) < 0.2
        steps = (value, following, reward, done, terminated)
        there = [step.to(device) for step in steps]
        logs = [log.to(device) for log in (log_pi, log_mu)]
        what = f"{list(shape)} {dtype}"
        operators: Any = torch.ops.rl_cuda
        yield f"recurrence {what}", operators.recurrence(*there[:2]), recurrence_torch(value, following), 0.0
        yield f"gae {what}", operators.gae(*there, 0.9, 0.8)[0], gae_torch(*steps, 0.9, 0.8)[0], 0.0
        found = operators.lambda_return(*there[1:], 0.9, 0.8)
        yield f"lambda-return {what}", found, lambda_return_torch(following, reward, done, terminated, 0.9, 0.8), 0.0
        found = operators.vtrace(*logs, *there, 0.9, 0.0, 0.0)
        yield f"v-trace {what}", found[1], vtrace_torch(log_pi, log_mu, *steps, 0.9, 0.0, 0.0)[1], 1e-4


def sampler_pairs(device: torch.device) -> Iterator[Pair]:
    """The whole cycle of a buffer, beside the sampler on the CPU."""
    samplers = PrioritizedSampler(500, 0.6, 0.4), rl_cuda.CudaPrioritizedSampler(500, 0.6, 0.4, device=device)
    places: tuple[torch.device, ...] = (torch.device("cpu"), device)
    buffers = [
        TensorDictPrioritizedReplayBuffer(
            alpha=0.6,
            beta=0.4,
            storage=LazyTensorStorage(500, device=place),
            sampler=sampler,
            batch_size=64,
            generator=torch.Generator().manual_seed(0),
        )
        for sampler, place in zip(samplers, places, strict=True)
    ]
    for step in range(10):
        batches = []
        for buffer in buffers:
            buffer.extend(TensorDict({"observation": torch.arange(90.0)}, [90]))
            batches.append(buffer.sample())
            buffer.update_tensordict_priority(batches[-1].set("td_error", batches[-1]["observation"]))
        yield f"rows of batch {step}", batches[1]["index"], batches[0]["index"], 0.0
        yield f"weights of batch {step}", batches[1]["_weight"], batches[0]["_weight"], 1e-5


def main() -> None:
    """Compare everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the program itself")
    device = torch.device(parser.parse_args().device)
    reason = rl_cuda.why_unavailable()
    if device.type != "cpu" and reason is not None:
        sys.exit(f"not measured: the kernels need a GPU: {reason}")
    generator = torch.Generator().manual_seed(0)
    count = 0
    for what, found, expected, tolerance in itertools.chain(
        tree_pairs(device, generator), scan_pairs(device, generator), sampler_pairs(device)
    ):
        count += 1
        try:
            torch.testing.assert_close(found.cpu(), expected, rtol=tolerance, atol=tolerance, equal_nan=True)
        except AssertionError as error:
            sys.exit(f"{what}: {error}")
    print(f"{count} comparisons")


if __name__ == "__main__":
    main()
