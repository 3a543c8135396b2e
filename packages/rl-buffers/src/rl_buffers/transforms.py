"""What a replay buffer asks of its transforms: to be callable, and perhaps to act on what is stored."""

from typing import Any, Protocol, runtime_checkable

from rl_buffers._multi_step import MultiStep
from rl_buffers._reward_to_go import RewardToGo

__all__ = ["InverseTransform", "KeepingTransform", "MultiStep", "RewardToGo"]


@runtime_checkable
class InverseTransform(Protocol):
    """A transform that acts on data before they are stored too; any other callable acts on batches alone.

    A transform may keep rows back until it has seen what follows them, and give them with later ones.
    """

    def __call__(self, batch: Any, /) -> Any:
        """A batch that was read, transformed; see `ReplayBuffer.append_transform`."""

    def inv(self, data: Any, /) -> Any:
        """What is to be stored of `data`, rows along the first dimension; `data` itself is not changed.

        Args:
            data: rows given to `extend`, or the one given to `add` as a batch of one.
        Returns:
            Rows, of which there may be more, fewer or none.
        """


@runtime_checkable
class KeepingTransform(InverseTransform, Protocol):
    """An `InverseTransform` that keeps rows back from one call to the next."""

    def clear(self) -> None:
        """Forget the rows that are kept back; called when the buffer is emptied."""
