"""Where trajectories end, as the rows themselves say."""

from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._ring import Ring
from rl_buffers._storage import Storage
from rl_specs import MissingKeyError, NestedKey, ShapeError, canonical_key, message

_EPISODE: NestedKey = "episode"
_COLLECTED: NestedKey = ("collector", "traj_ids")
_DONE: NestedKey = ("next", "done")


@final
class Boundaries:
    """Ends of trajectories, by a flag on the last step, by ids that change from one step to the next, or by both.

    Args:
        component: whose they are, for messages.
        end_key: entry that is true on the last step of a trajectory; of several elements any one does.
        traj_key: entry with an id of the trajectory, of any shape and dtype. With neither key, `"episode"` where the
            rows have such an entry, else `("next", "done")` and, where the rows have it, `("collector", "traj_ids")`.
        ends: bool `[n]`, given instead of an entry `end_key` of the rows.
        trajectories: `[n, ...]`, given instead of an entry `traj_key`.
    Raises:
        ValueError: keys and tensors are given for the same thing.
    """

    def __init__(
        self,
        component: str,
        *,
        end_key: NestedKey | None = None,
        traj_key: NestedKey | None = None,
        ends: Tensor | None = None,
        trajectories: Tensor | None = None,
    ) -> None:
        self._component = component
        tensors, keys = (ends, trajectories), (end_key, traj_key)
        if any(value is not None for value in tensors) and any(key is not None for key in keys):
            fix = "Leave out end_key and traj_key, or ends and trajectories"
            raise ValueError(message(component, "keys and tensors both say where trajectories end", fix=fix))
        self._end_key = None if end_key is None else canonical_key(end_key)
        self._traj_key = None if traj_key is None else canonical_key(traj_key)
        self._settings = {"end_key": self._end_key, "traj_key": self._traj_key}
        self._ends = None if ends is None else ends.detach().to("cpu", copy=True).reshape(-1)
        self._ids = None if trajectories is None else trajectories.detach().to("cpu", copy=True)
        self._is_resolved = any(value is not None for value in (*tensors, *keys))

    @property
    def end_key(self) -> NestedKey | None:
        """The entry that flags last steps, where one does."""
        return self._end_key

    @property
    def has_ids(self) -> bool:
        """Whether the end of a trajectory is known only when the next step has been written."""
        return self._traj_key is not None or self._ids is not None

    def settings(self) -> dict[str, Any]:
        """The keys, as they were given."""
        return dict(self._settings)

    def resolve(self, storage: Storage) -> None:
        """Decide which entry to read, where neither key was given.

        Raises:
            ShapeError: `ends` or `trajectories` have another number of rows than the storage.
        """
        if not self._is_resolved:
            self._is_resolved = True
            self._traj_key = id_entry(storage)
            self._end_key = None if self._traj_key == _EPISODE else _DONE
        for name, value in (("ends", self._ends), ("trajectories", self._ids)):
            if value is not None and len(value) != len(storage):
                fix = "They hold for a fixed set of rows; for rows that are still written give end_key or traj_key"
                problem, expected, found = f"rows of {name}", len(storage), len(value)
                raise ShapeError(message(self._component, problem, expected=expected, found=found, fix=fix))

    def flags(self, storage: Storage, ring: Ring, low: int, high: int) -> Tensor:
        """Whether trajectories end with the steps `low` to `high - 1`, bool `[n]`; with ids the newest never do."""
        is_last = torch.zeros(high - low, dtype=torch.bool)
        stop = min(high, ring.stop - ring.lanes) if self.has_ids else high
        if stop <= low:
            return is_last
        if self._end_key is not None or self._ends is not None:
            is_last[: stop - low] = self._end_flags(storage, ring.rows(low, stop))
        if self.has_ids:
            ids = self._id_rows(storage, ring.rows(low, stop + ring.lanes))
            is_last[: stop - low] |= _differ(ids[: -ring.lanes], ids[ring.lanes :])
        return is_last

    def flags_of(self, storage: Storage, ring: Ring, steps: Tensor) -> Tensor:
        """`flags` of steps that need not lie side by side, int64 `[n]`."""
        is_last = torch.zeros(len(steps), dtype=torch.bool)
        is_known = steps < (ring.stop - ring.lanes if self.has_ids else ring.stop)
        known = steps[is_known]
        if not len(known):
            return is_last
        if self._end_key is not None or self._ends is not None:
            is_last[is_known] = self._end_flags(storage, ring.rows_of(known))
        if self.has_ids:
            here = self._id_rows(storage, ring.rows_of(known))
            is_last[is_known] |= _differ(here, self._id_rows(storage, ring.rows_of(known + ring.lanes)))
        return is_last

    def _end_flags(self, storage: Storage, rows: Tensor | slice) -> Tensor:
        if self._ends is not None:
            return self._ends[rows].bool()
        assert self._end_key is not None
        flags = self._read(storage, self._end_key, "end_key", rows)
        count = flags.shape[0]
        flags = flags.view(count) if flags.numel() == count else flags.reshape(count, -1).any(1)
        return flags.to("cpu", torch.bool)

    def _id_rows(self, storage: Storage, rows: Tensor | slice) -> Tensor:
        if self._ids is not None:
            ids = self._ids[rows]
        else:
            assert self._traj_key is not None
            ids = self._read(storage, self._traj_key, "traj_key", rows)
        return ids.reshape(ids.shape[0], -1)

    def _read(self, storage: Storage, key: NestedKey, argument: str, rows: Tensor | slice) -> Tensor:
        try:
            return storage.read_entry(key, rows)
        except MissingKeyError as error:
            fix = f"It says where trajectories end: name another entry with {self._component}({argument}=...)"
            raise MissingKeyError(f"{self._component}: {error} {fix}.") from error


def id_entry(storage: Storage) -> NestedKey | None:
    """The entry that has ids of trajectories by its name: `"episode"` or `("collector", "traj_ids")`."""
    return next((key for key in (_EPISODE, _COLLECTED) if _has(storage, key)), None)


def _has(storage: Storage, key: NestedKey) -> bool:
    try:
        storage.read_entry(key, slice(0, 1))
    except MissingKeyError:
        return False
    return True


def _differ(left: Tensor, right: Tensor) -> Tensor:
    """Whether rows `[n, k]` differ, bool `[n]` on the CPU."""
    return (left != right).any(1).cpu()
