"""Passes over the stored trajectories: one slice of each, in random order."""

from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._boundaries import Boundaries
from rl_buffers._sampler import Sampler
from rl_buffers._slice_form import SliceCut, SliceForm, Span
from rl_buffers._slice_source import SliceSource, draw_integers
from rl_buffers._storage import Storage, Where
from rl_specs import NestedKey, message


@final
class SliceSamplerWithoutReplacement(Sampler):
    """One slice of each stored trajectory per pass, in random order, at a random place of the trajectory.

    No step is drawn twice in a pass, and a batch has at most one slice of a trajectory. A batch never spans two passes,
    so the last batch of a pass has fewer slices when the number of trajectories is no multiple of that of the slices
    (or is left out, with `drop_last`). Any `extend`, `add`, `buffer[...] = rows` or `empty` begins a new pass over the
    trajectories then stored. What a slice is, and which trajectories there are, is as for `SliceSampler`.

    Args:
        num_slices: slices in a batch, of `batch_size / num_slices` steps each; give either this or `slice_len`.
        slice_len: steps in a slice.
        drop_last: leave out the slices at the end of a pass that do not fill a batch.
        end_key: see `SliceSampler`.
        traj_key: see `SliceSampler`.
        ends: see `SliceSampler`.
        trajectories: see `SliceSampler`.
        truncated_key: see `SliceSampler`.
        strict_length: see `SliceSampler`.
        shuffle: False for the order in which the trajectories ended, those that go on first.
        span: see `SliceSampler`.
    Raises:
        ValueError: as for `SliceSampler`.
    """

    def __init__(
        self,
        *,
        num_slices: int | None = None,
        slice_len: int | None = None,
        drop_last: bool = False,
        end_key: NestedKey | None = None,
        traj_key: NestedKey | None = None,
        ends: Tensor | None = None,
        trajectories: Tensor | None = None,
        truncated_key: NestedKey | None = ("next", "truncated"),
        strict_length: bool = True,
        shuffle: bool = True,
        span: Span = False,
    ) -> None:
        name = "SliceSamplerWithoutReplacement"
        self._form = SliceForm(name, num_slices, slice_len, strict_length, span)
        boundaries = Boundaries(name, end_key=end_key, traj_key=traj_key, ends=ends, trajectories=trajectories)
        self._source = SliceSource(self._form, boundaries, truncated_key)
        self._drop_last = drop_last
        self._shuffle = shuffle
        self._order: Tensor | None = None
        self._position = 0

    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Sampler.sample`.

        Raises:
            ValueError: there are fewer trajectories than slices in a batch, with `drop_last`; or `batch_size` is no
                multiple of the number or length of slices.
            RuntimeError: no trajectory is long enough.
        """
        cut = self._source.cut(batch_size)
        if self.next_batch_size(storage, batch_size) == 0:
            self.restart()
        tally = self._source.update(storage, cut)
        if self._order is None:
            self._order = self._new_order(cut, tally.total, generator)
        slots = self._source.index.slots_at(self._order[self._position : self._position + cut.count].numpy())
        self._position += len(slots)
        first, length = self._source.index.extents(slots)
        place = draw_integers(2**62, len(slots), generator) % cut.places(length)
        offset, length = cut.lay(length, place)
        begin = first + offset * self._source.index.ring.lanes
        return self._source.rows(storage, begin, None if cut.is_even else length, cut)

    def _new_order(self, cut: SliceCut, count: int, generator: torch.Generator | None) -> Tensor:
        """Positions, among the slots of the index, of the `count` trajectories that are long enough."""
        if not count:
            raise self._source.too_short(cut)
        if self._drop_last and count < cut.count:
            fix = "Ask for fewer slices, store more trajectories, or use SliceSampler"
            problem = f"full batches of {cut.count} slices were asked for, without replacement"
            expected = f"at most the {count} trajectories that are long enough"
            raise ValueError(message(self._form.component, problem, expected=expected, fix=fix))
        index = self._source.index
        order = torch.from_numpy(cut.places(index.extents(index.slots())[1]).nonzero()[0])
        return order[_permutation(count, generator)] if self._shuffle else order

    def next_batch_size(self, storage: Storage, batch_size: int) -> int:
        """See `Sampler.next_batch_size`: `batch_size` also for a batch with fewer slices."""
        cut = self._source.cut(batch_size)
        tally = self._source.update(storage, cut)
        left = tally.total if self._order is None else len(self._order) - self._position
        return 0 if left == 0 or (self._drop_last and left < cut.count) else batch_size

    def mark(self) -> tuple[Tensor | None, int]:
        """Order of the pass and how far it has come."""
        return self._order, self._position

    def rewind(self, mark: tuple[Tensor | None, int]) -> None:
        """See `Sampler.rewind`."""
        self._order, self._position = mark

    def restart(self) -> None:
        """Begin a new pass, in a new order."""
        self._order = None
        self._position = 0

    def clear(self) -> None:
        """Forget all trajectories and begin a new pass."""
        self._source.clear()
        self.restart()

    def extend(self, storage: Storage, index: Tensor) -> None:
        """Begin a new pass, with the rows written."""
        self._source.index.ring.extend(storage, index)
        self.restart()

    def add(self, storage: Storage, index: int) -> None:
        """Begin a new pass, with the row written."""
        self._source.index.ring.add(storage, index)
        self.restart()

    def part(self, storage: Storage, rows: Tensor) -> None:
        """See `Sampler.part`: a trajectory ends with each of the rows."""
        self._source.index.ring.part(rows)

    def overwrite(self, storage: Storage, where: Where) -> None:
        """Begin a new pass: trajectories may now end elsewhere."""
        self._source.index.ring.replace(where)
        self.restart()

    def settings(self) -> dict[str, Any]:
        """What a slice is, where trajectories end, `drop_last` and `shuffle`."""
        return {**self._source.settings(), "drop_last": self._drop_last, "shuffle": self._shuffle}

    def state_dict(self) -> dict[str, Any]:
        """Which step is in which row, the order of the current pass and how far it has come."""
        order = None if self._order is None else self._order.clone()
        return {"ring": self._source.index.ring.state_dict(), "order": order, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        self._source.load_state_dict(state["ring"])
        self._order = None if state["order"] is None else state["order"].clone()
        self._position = state["position"]

    def __repr__(self) -> str:
        return f"SliceSamplerWithoutReplacement({self._form}, drop_last={self._drop_last}, shuffle={self._shuffle})"


def _permutation(count: int, generator: torch.Generator | None) -> Tensor:
    if generator is None or generator.device.type == "cpu":
        return torch.randperm(count, generator=generator)
    return torch.randperm(count, generator=generator, device=generator.device).cpu()
