"""Slices of trajectories that begin in rows drawn by priority."""

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from rl_buffers._beta_schedule import LinearAnnealing
from rl_buffers._boundaries import Boundaries
from rl_buffers._prioritized_sampler import PrioritizedSampler
from rl_buffers._prioritized_sampler_base import Normalization
from rl_buffers._priority_values import Numbers, Reduction, row_array
from rl_buffers._sampler import Sampler
from rl_buffers._slice_form import SliceForm
from rl_buffers._slice_marks import SliceMarks
from rl_buffers._start_tree import StartTree
from rl_buffers._storage import Storage, Where
from rl_specs import NestedKey, message


@final
class PrioritizedSliceSampler(Sampler):
    """Slices of consecutive steps of stored trajectories, whose first rows are drawn by priority.

        P(i) = (p_i + eps)^alpha / sum_k (p_k + eps)^alpha
        w_i  = (N P(i))^-beta / norm

    where the sum is over the N rows in which a slice may begin: those that are followed by enough steps of the same
    trajectory. So a row near the end of a trajectory is drawn as part of a slice only, however large its priority is; a
    learner that wants it to count gives the first rows of slices the priority of the whole slice. Slices are drawn with
    replacement and lie as those of `SliceSampler` do; priorities are kept, updated and saved as by
    `PrioritizedSampler`.

    Batches carry `"_weight"`, that of the first row of the slice in all its rows, and `"_stamp"`.

    Args:
        max_capacity: number of rows, at least the storage's capacity.
        alpha: exponent of priorities, >= 0; 0 for uniform draws.
        beta: exponent of weights, >= 0: a number or a schedule.
        eps: added to every priority, >= 0.
        dtype: of the weights.
        reduction: what several priorities of one row amount to.
        max_priority_within_buffer: see `PrioritizedSampler`.
        normalization: see `PrioritizedSampler`; `"buffer"` looks at the rows in which a slice may begin.
        num_slices: slices in a batch; give either this or `slice_len`.
        slice_len: steps in a slice.
        end_key: see `SliceSampler`.
        traj_key: see `SliceSampler`.
        ends: see `SliceSampler`.
        trajectories: see `SliceSampler`.
        cache_values: see `SliceSampler`; the index of starts is kept in either case.
        truncated_key: see `SliceSampler`.
        strict_length: leave out trajectories shorter than a slice. If False such a trajectory is drawn whole, by the
            priority of its first row.
    Raises:
        ValueError: as for `PrioritizedSampler` and `SliceSampler`.
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
        num_slices: int | None = None,
        slice_len: int | None = None,
        end_key: NestedKey | None = None,
        traj_key: NestedKey | None = None,
        ends: Tensor | None = None,
        trajectories: Tensor | None = None,
        cache_values: bool = False,
        truncated_key: NestedKey | None = ("next", "truncated"),
        strict_length: bool = True,
    ) -> None:
        name = "PrioritizedSliceSampler"
        self._form = SliceForm(name, num_slices, slice_len, strict_length, False)
        self._boundaries = Boundaries(name, end_key=end_key, traj_key=traj_key, ends=ends, trajectories=trajectories)
        self._marks = SliceMarks(truncated_key, self._boundaries)
        self._rows = PrioritizedSampler(
            max_capacity,
            alpha,
            beta,
            eps=eps,
            dtype=dtype,
            reduction=reduction,
            max_priority_within_buffer=max_priority_within_buffer,
            normalization=normalization,
        )
        self._capacity = max_capacity
        self._dtype = dtype
        self._starts = StartTree(max_capacity, self._boundaries, strict_length)

    @property
    def alpha(self) -> float:
        """Exponent of priorities."""
        return self._rows.alpha

    @property
    def beta(self) -> float:
        """Exponent of the next batch's weights."""
        return self._rows.beta

    @beta.setter
    def beta(self, beta: float | LinearAnnealing) -> None:
        self._rows.beta = beta

    @property
    def max_priority(self) -> float:
        """The largest priority of a row stored, wherever it is in its trajectory."""
        return self._rows.max_priority

    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Sampler.sample`.

        Raises:
            ValueError: `batch_size` is no multiple of the number or length of slices.
            RuntimeError: no trajectory is long enough, or every row in which a slice may begin has priority 0.
        """
        cut = self._form.cut(batch_size)
        self._rows.take_in(storage)
        starts = self._starts
        starts.update(storage, cut.length, self._rows.leaves)
        if not starts.count:
            fix = "Store longer trajectories, ask for shorter slices, or give strict_length=False"
            expected = f"at least {cut.length} steps"
            problem = "no stored trajectory is as long as a slice"
            raise RuntimeError(message(self._form.component, problem, expected=expected, fix=fix))
        first, weights = self._rows.draw(starts.tree, starts.count, cut.count, generator)
        lengths = starts.lengths(first).astype(np.int64)
        stops = lengths.cumsum()
        inside = np.arange(int(stops[-1])) - (stops - lengths).repeat(lengths)
        rows = (first.repeat(lengths) + inside * starts.ring.lanes) % starts.ring.size
        is_last = torch.zeros(len(rows), dtype=torch.bool)
        is_last[torch.from_numpy(stops - 1)] = True
        device = storage.device
        index = torch.from_numpy(rows).to(device)
        info: dict[Any, Tensor] = self._marks.info(storage, index, is_last.to(device))
        info["_weight"] = torch.from_numpy(weights.repeat(lengths)).to(device, self._dtype)
        info["_stamp"] = torch.from_numpy(self._rows.stamps(rows)).to(device)
        return index, info

    def take_in(self, storage: Storage) -> None:
        """See `PrioritizedSampler.take_in`."""
        self._rows.take_in(storage)

    def update_priority(self, index: Numbers, priority: Numbers, stamp: Tensor | None = None) -> None:
        """See `Sampler.update_priority`."""
        self._rows.update_priority(index, priority, stamp)
        rows = row_array(index, self._capacity, "PrioritizedSliceSampler.update_priority")
        self._starts.refresh(rows, self._rows.leaves)

    def check_priority(self, priority: Tensor, count: int) -> None:
        """See `Sampler.check_priority`."""
        self._rows.check_priority(priority, count)

    def extend(self, storage: Storage, index: Tensor) -> None:
        """The rows enter with the largest priority."""
        self._rows.extend(storage, index)
        self._starts.ring.extend(storage, index)

    def add(self, storage: Storage, index: int) -> None:
        """The row enters with the largest priority."""
        self._rows.add(storage, index)
        self._starts.ring.add(storage, index)

    def part(self, storage: Storage, rows: Tensor) -> None:
        """See `Sampler.part`: a trajectory ends with each of the rows."""
        self._starts.ring.part(rows)

    def overwrite(self, storage: Storage, where: Where) -> None:
        """The rows enter with the largest priority; trajectories may now end elsewhere."""
        self._rows.overwrite(storage, where)
        self._starts.ring.replace(where)

    def mark(self) -> int:
        """How far the schedule of beta has come."""
        return self._rows.mark()

    def rewind(self, mark: int) -> None:
        """See `Sampler.rewind`."""
        self._rows.rewind(mark)

    def restart(self) -> None:
        """Nothing is remembered between batches."""

    def clear(self) -> None:
        """Forget all priorities and trajectories; the schedule of beta goes on."""
        self._rows.clear()
        self._starts.ring.clear()
        self._marks.forget()

    def settings(self) -> dict[str, Any]:
        """What a slice is, where trajectories end, and what priorities mean."""
        form = self._form
        sizes = {"num_slices": form.num_slices, "slice_len": form.slice_len, "strict_length": form.strict_length}
        return {**self._rows.settings(), **sizes, **self._boundaries.settings()}

    def state_dict(self) -> dict[str, Any]:
        """Priorities, and which step is in which row."""
        return {"priorities": self._rows.state_dict(), "ring": self._starts.ring.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        self._rows.load_state_dict(state["priorities"])
        self._starts.ring.load_state_dict(state["ring"])
        self._marks.forget()

    def __repr__(self) -> str:
        return f"PrioritizedSliceSampler({self._form}, {self._rows!r})"
