"""Errors of values on an accelerator: counted there, raised by a later call, so that nobody waits for them."""

from typing import final

import torch

from rl_specs import message

_BAD_PRIORITIES, _BAD_ROWS, _EMPTY = 0, 1, 2


@final
class Faults:
    """Counts of what went wrong on a device, and what the host has seen of them.

    On CUDA the counts are copied to pinned memory behind the work that may raise them; the host looks at what has
    arrived. On a CPU errors are raised where they are made, and there is nothing to count.

    `counts` `[2]` are those of bad priorities and rows, `empty` `[]` that of draws where there was nothing to draw.

    Args:
        component: whose errors they are.
        device: where they are counted.
    """

    def __init__(self, component: str, device: torch.device) -> None:
        self._component = component
        self._all = torch.zeros(3, dtype=torch.int64, device=device)
        self._seen = torch.zeros(3, dtype=torch.int64, pin_memory=True) if device.type == "cuda" else None
        self.counts = self._all[:_EMPTY]
        self.empty = self._all[_EMPTY]

    def look(self) -> None:
        """Ask for the counts to be copied to the host, some time."""
        if self._seen is not None:
            self._seen.copy_(self._all, non_blocking=True)

    def raise_seen(self) -> None:
        """Raise what the host has seen; see `raise_all`."""
        if self._seen is not None:
            self._raise(self._seen.tolist())

    def raise_all(self) -> None:
        """Wait for the device and raise what was counted.

        Raises:
            IndexError: rows out of range.
            RuntimeError: a draw where all priorities were zero, or their sum infinite.
            ValueError: priorities that were negative, infinite or not numbers.
        """
        self._raise(self._all.tolist())

    def clear(self) -> None:
        """Nothing has gone wrong so far."""
        self._all.zero_()
        if self._seen is not None:
            torch.cuda.synchronize(self._all.device)  # no copy of an older count may arrive afterwards
            self._seen.zero_()

    def _raise(self, counts: list[int]) -> None:
        if not any(counts):
            return
        self.clear()
        name = self._component
        if counts[_BAD_PRIORITIES]:
            problem = "priorities that earlier calls of update_priority were given; they were left out"
            found = f"{counts[_BAD_PRIORITIES]} others"
            fix = "Give absolute values, and look for what made the error if they are not numbers"
            raise ValueError(message(name, problem, expected="finite numbers >= 0", found=found, fix=fix))
        if counts[_BAD_ROWS]:
            problem = "row numbers that earlier calls of update_priority were given; they were left out"
            found = f"{counts[_BAD_ROWS]} others"
            raise IndexError(message(name, problem, expected="rows of the buffer", found=found))
        problem = "an earlier batch could not be drawn: all rows had priority 0, or priorities added up to infinity"
        raise RuntimeError(message(name, problem, fix="Call update_priority, or give eps > 0"))
