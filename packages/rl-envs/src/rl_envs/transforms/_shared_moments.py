"""Running moments that several objects, in this process or in others, update and read in turns."""

from collections.abc import Sequence
from typing import Any, final

from rl_envs.transforms._shared_statistics import SharedStatistics
from rl_envs.transforms.running_moments import RunningMoments


@final
class SharedMoments:
    """A set of moments that follows statistics in shared memory.

    Copies and pickles follow the same statistics, each with moments of its own.

    Args:
        moments: what is shared; the statistics start as they are.
    Raises:
        RuntimeError: the system cannot share them.
    """

    def __init__(self, moments: Sequence[RunningMoments]) -> None:
        self._moments = list(moments)
        self._statistics = SharedStatistics(sum(each.size for each in self._moments))
        self._seen = -1
        self._views: tuple[list[Any], list[Any]] | None = None
        self.publish()

    def publish(self) -> None:
        """Take a turn to make the statistics those of the moments, whatever others have made of them."""
        with self._statistics:
            self.push()

    def __enter__(self) -> None:
        """Wait for a turn, and bring the moments up to date."""
        self._statistics.__enter__()
        version = self._statistics.version
        if version != self._seen:
            for each, numbers in zip(self._moments, self._parts()[version % 2], strict=True):
                each.read_from(numbers)
            self._seen = version

    def __exit__(self, *error: Any) -> None:
        """End the turn; moments that changed in it and were not pushed are read again in the next one."""
        self._statistics.__exit__(*error)

    def forget(self) -> None:
        """Take the moments for out of date: they may have changed."""
        self._seen = -1

    def push(self) -> None:
        """Make the statistics those of the moments, during a turn."""
        spare = self._parts()[(self._statistics.version + 1) % 2]
        for each, numbers in zip(self._moments, spare, strict=True):
            each.write_to(numbers)
        self._statistics.switch()
        self._seen = self._statistics.version

    def _parts(self) -> tuple[list[Any], list[Any]]:
        """For each half of the memory, the arrays that `count`, `mean` and `m2` of each of the moments have there."""
        if self._views is None:
            self._views = self._split(self._statistics.halves[0]), self._split(self._statistics.halves[1])
        return self._views

    def _split(self, numbers: Any) -> list[Any]:
        parts, start = [], 0
        for each in self._moments:
            parts.append(each.split(numbers[start : start + each.size]))
            start += each.size
        return parts

    def __getstate__(self) -> dict[str, Any]:
        """Without the arrays, which a copy would not share with the memory."""
        return {**self.__dict__, "_views": None}
