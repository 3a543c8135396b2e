"""Draws by the rank of priorities."""

from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rl_buffers._arguments import is_exponent
from rl_buffers._beta_schedule import LinearAnnealing
from rl_buffers._prioritized_sampler import PrioritizedSampler, stratified_targets
from rl_buffers._prioritized_sampler_base import Normalization
from rl_buffers._priority_values import Numbers, Reduction
from rl_buffers._sampler import Sampler
from rl_buffers._storage import Storage, Where
from rl_specs import message


@final
class RankPrioritizedSampler(Sampler):
    """Rows drawn by the rank of their priority, with replacement: outliers have no more weight than their rank gives.

        P(i) = rank(i)^-alpha / sum_k k^-alpha
        w_i  = (N P(i))^-beta / norm

    where the row of largest priority has rank 1; of equal priorities, rows that ranked higher before stay higher, and
    otherwise lower row numbers. A batch of n takes one row from each n-th part of the probability, so its rows come in
    the order of their ranks. Priorities are kept, updated and dropped for rows overwritten since as by
    `PrioritizedSampler`, whose entries `"_weight"`, `"index"` and `"_stamp"` batches carry. A row of priority 0 is
    drawn too.

    Ranks are found by sorting, which takes time in proportion to the number of rows (some 20 ms for a million). They
    are renewed before a draw once `renew_after` rows have changed; until then rows keep the ranks that they had, and
    rows that were not there then are not drawn.

    Args:
        max_capacity: number of rows, at least the storage's capacity.
        alpha: exponent of ranks, >= 0; 0 for uniform draws.
        beta: exponent of weights, >= 0: a number or a schedule.
        renew_after: rows written or updated before ranks are renewed, >= 1; None for a hundredth of those stored.
        dtype: of the weights.
        reduction: what several priorities of one row amount to.
        max_priority_within_buffer: see `PrioritizedSampler`.
        normalization: see `PrioritizedSampler`.
    Source: Schaul et al. 2016, section 3.3 and appendix B.2.1, https://arxiv.org/abs/1511.05952
    """

    keeps_priorities = True

    def __init__(
        self,
        max_capacity: int,
        alpha: float,
        beta: float | LinearAnnealing,
        *,
        renew_after: int | None = None,
        dtype: torch.dtype = torch.float32,
        reduction: Reduction = "max",
        max_priority_within_buffer: bool = True,
        normalization: Normalization = "buffer",
    ) -> None:
        if not is_exponent(alpha):
            raise ValueError(message(_NAME, "alpha", expected="a finite number >= 0", found=repr(alpha)))
        if renew_after is not None and renew_after < 1:
            raise ValueError(message(_NAME, "renew_after", expected="an integer >= 1, or None", found=renew_after))
        self._rows = PrioritizedSampler(
            max_capacity,
            1.0,
            beta,
            eps=0.0,
            dtype=dtype,
            reduction=reduction,
            max_priority_within_buffer=max_priority_within_buffer,
            normalization=normalization,
        )
        self._alpha = float(alpha)
        self._dtype = dtype
        self._normalization = normalization
        self._renew_after = renew_after
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._ends: NDArray[np.float64] = np.empty(0)
        self._changed = 0

    @property
    def alpha(self) -> float:
        """Exponent of ranks."""
        return self._alpha

    @property
    def beta(self) -> float:
        """Exponent of the next batch's weights."""
        return self._rows.beta

    @beta.setter
    def beta(self, beta: float | LinearAnnealing) -> None:
        self._rows.beta = beta

    @property
    def max_priority(self) -> float:
        """The largest priority of a row stored; 1 when there is no row, or none above 0."""
        return self._rows.max_priority

    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Sampler.sample`; `batch_size` may be greater than the number of rows."""
        self._rows.take_in(storage)
        self._renew(len(storage))
        count = len(self._order)
        ends = self._ends[:count]
        total = float(ends[-1])
        place = ends.searchsorted(stratified_targets(batch_size, total, generator), side="right")
        place = np.minimum(place, count - 1)
        rows = self._order.take(place)
        weights = torch.from_numpy(self._weights(place.astype(np.float64) + 1.0, total, count))
        device = storage.device
        info = {
            "_weight": weights.to(device, self._dtype),
            "_stamp": torch.from_numpy(self._rows.stamps(rows)).to(device),
        }
        return torch.from_numpy(rows).to(device), info

    def _weights(self, rank: NDArray[np.float64], total: float, count: int) -> NDArray[np.float64]:
        beta = self._rows.step_beta()
        if self._normalization == "none":
            relative: NDArray[np.float64] = rank**self._alpha * (total / count)
            return relative**beta
        lowest = count if self._normalization == "buffer" else rank[-1]
        weights: NDArray[np.float64] = (rank / lowest) ** (self._alpha * beta)
        return weights

    def _renew(self, count: int) -> None:
        """Sort the rows anew if enough of them have changed; those that have not are in order already."""
        known = len(self._order)
        due = self._renew_after if self._renew_after is not None else max(1, count // 100)
        if known and self._changed < due:
            return
        order = np.concatenate([self._order, np.arange(known, count)])
        self._order = order[np.argsort(-self._rows.leaves.take(order), kind="stable")]
        self._changed = 0
        if len(self._ends) < count:
            reach = max(count, min(2 * len(self._ends), len(self._rows.leaves)))
            self._ends = (np.arange(1, reach + 1) ** -self._alpha).cumsum()

    def take_in(self, storage: Storage) -> None:
        """See `PrioritizedSampler.take_in`."""
        self._rows.take_in(storage)

    def update_priority(self, index: Numbers, priority: Numbers, stamp: Tensor | None = None) -> None:
        """See `Sampler.update_priority`."""
        self._rows.update_priority(index, priority, stamp)
        self._changed += index.shape[0] if isinstance(index, Tensor) and index.ndim else int(np.size(index))

    def check_priority(self, priority: Tensor, count: int) -> None:
        """See `Sampler.check_priority`."""
        self._rows.check_priority(priority, count)

    def mark(self) -> Any:
        """How far the schedule of beta has come, and the ranks."""
        return self._rows.mark(), self._order, self._changed

    def rewind(self, mark: Any) -> None:
        """See `Sampler.rewind`."""
        step, self._order, self._changed = mark
        self._rows.rewind(step)

    def extend(self, storage: Storage, index: Tensor) -> None:
        """The rows enter with the largest priority."""
        self._rows.extend(storage, index)
        self._changed += index.numel()

    def add(self, storage: Storage, index: int) -> None:
        """The row enters with the largest priority."""
        self._rows.add(storage, index)
        self._changed += 1

    def overwrite(self, storage: Storage, where: Where) -> None:
        """The rows enter with the largest priority."""
        self._rows.overwrite(storage, where)
        if isinstance(where, int):
            self._changed += 1
        else:
            self._changed += where.stop - where.start if isinstance(where, slice) else where.numel()

    def restart(self) -> None:
        """Nothing is remembered between batches."""

    def clear(self) -> None:
        """Forget all priorities; the schedule of beta goes on."""
        self._rows.clear()
        self._order = self._order[:0]
        self._changed = 0

    def settings(self) -> dict[str, Any]:
        """All but capacity and dtype."""
        return {**self._rows.settings(), "alpha": self._alpha, "renew_after": self._renew_after}

    def state_dict(self) -> dict[str, Any]:
        """Priorities, as of a `PrioritizedSampler` with alpha 1 and eps 0; rows by rank, and changes since then."""
        order = torch.from_numpy(self._order.copy())
        return {"priorities": self._rows.state_dict(), "order": order, "changed": self._changed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        self._rows.load_state_dict(state["priorities"])
        self._order = state["order"].cpu().numpy().copy()
        self._changed = state["changed"]
        self._ends = (np.arange(1, len(self._order) + 1) ** -self._alpha).cumsum()

    def __repr__(self) -> str:
        return f"{_NAME}(max_capacity={len(self._rows.leaves)}, alpha={self._alpha}, beta={self.beta})"


_NAME = "RankPrioritizedSampler"
