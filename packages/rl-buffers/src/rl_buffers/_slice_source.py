"""What slice samplers share: the stored trajectories, and rows of slices cut out of them."""

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from rl_buffers._boundaries import Boundaries
from rl_buffers._slice_form import SliceCut, SliceForm
from rl_buffers._slice_marks import SliceMarks
from rl_buffers._storage import Storage
from rl_buffers._tally import Tally
from rl_buffers._trajectory_index import Numbers, TrajectoryIndex, Weigh
from rl_specs import NestedKey, message


@final
class SliceSource:
    """Draws slices and turns them into rows of the storage.

    Args:
        form: what a slice is.
        boundaries: where trajectories end.
        truncated_key: see `SliceSampler`.
    """

    def __init__(self, form: SliceForm, boundaries: Boundaries, truncated_key: NestedKey | None) -> None:
        self.index = TrajectoryIndex(boundaries)
        self.boundaries = boundaries
        self._form = form
        self._marks = SliceMarks(truncated_key, boundaries)
        self._cuts: dict[int, SliceCut] = {}
        self._weighs: dict[int, Weigh] = {}

    def cut(self, batch_size: int) -> SliceCut:
        """Number and length of the slices in a batch; see `SliceForm.cut`."""
        cut = self._cuts.get(batch_size)
        if cut is None:
            cut = self._cuts[batch_size] = self._form.cut(batch_size)
            self._weighs.setdefault(cut.length, cut.weigh)
        return cut

    def update(self, storage: Storage, cut: SliceCut) -> Tally:
        """Bring the index up to date; see `TrajectoryIndex.update`."""
        return self.index.update(storage, self._weighs[cut.length])

    def draw(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[Any, Tensor]]:
        """Rows of `batch_size / length` slices drawn with replacement, and flags; see `Sampler.sample`."""
        cut = self.cut(batch_size)
        begin, length = self.choose(storage, cut, cut.count, generator)
        return self.rows(storage, begin, None if cut.is_even else length, cut)

    def choose(
        self, storage: Storage, cut: SliceCut, count: int, generator: torch.Generator | None
    ) -> tuple[Numbers, Numbers]:
        """First step and length, `[count]` each, of slices drawn with replacement.

        Raises:
            RuntimeError: no trajectory is long enough.
        """
        tally = self.update(storage, cut)
        total = tally.total
        if not total:
            raise self.too_short(cut)
        if cut.uniform_over == "starts":
            slots, place = tally.find(draw_integers(total, count, generator))
            first, lengths = self.index.extents(slots)
        else:
            drawn = draw_integers(2**62, 2 * count, generator)
            slots, _ = tally.find(drawn[:count] % total)
            first, lengths = self.index.extents(slots)
            place = drawn[count:] % cut.places(lengths)
        offset, length = cut.lay(lengths, place)
        return first + offset * self.index.ring.lanes, length

    def too_short(self, cut: SliceCut) -> RuntimeError:
        """Error for stored trajectories of which none holds a slice."""
        slots = self.index.slots()
        longest = int(self.index.extents(slots)[1].max())
        fix = "Store longer trajectories, ask for shorter slices, or give strict_length=False"
        problem = "no stored trajectory is as long as a slice"
        expected, found = f"at least {cut.length} steps", f"at most {longest} steps in one trajectory"
        return RuntimeError(message(self._form.component, problem, expected=expected, found=found, fix=fix))

    def rows(
        self, storage: Storage, begin: Numbers, length: Numbers | None, cut: SliceCut
    ) -> tuple[Tensor, dict[Any, Tensor]]:
        """Rows of slices, one slice after another, and what the batch says of them.

        Args:
            storage: where the rows are.
            begin: `[n]`, first step of each slice.
            length: `[n]`, steps in each; None where all have `cut.length`.
            cut: what the slices are.
        """
        ring = self.index.ring
        first = (begin + ring.base) % ring.size
        if length is None:
            table = first[:, None] + np.arange(0, cut.length * ring.lanes, ring.lanes)
            rows = table.reshape(-1)
            is_last = np.zeros(len(rows), dtype=np.bool_)
            is_last[cut.length - 1 :: cut.length] = True
        else:
            stops = length.cumsum()
            inside = np.arange(int(stops[-1])) - (stops - length).repeat(length)
            rows = first.repeat(length) + inside * ring.lanes
            is_last = np.zeros(len(rows), dtype=np.bool_)
            is_last[stops - 1] = True
        rows -= (rows >= ring.size) * ring.size
        index, flags = torch.from_numpy(rows), torch.from_numpy(is_last)
        if storage.device.type != "cpu":
            index, flags = index.to(storage.device), flags.to(storage.device)
        return index, self._marks.info(storage, index, flags)

    def clear(self) -> None:
        """The storage was emptied."""
        self.index.ring.clear()
        self._marks.forget()

    def settings(self) -> dict[str, Any]:
        """What a slice is and where trajectories end."""
        form = self._form
        sizes = {"num_slices": form.num_slices, "slice_len": form.slice_len, "strict_length": form.strict_length}
        return {**sizes, "span": form.span, "uniform_over": form.uniform_over, **self.boundaries.settings()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the ring; trajectories are found again when the next slices are drawn."""
        self.index.ring.load_state_dict(state)
        self._marks.forget()


def draw_integers(high: int, count: int, generator: torch.Generator | None) -> Numbers:
    """`count` integers, uniform in `[0, high)`: drawn where the generator is."""
    device = None if generator is None else generator.device
    drawn: Numbers = torch.randint(0, high, (count,), generator=generator, device=device).cpu().numpy()
    return drawn
