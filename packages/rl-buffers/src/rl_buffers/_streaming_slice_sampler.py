"""Slices of what is new, each once, and then of all that is stored."""

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from rl_buffers._boundaries import Boundaries
from rl_buffers._sampler import Sampler
from rl_buffers._slice_form import SliceForm
from rl_buffers._slice_source import SliceSource
from rl_buffers._storage import Storage, Where
from rl_specs import NestedKey


@final
class StreamingSliceSampler(Sampler):
    """Windows of the steps written since the last batch, each once, oldest first; then slices as of `SliceSampler`.

    Steps are cut into windows of `slice_len` steps, side by side, none across the end of a trajectory: the steps left
    over at an end are in no window, nor are those overwritten before a batch was drawn. Each window waits until it is
    drawn, or until one of its steps is overwritten. A batch is filled with waiting windows first; what they leave free
    is drawn with replacement from all that is stored. Rows replaced so that a trajectory ends inside a window put that
    window out of the queue; rows written in another order than that of a ring begin a new queue, of all that is stored.

    Args:
        slice_len: steps in a slice; a batch has `batch_size / slice_len` of them.
        end_key: see `SliceSampler`.
        traj_key: see `SliceSampler`.
        truncated_key: see `SliceSampler`.
    Raises:
        ValueError: `slice_len` is out of range.
    """

    def __init__(
        self,
        *,
        slice_len: int,
        end_key: NestedKey | None = None,
        traj_key: NestedKey | None = None,
        truncated_key: NestedKey | None = ("next", "truncated"),
    ) -> None:
        self._form = SliceForm("StreamingSliceSampler", None, slice_len, True, False)
        boundaries = Boundaries("StreamingSliceSampler", end_key=end_key, traj_key=traj_key)
        self._source = SliceSource(self._form, boundaries, truncated_key)
        self._length = slice_len
        self._generation = -1
        self._begin = torch.empty(0, dtype=torch.int64)
        self._seen = 0
        self._queue = torch.empty(0, dtype=torch.int64)
        self._is_replaced = False

    @property
    def slice_len(self) -> int:
        """Steps in a slice."""
        return self._length

    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Sampler.sample`.

        Raises:
            ValueError: `batch_size` is no multiple of `slice_len`.
            RuntimeError: no trajectory is as long as a slice.
        """
        source = self._source
        cut = source.cut(batch_size)
        source.update(storage, cut)
        self._take_in(storage)
        begin, self._queue = self._queue[: cut.count].numpy(), self._queue[cut.count :]
        if len(begin) < cut.count:
            more, _ = source.choose(storage, cut, cut.count - len(begin), generator)
            begin = np.concatenate([begin, more])
        return source.rows(storage, begin, None, cut)

    def _take_in(self, storage: Storage) -> None:
        """Cut what was written since the last call into windows, and drop those of which a step is gone."""
        ring = self._source.index.ring
        lanes = ring.lanes
        if self._generation != ring.generation:
            self._generation, self._seen = ring.generation, ring.start
            self._begin = ring.start + (torch.arange(lanes) - ring.start) % lanes
            self._queue = self._queue[:0]
        if int(self._begin.min()) < ring.start:  # also where all was seen: a window that had begun has lost a step
            self._begin = torch.maximum(self._begin, ring.start + (torch.arange(lanes) - ring.start) % lanes)
            self._seen = max(self._seen, ring.start)
        low = max(self._seen - lanes, ring.start) if self._source.boundaries.has_ids else self._seen
        flags = self._source.boundaries.flags(storage, ring, low, ring.stop)
        cuts = ring.cuts()
        flags[cuts[cuts >= low] - low] = True
        ends = low + flags.nonzero().squeeze(1)
        found = [self._windows(lane, ends[ends % lanes == lane]) for lane in range(lanes)]
        self._seen = ring.stop
        new = torch.cat(found)
        new = new[(new + (self._length - 1) * lanes).argsort(stable=True)]
        self._queue = torch.cat([self._queue[self._queue >= ring.start], new[new >= ring.start]])
        if self._is_replaced and len(self._queue):
            inside = self._queue.unsqueeze(1) + torch.arange(0, (self._length - 1) * lanes, lanes)
            is_cut = self._source.boundaries.flags_of(storage, ring, inside.view(-1)).view(inside.shape).any(1)
            self._queue = self._queue[~is_cut]
        self._is_replaced = False

    def _windows(self, lane: int, ends: Tensor) -> Tensor:
        """First steps of the windows completed in a lane; the next one begins after the last of them, or of `ends`."""
        lanes, size = self._source.index.ring.lanes, self._length * self._source.index.ring.lanes
        stop, begin = self._source.index.ring.stop, self._begin[lane : lane + 1]
        begins = torch.cat([begin, ends[ends >= begin] + lanes])
        stops = torch.cat([begins[1:], stop + (lane - torch.tensor([stop])) % lanes])
        counts = torch.div(stops - begins, size, rounding_mode="floor").clamp_min(0)
        self._begin[lane] = begins[-1] + counts[-1] * size
        before = counts.cumsum(0) - counts
        number = torch.arange(int(counts.sum())) - before.repeat_interleave(counts)
        return begins.repeat_interleave(counts) + number * size

    def mark(self) -> tuple[int, int, Tensor, Tensor, bool]:
        """The windows that wait, and where the next ones begin."""
        return self._generation, self._seen, self._begin.clone(), self._queue, self._is_replaced

    def rewind(self, mark: tuple[int, int, Tensor, Tensor, bool]) -> None:
        """See `Sampler.rewind`."""
        self._generation, self._seen, self._begin, self._queue, self._is_replaced = mark

    def restart(self) -> None:
        """Windows that wait go on waiting."""

    def clear(self) -> None:
        """Forget all trajectories and windows."""
        self._source.clear()

    def extend(self, storage: Storage, index: Tensor) -> None:
        """Rows were written; they are cut into windows when the next batch is drawn."""
        self._source.index.ring.extend(storage, index)

    def add(self, storage: Storage, index: int) -> None:
        """A row was written; it is looked at when the next batch is drawn."""
        self._source.index.ring.add(storage, index)

    def part(self, storage: Storage, rows: Tensor) -> None:
        """See `Sampler.part`: a trajectory ends with each of the rows."""
        self._source.index.ring.part(rows)

    def overwrite(self, storage: Storage, where: Where) -> None:
        """Rows were replaced; windows that an end now lies in wait no longer."""
        self._source.index.ring.replace(where)
        self._is_replaced = True

    def settings(self) -> dict[str, Any]:
        """What a slice is and where trajectories end."""
        return self._source.settings()

    def state_dict(self) -> dict[str, Any]:
        """Which step is in which row, the windows that wait, and where the next ones begin."""
        ring = self._source.index.ring
        is_known = self._generation == ring.generation
        windows = {
            "seen": self._seen,
            "begin": self._begin.clone(),
            "queue": self._queue.clone(),
            "is_replaced": self._is_replaced,
        }
        return {"ring": ring.state_dict(), "windows": windows if is_known else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        self._source.load_state_dict(state["ring"])
        windows = state["windows"]
        self._generation = -1
        if windows is not None:
            self._generation, self._seen = self._source.index.ring.generation, windows["seen"]
            self._begin, self._queue = windows["begin"].clone(), windows["queue"].clone()
            self._is_replaced = windows["is_replaced"]

    def __repr__(self) -> str:
        return f"StreamingSliceSampler(slice_len={self._length})"
