"""Prioritized replay on an accelerator: drawing, weights and updates never make the host wait for the device.

The accelerator is simulated, as in `test_no_host_sync.py`, and computes what the CPU computes.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import simulated_device
import torch
from simulated_device import DEVICE, on_host, waits_recorded
from tensordict import TensorDict
from torch import Tensor

from rl_buffers import LazyTensorStorage, LinearAnnealing, TensorDictPrioritizedReplayBuffer
from rl_cuda import CudaPrioritizedSampler, sum_tree_update_torch
from rl_cuda._estimators_torch import gae_torch, lambda_return_torch, vtrace_torch
from rl_cuda._priority_leaves_torch import priority_leaves_torch
from rl_cuda._tree_query_torch import sum_tree_find_torch, sum_tree_sample_torch
from rl_cuda._tree_update_torch import tree_rebuild_torch

NORMALIZATIONS = ["buffer", "batch", "none"]


@pytest.fixture(scope="module")
def simulated() -> Iterator[Callable[..., Any]]:
    """Runs a function of this file in a process with the simulated accelerator."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        yield lambda name, *args: pool.submit(simulated_device.call, __file__, name, *args).result()


def replay(device: str, normalization: Any) -> tuple[list[str], list[list[float]]]:
    """What waited while batches were drawn and their priorities updated, and the rows and weights drawn."""
    sampler = CudaPrioritizedSampler(
        64, 0.6, LinearAnnealing(0.4, 1.0, 10), normalization=normalization, eps=1e-3, device=device
    )
    buffer = TensorDictPrioritizedReplayBuffer(
        alpha=0.6,
        beta=0.4,
        storage=LazyTensorStorage(64, device=device),
        sampler=sampler,
        batch_size=16,
        generator=torch.Generator().manual_seed(0),
    )
    buffer.extend(TensorDict({"observation": torch.arange(100.0, device=device)}, [100], device=device))
    drawn = []
    with waits_recorded() as waits:
        for _ in range(5):
            batch = buffer.sample()
            buffer.update_tensordict_priority(batch.set("td_error", batch["observation"].sqrt()))
            drawn += [batch["index"], batch["_weight"]]
    return list(waits), [on_host(tensor).tolist() for tensor in drawn]


def plain_torch() -> list[str]:
    """What waited in the plain torch forms of the operators."""

    def there(*numbers: float, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.tensor(numbers, dtype=dtype, device=DEVICE)

    tree = torch.zeros(33, dtype=torch.float64, device=DEVICE)
    index, value, stamps = there(1, 2, 1, 99, dtype=torch.int64), there(1, 2, 3, 4), there(1, 1, 1, dtype=torch.int64)
    one, faults = there(1)[0], there(0, 0, dtype=torch.int64)
    steps, ends = there(1, 2, 3)[None], there(0, 1, 0, dtype=torch.bool)[None]
    with waits_recorded() as waits:
        sum_tree_update_torch(tree, index, value)
        tree_rebuild_torch(tree, "sum")
        sum_tree_find_torch(tree, value)
        sum_tree_sample_torch(tree, value, one, one)
        priority_leaves_torch(index, value, index, stamps, 0.1, 0.6, one.clone(), faults)
        gae_torch(steps, steps, steps, ends, ends, 0.9, 0.9)
        lambda_return_torch(steps, steps, ends, ends, 0.9, 0.9)
        vtrace_torch(steps, steps, steps, steps, steps, ends, ends, 0.9, 0.0, 0.0)
    return list(waits)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_draws_and_updates_never_wait(simulated: Callable[..., Any], normalization: str) -> None:
    """The whole cycle stays on the device, and gives the rows and weights that it gives on the CPU."""
    waits, drawn = simulated("replay", DEVICE, normalization)
    assert waits == []
    assert drawn == replay("cpu", normalization)[1]


def test_plain_torch_never_waits(simulated: Callable[..., Any]) -> None:
    """The forms without kernels never wait for the device either."""
    assert simulated("plain_torch") == []
