"""Shape operations as functions of a tensor that touch its leading dimensions only.

The same function then serves a leaf spec (all dimensions are leading) and each entry of a `Composite` (the leading
ones are its batch dimensions).
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Size, Tensor

from rl_specs.errors import ShapeError, message

ShapeOp: TypeAlias = Callable[[list[Tensor]], Tensor]
SizeLike: TypeAlias = int | Sequence[int]


def as_size(shape: SizeLike) -> Size:
    """`shape` as a `torch.Size`; an int is one dimension."""
    return Size((shape,)) if isinstance(shape, int) else Size(shape)


def as_sizes(sizes: tuple[SizeLike, ...]) -> Size:
    """Sizes given one by one or as one sequence."""
    if len(sizes) == 1 and not isinstance(sizes[0], int):
        return Size(sizes[0])
    return Size([size for size in sizes if isinstance(size, int)])


def dummy(shape: Size, device: torch.device | None) -> Tensor:
    """A tensor of a shape that takes one byte of memory, to run shape operations on."""
    return torch.zeros((), dtype=torch.bool, device=device).expand(shape)


def check_dim(dim: int, ndim: int, component: str) -> int:
    """`dim` counted from the front.

    Raises:
        IndexError: `dim` is not one of `ndim` dimensions.
    """
    if not -ndim <= dim < ndim:
        problem = f"dimension {dim} does not exist"
        raise IndexError(message(component, problem, expected=f"{-ndim} <= dim < {ndim}", found=dim))
    return dim % ndim


def solve_sizes(sizes: Size, shape: Size, component: str) -> Size:
    """`sizes` of a reshape of `shape`, with its -1 worked out.

    Raises:
        ShapeError: the sizes do not hold as many elements as `shape`.
    """
    unknown = [i for i, size in enumerate(sizes) if size == -1]
    known = 1
    for size in sizes:
        known *= 1 if size == -1 else size
    if len(unknown) == 1 and known > 0 and shape.numel() % known == 0:
        return Size([shape.numel() // known if size == -1 else size for size in sizes])
    if unknown or known != shape.numel():
        raise ShapeError(
            message(
                component,
                f"cannot reshape to {tuple(sizes)}",
                expected=f"sizes of {shape.numel()} elements with at most one -1",
                found=f"the shape {tuple(shape)}",
            )
        )
    return sizes


def full_index(index: Any, ndim: int, component: str) -> tuple[Any, ...]:
    """`index` as a tuple that names each of `ndim` dimensions, an ellipsis written out.

    Raises:
        IndexError: more dimensions are indexed than there are.
    """
    parts = index if isinstance(index, tuple) else (index,)
    parts = tuple(torch.as_tensor(np.asarray(p)) if isinstance(p, (list, range, np.ndarray)) else p for p in parts)
    used = sum(_dims_read(part) for part in parts)
    if used > ndim:
        problem = f"{used} dimensions indexed"
        raise IndexError(message(component, problem, expected=f"at most {ndim}", found=f"index {index!r}"))
    where = [i for i, part in enumerate(parts) if part is Ellipsis]
    at = where[0] if where else len(parts)
    rest = (slice(None),) * (ndim - used)
    return (*parts[:at], *rest, *parts[at + 1 :])


def _dims_read(part: Any) -> int:
    if part is None or part is Ellipsis:
        return 0
    if isinstance(part, bool):
        raise IndexError("index: a single bool cannot index a spec. Use an integer, a slice or a mask tensor.")
    if isinstance(part, Tensor) and part.dtype == torch.bool:
        return part.ndim
    return 1
