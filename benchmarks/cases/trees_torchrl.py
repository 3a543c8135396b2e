"""TorchRL's prioritized sampling on a GPU: microseconds to draw a batch with weights and set its priorities.

Its trees lie on the device of the storage. Only some of its wheels have trees for CUDA; another one ends with the
reason. Times are taken as in `trees.py`.
"""

import argparse
import sys

import torch
from _case import report
from _device_timing import Call, each_size, seconds_per_call, size_arguments
from _stand_ins import AUTOGRAD, make_loadable


def cycle_call(leaves: int, batch: int, device: torch.device) -> Call:
    """Draw, weights and new priorities, as a buffer calls them."""
    from torchrl.data import LazyTensorStorage, PrioritizedSampler

    storage = LazyTensorStorage(leaves, device=device)
    storage.set(range(leaves), torch.zeros(leaves, dtype=torch.uint8, device=device))
    sampler = PrioritizedSampler(leaves, 0.6, 0.4, device=device)
    sampler.extend(torch.arange(leaves, device=device))
    sampler.update_priority(torch.arange(leaves, device=device), torch.rand(leaves, device=device))
    priority = torch.rand(batch, device=device)

    def cycle() -> None:
        index, _ = sampler.sample(storage, batch)
        sampler.update_priority(index, priority)

    return cycle


def main() -> None:
    """Time the work and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    size_arguments(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(args.device)
    make_loadable("torchrl", "_torchrl", may_miss=AUTOGRAD)
    if device.type == "cuda":
        from torchrl import _torchrl

        if "CudaSumSegmentTreeFp32" not in vars(_torchrl):
            sys.exit("not measured: this wheel of TorchRL has no trees for CUDA")

    def microseconds(leaves: int, batch: int) -> float:
        return 1e6 * seconds_per_call(cycle_call(leaves, batch, device), device, args.seconds)

    report(each_size(args.leaves, args.batches, microseconds), "us")


if __name__ == "__main__":
    main()
