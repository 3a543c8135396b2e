"""Draws in proportion to priorities, with the weights that make up for it."""

from functools import lru_cache
from math import inf
from math import pow as power
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rl_buffers._beta_schedule import LinearAnnealing
from rl_buffers._prioritized_sampler_base import Normalization, PrioritizedSamplerBase
from rl_buffers._priority_values import Numbers, Reduction, priority_array, row_array, row_stamps
from rl_buffers._row_stamps import RowStamps
from rl_buffers._storage import Storage
from rl_buffers._sum_tree import SumTree
from rl_specs import message


@final
class PrioritizedSampler(PrioritizedSamplerBase):
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
        self._sum_tree = SumTree(max_capacity)
        self._stamps = RowStamps(max_capacity)
        self._entry_leaf = self._first_leaf

    @property
    def count(self) -> int:
        """See `PrioritizedSamplerBase.count`."""
        return self._stamps.count

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
        if self._dtype is torch.float32:
            weights = weights.astype(np.float32)
        weight = torch.from_numpy(weights)
        device = storage.device
        info = {
            "_weight": weight.to(device, self._dtype),
            "_stamp": torch.from_numpy(self._stamps.of(rows)).to(device),
        }
        return torch.from_numpy(rows).to(device), info

    @property
    def leaves(self) -> NDArray[np.float64]:
        """`[max_capacity]`, `(p + eps)^alpha` of each row and 0 where there is none; only to be read."""
        return self._sum_tree.leaves

    def stamps(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which writing of each row `[n]` is the one that is stored."""
        return self._stamps.of(rows)

    def draw(
        self, tree: SumTree, count: int, batch_size: int, generator: torch.Generator | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows `[batch_size]` in proportion to the leaves of `tree`, of which `count` may be above 0; and weights."""
        total = tree.total
        if not 0.0 < total < inf:
            raise self._no_draw(total)
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

    def _write_range(self, start: int, stop: int) -> None:
        if start <= self._sum_tree.largest_place() < stop:
            self._sum_tree.fill(start, stop, 0.0)
        self._sum_tree.fill(start, stop, self._new_leaf())
        self._stamps.write(start, stop)

    def _write_rows(self, index: Tensor) -> None:
        rows = index.cpu().numpy()
        if (rows == self._sum_tree.largest_place()).any():
            self._sum_tree.set(rows, np.zeros(len(rows)))
        self._sum_tree.set(rows, np.full(len(rows), self._new_leaf()))
        self._stamps.rewrite(rows)

    def _new_leaf(self) -> float:
        if not self._within_buffer:
            return self._entry_leaf
        return self._sum_tree.largest() or self._first_leaf

    def clear(self) -> None:
        """Forget all priorities; the schedule of beta goes on."""
        self._sum_tree.clear()
        self._stamps.clear()
        self._entry_leaf = self._first_leaf

    def state_dict(self) -> dict[str, Any]:
        """See the class."""
        return {
            "leaves": torch.from_numpy(self._sum_tree.leaves[: self._stamps.count].copy()),
            **self._stamps.state_dict(),
            **self._beta_state(),
            "entry_leaf": self._entry_leaf,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        self._check_state(state)
        self._stamps.load_state_dict(state)
        self._sum_tree.load(state["leaves"].cpu().numpy())
        self._load_beta(state)
        self._entry_leaf = state["entry_leaf"]


_UPDATE = "PrioritizedSampler.update_priority"


def stratified_targets(batch_size: int, total: float, generator: torch.Generator | None) -> NDArray[np.float64]:
    """Numbers `[batch_size]`, one in each of as many equal parts of the range from 0 to `total`, in order."""
    if generator is None:
        drawn = torch.rand(batch_size, dtype=torch.float64)
    else:
        drawn = torch.rand(batch_size, dtype=torch.float64, generator=generator, device=generator.device).cpu()
    targets: NDArray[np.float64] = drawn.numpy()
    targets += _whole_numbers(batch_size)
    targets *= total / batch_size
    return targets


@lru_cache(maxsize=8)
def _whole_numbers(count: int) -> NDArray[np.float64]:
    """`[count]`, from 0 up, for all who ask."""
    numbers = np.arange(count, dtype=np.float64)
    numbers.flags.writeable = False
    return numbers
