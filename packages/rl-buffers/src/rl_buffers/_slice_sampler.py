"""Slices of trajectories, drawn with replacement."""

from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._boundaries import Boundaries
from rl_buffers._sampler import Sampler
from rl_buffers._slice_form import SliceForm, Span, UniformOver
from rl_buffers._slice_source import SliceSource
from rl_buffers._storage import Storage, Where
from rl_specs import NestedKey


@final
class SliceSampler(Sampler):
    """Slices of consecutive steps of stored trajectories, drawn with replacement.

    A batch holds the slices one after another, `[batch_size]` rows. A slice lies in one trajectory: it crosses no end
    of an episode and not the place where the ring is written next, and goes on from the last row to the first where its
    trajectory does. Each slice is drawn by itself: first a trajectory, all those that are long enough being equally
    likely, then a place in it, all equally likely; or, with `uniform_over="starts"`, a place among all places of all
    trajectories, so that each stored step is equally likely to be the first of a slice.

    Where trajectories lie is indexed as rows are written, at a cost in proportion to these, and found anew after rows
    were written in another order than that of a ring. What another buffer writes to the same storage in memory goes
    unnoticed while the number of rows stays the same. Iterating over the buffer never ends.

    Args:
        num_slices: slices in a batch, of `batch_size / num_slices` steps each; give either this or `slice_len`.
        slice_len: steps in a slice; a batch has `batch_size / slice_len` of them.
        end_key: entry, bool, that is true on the last step of a trajectory; of several elements any one counts.
        traj_key: entry with an id of the trajectory, of any shape and dtype; where it changes a trajectory ends. With
            both keys, either ends a trajectory. With neither, `"episode"` is taken for an id where the rows have such
            an entry; else `("next", "done")` is the flag, and `("collector", "traj_ids")` the id where there is one.
        ends: bool `[n]`, flags of the `n` rows stored, instead of an entry. For rows that do not change; the last of
            those that a storage was made with ends a trajectory in any case.
        trajectories: `[n, ...]`, ids of the `n` rows stored, instead of an entry.
        cache_values: whether rows are never changed by others than this buffer. The index is kept in either case.
        truncated_key: entry of the batch that is set true on the last step of each slice, and false elsewhere; so is
            `"done"` beside it. What the rows say of themselves stays true. A `TensorDictReplayBuffer` writes both into
            the batch, and `info` of `sample(return_info=True)` has them. None for neither.
        strict_length: leave out trajectories shorter than a slice. If False they are drawn whole, so that a batch may
            have fewer rows than asked for.
        span: let slices reach over the beginning and the end of a trajectory, and be cut there: by so many steps, or by
            all but one (True); a pair is for the beginning and the end. A batch may then have fewer rows.
        uniform_over: what is equally likely, see above.
    Raises:
        ValueError: not exactly one of `num_slices` and `slice_len`, or a value out of range.
    """

    def __init__(
        self,
        *,
        num_slices: int | None = None,
        slice_len: int | None = None,
        end_key: NestedKey | None = None,
        traj_key: NestedKey | None = None,
        ends: Tensor | None = None,
        trajectories: Tensor | None = None,
        cache_values: bool = False,
        truncated_key: NestedKey | None = ("next", "truncated"),
        strict_length: bool = True,
        span: Span = False,
        uniform_over: UniformOver = "trajectories",
    ) -> None:
        self._form = SliceForm("SliceSampler", num_slices, slice_len, strict_length, span, uniform_over)
        boundaries = Boundaries(
            "SliceSampler", end_key=end_key, traj_key=traj_key, ends=ends, trajectories=trajectories
        )
        self._source = SliceSource(self._form, boundaries, truncated_key)

    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Sampler.sample`.

        Raises:
            ValueError: `batch_size` is no multiple of the number or length of slices.
            RuntimeError: no trajectory is long enough.
            MissingKeyError: the rows do not have the entry that says where trajectories end.
        """
        return self._source.draw(storage, batch_size, generator)

    def restart(self) -> None:
        """Nothing is remembered between batches."""

    def clear(self) -> None:
        """Forget all trajectories."""
        self._source.clear()

    def extend(self, storage: Storage, index: Tensor) -> None:
        """Rows were written; they are looked at when the next batch is drawn."""
        self._source.index.ring.extend(storage, index)

    def add(self, storage: Storage, index: int) -> None:
        """A row was written; it is looked at when the next batch is drawn."""
        self._source.index.ring.add(storage, index)

    def part(self, storage: Storage, rows: Tensor) -> None:
        """See `Sampler.part`: a trajectory ends with each of the rows."""
        self._source.index.ring.part(rows)

    def overwrite(self, storage: Storage, where: Where) -> None:
        """Rows were replaced; whether trajectories now end elsewhere is looked at when the next batch is drawn."""
        self._source.index.ring.replace(where)

    def settings(self) -> dict[str, Any]:
        """What a slice is and where trajectories end."""
        return self._source.settings()

    def state_dict(self) -> dict[str, Any]:
        """Which step is in which row; trajectories are found again from the rows."""
        return self._source.index.ring.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        self._source.load_state_dict(state)

    def __repr__(self) -> str:
        return f"SliceSampler({self._form})"
