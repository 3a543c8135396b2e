"""Draws in proportion to priorities, all of it on the device of the buffer."""

import math
from typing import Any, Literal, TypeAlias, final, get_args

import torch
from torch import Tensor

from rl_buffers import LinearAnnealing, Sampler, Storage
from rl_cuda._faults import Faults
from rl_cuda._priority_input import Numbers, Reduction, first_of_each, priorities_on, rows_on
from rl_cuda._priority_leaves import priority_leaves
from rl_cuda._priority_trees import PriorityTrees
from rl_cuda._tree_query import sum_tree_sample
from rl_specs import message

Normalization: TypeAlias = Literal["buffer", "batch", "none"]

_NAME = "CudaPrioritizedSampler"
_UPDATE = f"{_NAME}.update_priority"


@final
class CudaPrioritizedSampler(Sampler):
    """`rl_buffers.PrioritizedSampler` on a device: drawing, weights and updates, without a wait of the host for it.

        P(i) = (p_i + eps)^alpha / sum_k (p_k + eps)^alpha
        w_i  = (N P(i))^-beta / norm

    Rows, weights, entries of the batch and states are those of `PrioritizedSampler`, and each loads the states of the
    other, so that a buffer saved on a GPU goes on on a CPU and the reverse. With a generator on the CPU both draw the
    same rows, but for draws within rounding of the edge between two. The kernels do the work where they can run
    (`is_available`), plain torch elsewhere.

    On an accelerator no call waits to look at priorities and rows: those that are negative, infinite, not numbers or
    out of range are left out, and a later call of this sampler, at the latest `state_dict`, raises what
    `PrioritizedSampler` raises at once. In a CUDA graph, `sampler.beta = ...` takes effect at the next replay.

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
    Source: Schaul et al. 2016, section 3.3 and 3.4, https://arxiv.org/abs/1511.05952
    """

    keeps_priorities = True

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
        if not isinstance(max_capacity, int) or isinstance(max_capacity, bool) or max_capacity < 1:
            raise ValueError(_wrong("max_capacity", "an integer >= 1", max_capacity))
        for name, value in (("alpha", alpha), ("eps", eps)):
            if not 0.0 <= value < math.inf:
                raise ValueError(_wrong(name, "a finite number >= 0", value))
        for name, choice, choices in (
            ("reduction", reduction, get_args(Reduction)),
            ("normalization", normalization, get_args(Normalization)),
        ):
            if choice not in choices:
                raise ValueError(_wrong(name, f"one of {', '.join(choices)}", choice))
        self._alpha, self._eps, self._dtype = float(alpha), float(eps), dtype
        self._reduction: Reduction = reduction
        self._within_buffer, self._normalization = max_priority_within_buffer, normalization
        self._trees = PriorityTrees(
            max_capacity,
            (1.0 + self._eps) ** self._alpha,
            has_minimum=normalization == "buffer",
            has_maximum=max_priority_within_buffer,
            device=torch.device(device),
        )
        self._device = self._trees.sums.device
        self._stamps = torch.zeros(max_capacity, dtype=torch.int64, device=self._device)
        self._clock, self._count, self._beta_step = 0, 0, 0
        self._faults = Faults(_NAME, self._device)
        self._exponent = torch.zeros((), dtype=torch.float64, device=self._device)
        self._exponent_is = 0.0
        self._may_be_zero = self._alpha > 0 and not self._eps**self._alpha > 0
        self.beta = beta

    @property
    def device(self) -> torch.device:
        """Where priorities live."""
        return self._device

    @property
    def alpha(self) -> float:
        """Exponent of priorities."""
        return self._alpha

    @property
    def eps(self) -> float:
        """What is added to every priority."""
        return self._eps

    @property
    def beta(self) -> float:
        """Exponent of the next batch's weights."""
        return self._beta if self._schedule is None else self._schedule.at(self._beta_step)

    @beta.setter
    def beta(self, beta: float | LinearAnnealing) -> None:
        schedule = beta if isinstance(beta, LinearAnnealing) else None
        ends = (beta.start, beta.end) if isinstance(beta, LinearAnnealing) else (beta,)
        if not all(0.0 <= end < math.inf for end in ends):
            raise ValueError(_wrong("beta", "a finite number >= 0, or a schedule of such", beta))
        self._schedule, self._beta = schedule, float(ends[0])
        self._set_exponent()

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
        total = self._trees.sums[-1]
        if self._device.type == "cpu":
            self._assert_total(float(total))
        elif self._may_be_zero:
            self._faults.count_empty(total)
        place = self._device if generator is None else generator.device
        uniform = torch.rand(batch_size, dtype=torch.float64, generator=generator, device=place)
        uniform = uniform.to(self._device, non_blocking=True)
        self._set_exponent()
        rows, weight = sum_tree_sample(self._trees.sums, uniform, reference=self._reference(), beta=self._exponent)
        if self._normalization == "batch":
            weight = weight / weight.amax()
        self._beta_step += 1
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

    def take_in(self, storage: Storage) -> None:
        """See `Sampler.take_in`."""
        if len(storage) > self._count:
            self._enter(storage, self._count, len(storage))

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

    def extend(self, storage: Storage, index: Tensor) -> None:
        """The rows enter with the largest priority."""
        first, stop = int(index.min()), int(index.max()) + 1
        if first > self._count or stop - first == len(index):
            self._enter(storage, min(first, self._count), stop)
        else:
            self._enter_scattered(storage, index, stop)

    def add(self, storage: Storage, index: int) -> None:
        """The row enters with the largest priority."""
        self._enter(storage, min(index, self._count), index + 1)

    def overwrite(self, storage: Storage, where: int | slice | Tensor) -> None:
        """The rows enter with the largest priority."""
        if isinstance(where, int):
            self.add(storage, where)
        elif isinstance(where, slice):
            self._enter(storage, min(where.start, self._count), where.stop)
        else:
            self._enter_scattered(storage, where, int(where.max()) + 1)

    def _enter(self, storage: Storage, start: int, stop: int) -> None:
        """Rows that were written get a stamp and the largest priority of those that were not."""
        if storage.max_size > len(self._stamps):
            raise ValueError(
                message(
                    _NAME,
                    "max_capacity is smaller than the storage",
                    expected=f"at least {storage.max_size}",
                    found=len(self._stamps),
                    fix="Give max_capacity the storage's max_size",
                )
            )
        self._trees.enter(torch.arange(start, stop, device=self._device), is_new=start >= self._count)
        self._clock += 1
        self._stamps[start:stop] = self._clock
        self._count = max(self._count, stop)

    def _enter_scattered(self, storage: Storage, rows: Tensor, stop: int) -> None:
        """As `_enter`, for rows `[n]` that are no range."""
        if stop > self._count:
            self._enter(storage, self._count, stop)
        rows = rows.to(self._device)
        self._trees.enter(rows, is_new=False)
        self._clock += 1
        self._stamps.index_fill_(0, rows, self._clock)

    def mark(self) -> int:
        """How far the schedule of beta has come."""
        return self._beta_step

    def rewind(self, mark: int) -> None:
        """See `Sampler.rewind`."""
        self._beta_step = mark

    def restart(self) -> None:
        """Nothing is remembered between batches."""

    def clear(self) -> None:
        """Forget all priorities; the schedule of beta goes on."""
        self._trees.clear()
        self._stamps.zero_()
        self._count = 0

    @property
    def kind(self) -> str:
        """That of `PrioritizedSampler`: each loads the states of the other."""
        return "PrioritizedSampler"

    def settings(self) -> dict[str, Any]:
        """All but capacity, dtype and device."""
        schedule = self._schedule
        return {
            "alpha": self._alpha,
            "eps": self._eps,
            "reduction": self._reduction,
            "max_priority_within_buffer": self._within_buffer,
            "normalization": self._normalization,
            "beta_schedule": None if schedule is None else [schedule.start, schedule.end, schedule.steps],
        }

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
            "beta": self._beta if self._schedule is None else None,
            "beta_step": self._beta_step,
            "entry_leaf": float(self._trees.entry),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        stamps = state["stamps"].to(self._device)
        self._count = len(stamps)
        self._stamps.zero_()
        self._stamps[: self._count] = stamps
        self._clock = state["clock"]
        self._trees.load(state["leaves"].to(self._device), state["entry_leaf"])
        self._beta_step = state["beta_step"]
        if state["beta"] is not None:
            self._beta = state["beta"]
        self._faults.clear()
        self._set_exponent()

    def _set_exponent(self) -> None:
        beta = self.beta
        if beta != self._exponent_is:
            self._exponent.fill_(beta)
            self._exponent_is = beta

    def _assert_total(self, total: float) -> None:
        if not 0.0 < total < math.inf:
            problem = "no row can be drawn: all have priority 0" if total == 0 else f"the priorities add up to {total}"
            raise RuntimeError(message(_NAME, problem, fix="Call update_priority, or give eps > 0"))

    def __repr__(self) -> str:
        beta: object = self._beta if self._schedule is None else self._schedule
        return f"{_NAME}(max_capacity={len(self._stamps)}, alpha={self._alpha}, beta={beta}, device={self._device})"


def _wrong(name: str, expected: str, found: object) -> str:
    return message(_NAME, name, expected=expected, found=repr(found))
