"""Prioritized sampling on a GPU: time or share of the memory bandwidth, for each size of tree and batch.

The kernels need a CUDA device and the compiled library; without them the script ends with the reason. The plain torch
form runs anywhere. Times are of many calls in a row, between two waits for the device, so they hold what a call costs
where calls follow each other: the longer of the host's work and the device's.
"""

import argparse
import sys

import torch
from _case import report
from _device_timing import Call, bandwidth, each_size, seconds_per_call, size_arguments
from torch import Tensor

import rl_cuda
from rl_buffers import LazyTensorStorage
from rl_cuda import _kernels
from rl_cuda._tree_query_torch import sum_tree_sample_torch

NUMBER = 8
"""Bytes of a float64 and of an int64."""


def levels_above(leaves: int) -> list[int]:
    """Nodes of each level above the leaves."""
    nodes = []
    while leaves > 1:
        leaves = -(-leaves // 32)
        nodes.append(leaves)
    return nodes


def bytes_moved(work: str, leaves: int, batch: int) -> int:
    """What has to be read and written at the least, nothing kept in a cache, each node once."""
    levels = levels_above(leaves)
    if work == "update":
        return NUMBER * (3 * batch + sum(33 * min(batch, nodes) for nodes in levels))
    return NUMBER * batch * (3 + 32 * len(levels))


def make_tree(leaves: int, device: torch.device) -> Tensor:
    """A sum tree of random priorities."""
    tree = rl_cuda.new_sum_tree(leaves, device=device)
    tree[:leaves].uniform_()
    rl_cuda.tree_rebuild(tree, "sum")
    return tree


def update_call(form: str, leaves: int, batch: int, device: torch.device) -> Call:
    """New values for random leaves."""
    tree = make_tree(leaves, device)
    index = torch.randint(leaves, (batch,), device=device)
    value = torch.rand(batch, dtype=torch.float64, device=device)
    if form == "torch":
        return lambda: rl_cuda.sum_tree_update_torch(tree, index, value)
    return lambda: rl_cuda.sum_tree_update(tree, index, value, check_index=False)


def sample_call(form: str, leaves: int, batch: int, device: torch.device) -> Call:
    """Stratified draws with importance weights."""
    tree = make_tree(leaves, device)
    uniform = torch.rand(batch, dtype=torch.float64, device=device)
    reference, beta = torch.full((), 0.5, dtype=torch.float64, device=device), torch.ones_like(uniform[0])
    if form == "torch":
        return lambda: sum_tree_sample_torch(tree, uniform, reference, beta)
    return lambda: rl_cuda.sum_tree_sample(tree, uniform, reference=reference, beta=beta)


def cycle_call(form: str, leaves: int, batch: int, device: torch.device) -> Call:
    """Draw, weights and new priorities, as a buffer calls them."""
    storage = LazyTensorStorage(leaves, device=device)
    storage.write(slice(0, leaves), storage.check(torch.zeros(leaves, dtype=torch.uint8), "trees.py"))
    sampler = rl_cuda.CudaPrioritizedSampler(leaves, 0.6, 0.4, device=device)
    sampler.extend(storage, torch.arange(leaves))
    priority = torch.rand(batch, device=device)

    def cycle() -> None:
        index, info = sampler.sample(storage, batch, None)
        sampler.update_priority(index, priority, info["_stamp"])

    return cycle


CALLS = {"update": update_call, "sample": sample_call, "cycle": cycle_call}


def main() -> None:
    """Time the work and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--form", choices=["kernels", "torch"], required=True)
    parser.add_argument("--work", choices=list(CALLS), required=True)
    parser.add_argument("--unit", choices=["us", "%"], default="us", help="time, or share of the memory bandwidth")
    size_arguments(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(args.device)
    reason = rl_cuda.why_unavailable()
    if device.type == "cpu" and args.form == "kernels":
        reason = "--device cpu"
    if args.form == "kernels" and reason is not None:
        sys.exit(f"not measured: the kernels need a GPU: {reason}")
    if args.form == "torch":
        vars(_kernels)["why_unavailable"] = lambda: "plain torch was asked for"
    reachable = bandwidth(device) if args.unit == "%" else 0.0

    def figure(leaves: int, batch: int) -> float:
        took = seconds_per_call(CALLS[args.work](args.form, leaves, batch, device), device, args.seconds)
        return bytes_moved(args.work, leaves, batch) / took / reachable * 100 if reachable else 1e6 * took

    report(each_size(args.leaves, args.batches, figure), args.unit)


if __name__ == "__main__":
    main()
