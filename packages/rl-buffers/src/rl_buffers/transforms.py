"""What a replay buffer asks of its transforms: to be callable, and perhaps to act on what is stored."""

from collections.abc import Callable
from typing import Any, Protocol, final, runtime_checkable

from torch import nn

from rl_buffers._multi_step import MultiStep
from rl_buffers._reward_to_go import RewardToGo

__all__ = ["InverseTransform", "InvertedTransform", "KeepingTransform", "MultiStep", "RewardToGo"]


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


@final
class InvertedTransform(nn.Module):
    """A transform turned round: it acts on what is stored, and its inverse, where it has one, on batches.

    Args:
        transform: a callable; with a method `inv`, that is its inverse.
    """

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, batch: Any) -> Any:
        """A batch that was read, through the inverse."""
        return self.transform.inv(batch) if isinstance(self.transform, InverseTransform) else batch

    def inv(self, data: Any) -> Any:
        """What is to be stored of `data`, through the transform."""
        return self.transform(data)
