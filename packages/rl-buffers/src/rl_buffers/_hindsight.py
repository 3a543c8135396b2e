"""Which goals replace those of a batch in hindsight."""

from enum import StrEnum
from typing import Any, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rl_buffers._boundaries import id_entry
from rl_buffers._episode_index import EpisodeIndex
from rl_buffers._priority_values import Numbers
from rl_buffers._sampler import Sampler
from rl_buffers._storage import Storage, Where
from rl_buffers._writer import Writer
from rl_specs import NestedKey, ShapeError, key_str, message

Rows: TypeAlias = NDArray[np.int64]
_NONE = np.empty(0, dtype=np.int64)
_SEAM = "rows_since_seam"


class HindsightStrategy(StrEnum):
    """Where the goal of a relabelled row comes from. Each row stands for the state that its step led to."""

    FUTURE = "future"
    """A row of the same episode, the row itself or a later one."""
    FINAL = "final"
    """The last row of the same episode; of one that goes on, the last one stored."""
    EPISODE = "episode"
    """Any row of the same episode."""
    RANDOM = "random"
    """Any row of the buffer."""


def goal_rows(
    strategy: HindsightStrategy, episodes: EpisodeIndex, index: Rows, chance: NDArray[np.float64], length: int
) -> Rows:
    """Rows whose achieved goals replace the goals of others.

    Args:
        strategy: which rows come into question.
        episodes: of the ring.
        index: `[n]` rows that get a goal.
        chance: `[n]` in `[0, 1)`, uniform: which of the rows that come into question is taken.
        length: number of rows stored.
    Returns:
        `[n]` row numbers.
    Source: Andrychowicz et al. 2017, section 4.5, https://arxiv.org/abs/1707.01495
    """
    if strategy is HindsightStrategy.RANDOM:
        return np.minimum((chance * length).astype(np.int64), length - 1)
    lane, number, first, stop = episodes.bounds(index)
    if strategy is HindsightStrategy.FINAL:
        return episodes.rows(lane, stop - 1)
    low = number if strategy is HindsightStrategy.FUTURE else first
    span = stop - low
    return episodes.rows(lane, low + np.minimum((chance * span).astype(np.int64), span - 1))


@final
class HindsightSampler(Sampler):
    """Another sampler's rows, and for a part of them the row whose achieved goal replaces their goal.

    Args:
        sampler: chooses the rows.
        writer: the ring that they are written to.
        ratio: part of the rows that are relabelled, on average.
        strategy: where goals come from.
        end_key: entry that is true in the last row of an episode, `[1]` or `[]`.
        trajectory_key: entry that differs between the rows of different episodes; None for `"episode"` or
            `("collector", "traj_ids")` where the rows have one.
    """

    def __init__(
        self,
        sampler: Sampler,
        writer: Writer,
        *,
        ratio: float,
        strategy: HindsightStrategy,
        end_key: NestedKey,
        trajectory_key: NestedKey | None,
    ) -> None:
        self._sampler = sampler
        self.keeps_priorities = sampler.keeps_priorities
        self._writer = writer
        self._ratio = ratio
        self._strategy = strategy
        self._end_key = end_key
        self._trajectory_key = trajectory_key
        self._episodes: EpisodeIndex | None = None
        self._last: NDArray[Any] | None = None
        self._pending = 0
        self._is_told = False
        self._since_seams: list[int] = []

    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Sampler.sample`; adds `"goal_index"`, the row that each goal comes from, and `"is_relabelled"`."""
        index, info = self._sampler.sample(storage, batch_size, generator)
        episodes = self._up_to_date(storage)
        count = len(index)
        where = "cpu" if generator is None else generator.device
        chance = torch.rand(2, count, generator=generator, device=where, dtype=torch.float64).cpu()
        rows = index.cpu()
        is_relabelled = chance[0] < self._ratio
        goals = torch.from_numpy(goal_rows(self._strategy, episodes, rows.numpy(), chance[1].numpy(), len(storage)))
        info["goal_index"] = torch.where(is_relabelled, goals, rows).to(index.device)
        info["is_relabelled"] = is_relabelled.to(index.device)
        return index, info

    def _up_to_date(self, storage: Storage) -> EpisodeIndex:
        """Where episodes end among all rows; looks at those written since the last batch, or at all of them."""
        pending, self._pending = self._pending, 0
        lanes, size = storage.lanes, storage.max_size
        if self._episodes is not None and pending < size:
            if pending:
                start = self._episodes.written * lanes
                self._note(storage, self._episodes, torch.arange(start, start + pending).remainder_(size))
            return self._episodes
        if self._trajectory_key is None:
            self._trajectory_key = id_entry(storage)
        order = self._writer.order(storage)
        self._episodes = EpisodeIndex(size // lanes, lanes)
        self._episodes.extend(int(order[0]) // lanes, _NONE, _NONE)
        self._last = None
        self._note(storage, self._episodes, order)
        return self._episodes

    def _note(self, storage: Storage, episodes: EpisodeIndex, index: Tensor) -> None:
        """Rows `index` were written, one after the other; their episodes end where flags, ids or the seam say."""
        lanes = storage.lanes
        steps = len(index) // lanes
        is_new = np.zeros((lanes, steps + 1), dtype=np.bool_)  # whether an episode ends before a step
        is_new[:, 1:] = _by_lane(storage.read_entry(self._end_key, index), self._end_key, lanes) != 0
        if self._trajectory_key is not None:
            name = _by_lane(storage.read_entry(self._trajectory_key, index), self._trajectory_key, lanes)
            is_new[:, 1:steps] |= name[:, 1:] != name[:, :-1]
            if self._last is not None:
                is_new[:, 0] = self._last != name[:, 0]
            self._last = name[:, -1].copy()
        for since in self._since_seams:
            if since <= len(index):
                is_new[:, steps - since // lanes] = True
        episodes.extend(steps, *is_new.nonzero())

    def next_batch_size(self, storage: Storage, batch_size: int) -> int:
        """See `Sampler.next_batch_size`."""
        return self._sampler.next_batch_size(storage, batch_size)

    def mark(self) -> Any:
        """See `Sampler.mark`."""
        return self._sampler.mark()

    def rewind(self, mark: Any) -> None:
        """See `Sampler.rewind`."""
        self._sampler.rewind(mark)

    def restart(self) -> None:
        """See `Sampler.restart`."""
        self._sampler.restart()

    def clear(self) -> None:
        """Forget the episodes."""
        self._episodes = None
        self._is_told = True
        self._since_seams = []
        self._sampler.clear()

    def extend(self, storage: Storage, index: Tensor) -> None:
        """See `Sampler.extend`; episodes are looked for when the next batch is drawn."""
        self._count(storage, len(index))
        self._sampler.extend(storage, index)

    def add(self, storage: Storage, index: int) -> None:
        """See `Sampler.add`."""
        self._count(storage, 1)
        self._sampler.add(storage, index)

    def _count(self, storage: Storage, written: int) -> None:
        """Rows were written. Those that were there before the first ones were not followed by them."""
        if not self._is_told:
            self._is_told = True
            if len(storage) > written:
                self._since_seams, self._episodes = [0], None
        self._pending += written
        if self._since_seams:
            self._since_seams = [since + written for since in self._since_seams if since + written < len(storage)]

    def part(self, storage: Storage, rows: Tensor) -> None:
        """See `Sampler.part`: an episode ends with each of the rows."""
        newest = int(self._writer.order(storage)[-1])
        self._since_seams += [since for since in ((newest - rows) % storage.max_size).tolist() if since < len(storage)]
        self._episodes = None
        self._sampler.part(storage, rows)

    def overwrite(self, storage: Storage, where: Where) -> None:
        """See `Sampler.overwrite`; all episodes are looked for again when the next batch is drawn."""
        self._episodes = None
        self._sampler.overwrite(storage, where)

    def take_in(self, storage: Storage) -> None:
        """See `Sampler.take_in`."""
        self._sampler.take_in(storage)

    def update_priority(self, index: Numbers, priority: Numbers, stamp: Tensor | None = None) -> None:
        """See `Sampler.update_priority`."""
        self._sampler.update_priority(index, priority, stamp)

    def check_priority(self, priority: Tensor, count: int) -> None:
        """See `Sampler.check_priority`."""
        self._sampler.check_priority(priority, count)

    def settings(self) -> dict[str, Any]:
        """Those of the sampler inside, and how goals are chosen."""
        return {
            "sampler": self._sampler.kind,
            "sampler_settings": self._sampler.settings(),
            "strategy": str(self._strategy),
            "ratio": self._ratio,
        }

    def state_dict(self) -> dict[str, Any]:
        """That of the sampler inside, and how many rows were written since others that they do not follow.

        Episodes are found again in the rows.
        """
        return {**self._sampler.state_dict(), _SEAM: list(self._since_seams)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        self._episodes = None
        self._is_told = True
        self._since_seams = list(state.get(_SEAM, []))
        self._sampler.load_state_dict({name: value for name, value in state.items() if name != _SEAM})

    def __repr__(self) -> str:
        return f"HindsightSampler({self._sampler!r}, ratio={self._ratio}, strategy={str(self._strategy)!r})"


def _by_lane(entry: Tensor, key: NestedKey, lanes: int) -> NDArray[Any]:
    """`[lanes, steps]` from the entries `[n]` or `[n, 1]` of rows in the order of time."""
    if entry.numel() != len(entry):
        fix = "Name an entry of one value a row with end_key or trajectory_key"
        problem = f"the entry {key_str(key)}"
        raise ShapeError(
            message("HERReplayBuffer", problem, expected="one value a row", found=list(entry.shape), fix=fix)
        )
    array: NDArray[Any] = entry.cpu().numpy().reshape(-1, lanes).T
    return array
