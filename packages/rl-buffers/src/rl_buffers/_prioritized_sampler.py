"""Draws in proportion to priorities, with the weights that make up for it."""

import sys
from math import inf
from math import pow as power
from typing import Any, Literal, TypeAlias, final, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rl_buffers._arguments import is_exponent, whole_number
from rl_buffers._beta_schedule import LinearAnnealing
from rl_buffers._priority_values import REDUCTIONS, Numbers, Reduction, priority_array, row_array, row_stamps
from rl_buffers._row_stamps import RowStamps
from rl_buffers._sampler import Sampler
from rl_buffers._storage import Storage, Where
from rl_buffers._sum_tree import SumTree
from rl_specs import message

Normalization: TypeAlias = Literal["buffer", "batch", "none"]


@final
class PrioritizedSampler(Sampler):
    """Rows drawn in proportion to priorities, with replacement.

        P(i) = (p_i + eps)^alpha / sum_k (p_k + eps)^alpha
        w_i  = (N P(i))^-beta / norm

    A batch of n takes one row from each n-th part of the sum, so its rows come in the order of their numbers. A row
    that is written enters with the largest priority of the rows then stored (1 when there is none), and has it until
    `update_priority`. A row of priority 0 (with `eps=0`) is never drawn.

    Batches carry the weights as `"_weight"`, the row numbers as `"index"` and, as `"_stamp"`, which writing of each
    row was drawn: `update_priority` given stamps leaves rows alone that were overwritten since. All of it is computed
    on the CPU, in float64.

    A state holds `leaves` (float64 `[n]`, `(p + eps)^alpha` of the n rows stored), `stamps` (int64 `[n]`), `clock`
    (int, the last stamp given), `beta` (the constant, None with a schedule), `beta_step` (int, batches drawn) and
    `entry_leaf` (float, the largest leaf there ever was).

    Args:
        max_capacity: number of rows, at least the storage's capacity (what it will hold, if that has no limit).
        alpha: exponent of priorities, >= 0; 0 for uniform draws.
        beta: exponent of weights, >= 0: a number, to be set again with `sampler.beta = ...` as the run goes on, or a
            schedule that goes one step with every batch.
        eps: added to every priority, >= 0.
        dtype: of the weights.
        reduction: what several priorities of one row (a trajectory, say) amount to.
        max_priority_within_buffer: False for new rows to enter with the largest priority that there ever was.
        normalization: `norm`. `"buffer"`: the largest weight that any row stored could have, so a row's weight does
            not depend on the rest of the batch; `"batch"`: the largest in the batch; `"none"`: 1.
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
    ) -> None:
        max_capacity = whole_number("PrioritizedSampler", "max_capacity", max_capacity, least=1)
        for name, value in (("alpha", alpha), ("eps", eps)):
            if not is_exponent(value):
                raise ValueError(_wrong(name, "a finite number >= 0", value))
        if reduction not in REDUCTIONS:
            raise ValueError(_wrong("reduction", f"one of {', '.join(REDUCTIONS)}", reduction))
        if normalization not in get_args(Normalization):
            raise ValueError(_wrong("normalization", f"one of {', '.join(get_args(Normalization))}", normalization))
        if not dtype.is_floating_point:
            raise ValueError(_wrong("dtype", "a floating-point dtype, for weights from 0 to 1", dtype))
        self._alpha = float(alpha)
        self._eps = float(eps)
        self._dtype = dtype
        self._reduction: Reduction = reduction
        self._within_buffer = max_priority_within_buffer
        self._normalization = normalization
        self._sum_tree = SumTree(max_capacity)
        self._stamps = RowStamps(max_capacity)
        self._first_leaf = power(1.0 + self._eps, self._alpha)
        self._entry_leaf = self._first_leaf
        self._beta_step = 0
        self.beta = beta

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
        self._schedule = beta if isinstance(beta, LinearAnnealing) else None
        ends = (beta.start, beta.end) if isinstance(beta, LinearAnnealing) else (beta,)
        if not all(is_exponent(end) for end in ends):
            raise ValueError(_wrong("beta", "a finite number >= 0, or a schedule of such", beta))
        self._beta = float(ends[0])

    @property
    def max_priority(self) -> float:
        """The largest priority of a row stored; 1 when there is no row, or `alpha` is 0 and priorities do not count."""
        leaf = self._sum_tree.largest()
        if self._alpha == 0.0 or leaf == 0.0:
            return 1.0
        return power(leaf, 1.0 / self._alpha) - self._eps

    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Sampler.sample`; `batch_size` may be greater than the number of rows.

        Raises:
            RuntimeError: every row has priority 0, or their sum is infinite.
        """
        self.take_in(storage)
        rows, weights = self.draw(self._sum_tree, self._stamps.count, batch_size, generator)
        weight = torch.from_numpy(weights)
        device = storage.device
        info = {
            "_weight": weight.to(device, self._dtype),
            "_stamp": torch.from_numpy(self.stamps(rows)).to(device),
        }
        return torch.from_numpy(rows).to(device), info

    @property
    def leaves(self) -> NDArray[np.float64]:
        """`[max_capacity]`, `(p + eps)^alpha` of each row and 0 where there is none; only to be read."""
        return self._sum_tree.leaves

    def stamps(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which writing of each row `[n]` is the one that is stored."""
        return self._stamps.of(rows)

    def take_in(self, storage: Storage) -> None:
        """Enter rows that nobody told of, such as those that a storage was made with."""
        if len(storage) > self._stamps.count:
            self._enter(storage, self._stamps.count, len(storage))

    def draw(
        self, tree: SumTree, count: int, batch_size: int, generator: torch.Generator | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows `[batch_size]` in proportion to the leaves of `tree`, of which `count` may be above 0; and weights."""
        total = tree.total
        if not 0.0 < total < inf:
            raise _no_draw(total)
        rows = tree.find(stratified_targets(batch_size, total, generator))
        leaves = tree.leaves.take(rows)
        if self._normalization == "none":
            norm = total / count
        elif self._normalization == "batch":
            norm = leaves[leaves.argmin()]
        else:
            norm = tree.smallest()
        weights: NDArray[np.float64] = norm / leaves
        weights **= self.step_beta()
        return rows, weights

    def step_beta(self) -> float:
        """Exponent of this batch's weights; a schedule then goes one step."""
        beta = self.beta
        self._beta_step += 1
        return beta

    def update_priority(self, index: Numbers, priority: Numbers, stamp: Tensor | None = None) -> None:
        """See `Sampler.update_priority`."""
        rows = row_array(index, self._stamps.capacity, _UPDATE)
        values = priority_array(priority, len(rows), self._reduction, _UPDATE, rows)
        if not rows.size:
            return
        self._assert_finite(float(values[values.argmax()]))
        leaves = values + self._eps
        if self._alpha != 1.0:
            leaves **= self._alpha
        stamps = self._stamps.of(rows)
        is_current = stamps > 0 if stamp is None else stamps == row_stamps(stamp)
        if not is_current[is_current.argmin()]:
            rows, leaves = rows[is_current], leaves[is_current]
        self._sum_tree.set(rows, leaves)
        if leaves.size:
            self._entry_leaf = max(self._entry_leaf, float(leaves[leaves.argmax()]))

    def _assert_finite(self, priority: float) -> None:
        """The largest of some priorities must not be infinite as a leaf."""
        try:
            is_finite = (priority + self._eps) ** self._alpha < inf
        except OverflowError:
            is_finite = False
        if not is_finite:
            problem = f"a priority of {priority} to the power alpha"
            raise ValueError(message(_UPDATE, problem, expected="a finite number", found=inf))

    def check_priority(self, priority: Tensor, count: int) -> None:
        """See `Sampler.check_priority`."""
        priority_array(priority, count, self._reduction, "PrioritizedSampler")

    def extend(self, storage: Storage, index: Tensor) -> None:
        """The rows enter with the largest priority."""
        rows = index.cpu().numpy()
        first, stop = int(rows.min()), int(rows.max()) + 1
        if first > self._stamps.count or stop - first == len(rows):
            self._enter(storage, min(first, self._stamps.count), stop)
        else:
            self._enter_scattered(storage, rows)

    def add(self, storage: Storage, index: int) -> None:
        """The row enters with the largest priority."""
        self._enter(storage, min(index, self._stamps.count), index + 1)

    def overwrite(self, storage: Storage, where: Where) -> None:
        """The rows enter with the largest priority."""
        if isinstance(where, int):
            self.add(storage, where)
        elif isinstance(where, slice):
            self._enter(storage, min(where.start, self._stamps.count), where.stop)
        else:
            self._enter_scattered(storage, where.cpu().numpy())

    def _enter(self, storage: Storage, start: int, stop: int) -> None:
        """Rows that were written get a stamp and the largest priority of those that were not."""
        needed = stop if storage.max_size == sys.maxsize else storage.max_size
        if needed > self._stamps.capacity:
            raise ValueError(
                message(
                    "PrioritizedSampler",
                    "max_capacity is smaller than the storage",
                    expected=f"at least {needed}",
                    found=self._stamps.capacity,
                    fix="Give max_capacity the storage's max_size",
                )
            )
        if start <= self._sum_tree.largest_place() < stop:
            self._sum_tree.fill(start, stop, 0.0)
        self._sum_tree.fill(start, stop, self._new_leaf())
        self._stamps.write(start, stop)

    def _enter_scattered(self, storage: Storage, rows: NDArray[np.int64]) -> None:
        """As `_enter`, for rows `[n]` that are no range."""
        stop = int(rows.max()) + 1
        if stop > self._stamps.count:
            self._enter(storage, self._stamps.count, stop)
        if (rows == self._sum_tree.largest_place()).any():
            self._sum_tree.set(rows, np.zeros(len(rows)))
        self._sum_tree.set(rows, np.full(len(rows), self._new_leaf()))
        self._stamps.rewrite(rows)

    def _new_leaf(self) -> float:
        if not self._within_buffer:
            return self._entry_leaf
        return self._sum_tree.largest() or self._first_leaf

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
        self._sum_tree.clear()
        self._stamps.clear()
        self._entry_leaf = self._first_leaf

    def settings(self) -> dict[str, Any]:
        """All but capacity and dtype."""
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
        """See the class."""
        return {
            "leaves": torch.from_numpy(self._sum_tree.leaves[: self._stamps.count].copy()),
            **self._stamps.state_dict(),
            "beta": self._beta if self._schedule is None else None,
            "beta_step": self._beta_step,
            "entry_leaf": self._entry_leaf,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        self._stamps.load_state_dict(state)
        self._sum_tree.load(state["leaves"].cpu().numpy())
        if state["beta"] is not None:
            self._beta = state["beta"]
        self._beta_step = state["beta_step"]
        self._entry_leaf = state["entry_leaf"]

    def __repr__(self) -> str:
        beta: object = self._beta if self._schedule is None else self._schedule
        return f"PrioritizedSampler(max_capacity={self._stamps.capacity}, alpha={self._alpha}, beta={beta})"


_UPDATE = "PrioritizedSampler.update_priority"


def stratified_targets(batch_size: int, total: float, generator: torch.Generator | None) -> NDArray[np.float64]:
    """Numbers `[batch_size]`, one in each of as many equal parts of the range from 0 to `total`, in order."""
    device = None if generator is None else generator.device
    targets: NDArray[np.float64] = (
        torch.rand(batch_size, dtype=torch.float64, generator=generator, device=device).cpu().numpy()
    )
    targets += np.arange(batch_size)
    targets *= total / batch_size
    return targets


def _wrong(name: str, expected: str, found: object) -> str:
    return message("PrioritizedSampler", name, expected=expected, found=repr(found))


def _no_draw(total: float) -> RuntimeError:
    problem = "no row can be drawn: all have priority 0" if total == 0.0 else f"the priorities add up to {total}"
    return RuntimeError(message("PrioritizedSampler", problem, fix="Call update_priority, or give eps > 0"))
