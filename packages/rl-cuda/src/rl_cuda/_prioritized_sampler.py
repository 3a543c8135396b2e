"""Draws in proportion to priorities, all of it on the device of the buffer."""

import math
from typing import Any, final

import torch
from torch import Tensor

from rl_buffers import LinearAnnealing, PrioritizedSamplerBase, Storage
from rl_buffers.samplers import Normalization, Numbers, Reduction
from rl_cuda._faults import Faults
from rl_cuda._library import why_unavailable
from rl_cuda._priority_input import first_of_each, priorities_on, rows_on
from rl_cuda._priority_leaves import priority_leaves
from rl_cuda._priority_trees import PriorityTrees
from rl_cuda._tree_query import sum_tree_sample
from rl_specs import DeviceError, message

_NAME = "CudaPrioritizedSampler"
_UPDATE = f"{_NAME}.update_priority"


@final
class CudaPrioritizedSampler(PrioritizedSamplerBase):
    """`rl_buffers.PrioritizedSampler` on a device: drawing, weights and updates, without a wait of the host for it.

        P(i) = (p_i + eps)^alpha / sum_k (p_k + eps)^alpha
        w_i  = (N P(i))^-beta / norm

    Rows, weights, entries of the batch and states are those of `PrioritizedSampler`, and each loads the states of the
    other, so that a buffer saved on a GPU goes on on a CPU and the reverse. With a generator on the CPU both draw the
    same rows, but for draws within rounding of the edge between two. The kernels do the work where they can run
    (`is_available`), plain torch elsewhere.

    On an accelerator no call waits to look at priorities and rows: those that are negative, infinite, not numbers or
    out of range are left out, and a later call of this sampler, at the latest `state_dict`, raises what
    `PrioritizedSampler` raises at once. In a CUDA graph, `sampler.beta = ...` takes effect at the next replay; no
    schedule goes on there, as a replay calls nothing here.

    Args:
        max_capacity: number of rows, at least the storage's capacity, at most 2**31.
        alpha: exponent of priorities, >= 0; 0 for uniform draws.
        beta: exponent of weights, >= 0: a number, to be set again with `sampler.beta = ...` as the run goes on, or a
            schedule that goes one step with every batch.
        eps: added to every priority, >= 0.
        dtype: of the weights.
        reduction: what several priorities of one row (a trajectory, say) amount to.
        max_priority_within_buffer: False for new rows to enter with the largest priority that there ever was.
        normalization: `norm`. `"buffer"`: the largest weight that any row stored could have; `"batch"`: the largest in
            the batch; `"none"`: 1.
        device: where priorities live and draws are made; best where the storage is.
    Raises:
        DeviceError: torch cannot use the device.
    Source: Schaul et al. 2016, section 3.3 and 3.4, https://arxiv.org/abs/1511.05952
    """

    def __init__(
        self,
        max_capacity: int,
        alpha: float,
        beta: float | LinearAnnealing,
        *,
        eps: float = 1e-8,
        dtype: torch.dtype = torch.float32,
        reduction: Reduction = "max",
        max_priority_within_buffer: bool = True,
        normalization: Normalization = "buffer",
        device: torch.device | str = "cuda",
    ) -> None:
        self._exponent = _exponent(device)
        self._exponent_is = 0.0
        super().__init__(
            max_capacity,
            alpha,
            beta,
            eps=eps,
            dtype=dtype,
            reduction=reduction,
            max_priority_within_buffer=max_priority_within_buffer,
            normalization=normalization,
        )
        self._trees = PriorityTrees(
            max_capacity,
            self._first_leaf,
            has_minimum=normalization == "buffer",
            has_maximum=max_priority_within_buffer,
            device=torch.device(device),
        )
        self._device = self._trees.sums.device
        self._stamps = torch.zeros(max_capacity, dtype=torch.int64, device=self._device)
        self._clock, self._count = 0, 0
        self._faults = Faults(_NAME, self._device)
        self._may_be_zero = self._alpha > 0 and not self._eps**self._alpha > 0

    @property
    def device(self) -> torch.device:
        """Where priorities live."""
        return self._device

    @property
    def count(self) -> int:
        """See `PrioritizedSamplerBase.count`."""
        return self._count

    @property
    def max_priority(self) -> float:
        """The largest priority of a row stored; 1 when there is none, or `alpha` is 0. It waits for the device."""
        leaf = float(self._trees.sums[: self._count].amax()) if self._count else 0.0
        return 1.0 if self._alpha == 0.0 or leaf == 0.0 else leaf ** (1.0 / self._alpha) - self._eps

    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Sampler.sample`; `batch_size` may be greater than the number of rows.

        Raises:
            RuntimeError: every row has priority 0, or their sum is infinite.
        """
        self._faults.raise_seen()
        self.take_in(storage)
        if self._device.type == "cpu":
            total = float(self._trees.sums[-1])
            if not 0.0 < total < math.inf:
                raise self._no_draw(total)
        place = self._device if generator is None else generator.device
        uniform = torch.rand(batch_size, dtype=torch.float64, generator=generator, device=place)
        uniform = uniform.to(self._device, non_blocking=True)
        self._set_exponent(self.step_beta())
        rows, weight = sum_tree_sample(
            self._trees.sums, uniform, reference=self._reference(), beta=self._exponent, empty=self._faults.empty
        )
        if self._may_be_zero:
            self._faults.look()
        if self._normalization == "batch":
            weight = weight / weight.amax()
        info = {
            "_weight": weight.to(storage.device, self._dtype),
            "_stamp": self._stamps[rows].to(storage.device),
        }
        return rows.to(storage.device), info

    def _reference(self) -> Tensor:
        """The leaf whose weight is 1, up to what is divided by afterwards."""
        if self._trees.minima is not None:
            return self._trees.minima[-1]
        return self._trees.sums[-1] if self._normalization == "batch" else self._trees.sums[-1] / self._count

    def update_priority(self, index: Numbers, priority: Numbers, stamp: Tensor | None = None) -> None:
        """See `Sampler.update_priority`; on an accelerator, errors of values are raised by a later call."""
        self._faults.raise_seen()
        rows = rows_on(index, len(self._stamps), _UPDATE, self._device)
        values = priorities_on(priority, len(rows), self._reduction, _UPDATE, self._device)
        if self._device.type == "cpu" and not bool((((values + self._eps) ** self._alpha) < math.inf).all()):
            problem = "priorities to the power alpha"
            raise ValueError(message(_UPDATE, problem, expected="finite numbers", found=math.inf))
        if stamp is not None:
            stamp = first_of_each(stamp).to(self._device).contiguous()
        counted, leaf, floor = priority_leaves(
            rows,
            values,
            stamp,
            stamps=self._stamps,
            eps=self._eps,
            alpha=self._alpha,
            entry=self._trees.entry,
            faults=self._faults.counts,
        )
        self._trees.update(counted, leaf, floor)
        self._faults.look()

    def check_priority(self, priority: Tensor, count: int) -> None:
        """See `Sampler.check_priority`; on an accelerator the values are checked after they are written."""
        priorities_on(priority, count, self._reduction, _NAME, self._device)

    def _write_range(self, start: int, stop: int) -> None:
        self._trees.enter(torch.arange(start, stop, device=self._device), is_new=start >= self._count)
        self._clock += 1
        self._stamps[start:stop] = self._clock
        self._count = max(self._count, stop)

    def _write_rows(self, index: Tensor) -> None:
        rows = index.to(self._device)
        self._trees.enter(rows, is_new=False)
        self._clock += 1
        self._stamps.index_fill_(0, rows, self._clock)

    def clear(self) -> None:
        """Forget all priorities; the schedule of beta goes on."""
        self._trees.clear()
        self._stamps.zero_()
        self._count = 0

    @property
    def kind(self) -> str:
        """That of `PrioritizedSampler`: each loads the states of the other."""
        return "PrioritizedSampler"

    def state_dict(self) -> dict[str, Any]:
        """As of `PrioritizedSampler`, on the CPU.

        Raises:
            IndexError, ValueError, RuntimeError: what earlier calls were given was wrong.
        """
        self._faults.raise_all()
        return {
            "leaves": self._trees.sums[: self._count].to("cpu", copy=True),
            "stamps": self._stamps[: self._count].to("cpu", copy=True),
            "clock": self._clock,
            **self._beta_state(),
            "entry_leaf": float(self._trees.entry),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        self._check_state(state)
        stamps = state["stamps"].to(self._device)
        self._count = len(stamps)
        self._stamps.zero_()
        self._stamps[: self._count] = stamps
        self._clock = state["clock"]
        self._trees.load(state["leaves"].to(self._device), state["entry_leaf"])
        self._load_beta(state)
        self._faults.clear()

    def _set_exponent(self, beta: float) -> None:
        if beta != self._exponent_is:
            self._exponent.fill_(beta)
            self._exponent_is = beta


def _exponent(device: torch.device | str) -> Tensor:
    """Room for the exponent of weights, on a device that is found to be one."""
    try:
        return torch.zeros((), dtype=torch.float64, device=device)
    except (AssertionError, RuntimeError) as error:
        problem = f"device {device} cannot be used: {str(error).splitlines()[0]}"
        reason = why_unavailable()
        fix = 'Give device="cpu" to go through plain torch, with the same results'
        fix = fix if reason is None else f"{fix}. Why kernels cannot run: {reason}"
        raise DeviceError(message(_NAME, problem, fix=fix)) from error
