"""What slice samplers share: the stored trajectories, and rows of slices cut out of them."""

from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._boundaries import Boundaries
from rl_buffers._slice_form import SliceCut, SliceForm
from rl_buffers._slice_marks import SliceMarks
from rl_buffers._storage import Storage
from rl_buffers._tally import Tally
from rl_buffers._trajectory_index import TrajectoryIndex, Weigh
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
    ) -> tuple[Tensor, Tensor]:
        """First step and length, int64 `[count]` each, of slices drawn with replacement.

        Raises:
            RuntimeError: no trajectory is long enough.
        """
        tally = self.update(storage, cut)
        total = tally.total
        if not total:
            raise self.too_short(cut)
        slots, place = tally.find(draw_integers(total, count, generator))
        first, lengths = self.index.extents(slots)
        if cut.uniform_over == "trajectories":
            place = draw_integers(2**62, count, generator) % cut.places(lengths)
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
        self, storage: Storage, begin: Tensor, length: Tensor | None, cut: SliceCut
    ) -> tuple[Tensor, dict[Any, Tensor]]:
        """Rows of slices, one slice after another, and what the batch says of them.

        Args:
            storage: where the rows are.
            begin: int64 `[n]`, first step of each slice.
            length: int64 `[n]`, steps in each; None where all have `cut.length`.
            cut: what the slices are.
        """
        ring = self.index.ring
        if length is None:
            steps = (begin.unsqueeze(1) + torch.arange(0, cut.length * ring.lanes, ring.lanes)).view(-1)
            is_last = torch.zeros(len(begin), cut.length, dtype=torch.bool)
            is_last[:, -1] = True
            is_last = is_last.view(-1)
        else:
            stops = length.cumsum(0)
            inside = torch.arange(int(stops[-1])) - (stops - length).repeat_interleave(length)
            steps = begin.repeat_interleave(length) + inside * ring.lanes
            is_last = torch.zeros(len(steps), dtype=torch.bool)
            is_last[stops - 1] = True
        rows = ring.rows_of(steps)
        if storage.device.type != "cpu":
            rows, is_last = rows.to(storage.device), is_last.to(storage.device)
        return rows, self._marks.info(storage, rows, is_last)

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


def draw_integers(high: int, count: int, generator: torch.Generator | None) -> Tensor:
    """`count` integers, uniform in `[0, high)`, on the CPU: drawn where the generator is."""
    if generator is None or generator.device.type == "cpu":
        return torch.randint(0, high, (count,), generator=generator)
    return torch.randint(0, high, (count,), generator=generator, device=generator.device).cpu()
