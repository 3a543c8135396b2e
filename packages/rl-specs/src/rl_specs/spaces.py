"""What the elements of a spec may be: small frozen records, read as `spec.space`."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class ContinuousBox:
    """Elements between two bounds, both included.

    Args:
        low: lowest values, of the shape and dtype of the spec.
        high: highest values, likewise.
    """

    low: Tensor
    high: Tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ContinuousBox):
            return NotImplemented
        return _same(self.low, other.low) and _same(self.high, other.high)

    def __hash__(self) -> int:
        return hash((tuple(self.low.shape), self.low.dtype))

    def __repr__(self) -> str:
        return f"ContinuousBox(low={bound_str(self.low)}, high={bound_str(self.high)})"


@dataclass(frozen=True)
class CategoricalBox:
    """One of `n` categories, numbered from 0."""

    n: int


@dataclass(frozen=True)
class MultiCategoricalBox:
    """Several categorical variables side by side, the i-th with `nvec[i]` categories."""

    nvec: tuple[int, ...]

    @property
    def boxes(self) -> tuple[CategoricalBox, ...]:
        """One box for each variable."""
        return tuple(CategoricalBox(n) for n in self.nvec)


@dataclass(frozen=True)
class BinaryBox:
    """`n` variables, each 0 or 1."""

    n: int


def bound_str(bound: Tensor) -> str:
    """A bound in a few characters: one number, the numbers, or their range."""
    values = bound.detach().flatten()
    if values.numel() == 0:
        return "[]"
    least, greatest = values.min().item(), values.max().item()
    if least == greatest:
        return f"{least:g}" if isinstance(least, float) else str(least)
    if values.numel() <= 6:
        return "[" + ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values.tolist()) + "]"
    return f"{least:.4g}..{greatest:.4g}"


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and bool((a == b).all())
