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


def known(shape: Size) -> Size:
    """`shape` with 1 for each open size."""
    return Size([1 if size == -1 else size for size in shape]) if -1 in shape else shape


def moved_size(shapes: Sequence[Size], device: torch.device | None, op: ShapeOp) -> Size:
    """Shape after `op` on values of `shapes`, from whose first open size on nothing moves.

    Raises:
        ShapeError: the shapes differ there.
    """
    size = op([dummy(known(shape), device) for shape in shapes]).shape
    behind = open_part(shapes[0])
    for i, shape in enumerate(shapes):
        if open_part(shape) != behind:
            problem = f"the open sizes of spec {i} differ from those of spec 0"
            raise ShapeError(message("stack", problem, expected=tuple(shapes[0]), found=tuple(shape)))
    return size[: len(size) - len(behind)] + behind


def open_part(shape: Size) -> Size:
    """Sizes from the first open one, -1, on."""
    return shape[shape.index(-1) :] if -1 in shape else Size()


def readable(device: torch.device | None) -> torch.device | None:
    """The device itself, or the default one in place of a device whose numbers cannot be read."""
    return None if device is not None and device.type == "meta" else device


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
        IndexError: more dimensions are indexed than there are, or there are two ellipses.
    """
    parts = tuple(_index_part(part) for part in (index if isinstance(index, tuple) else (index,)))
    used = sum(_dims_read(part) for part in parts)
    if used > ndim:
        problem = f"{used} dimensions indexed"
        raise IndexError(message(component, problem, expected=f"at most {ndim}", found=f"index {index!r}"))
    where = [i for i, part in enumerate(parts) if part is Ellipsis]
    if len(where) > 1:
        raise IndexError(message(component, "two ellipses in an index", expected="at most 1", found=repr(index)))
    at = where[0] if where else len(parts)
    rest = (slice(None),) * (ndim - used)
    return (*parts[:at], *rest, *parts[at + 1 :])


def split_index(full: tuple[Any, ...], front: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """A full index in two: the parts for the first `front` dimensions, and those for the dimensions behind."""
    read = at = 0
    while at < len(full) and (read < front or full[at] is None):
        read += _dims_read(full[at])
        at += 1
    return full[:at], full[at:]


def check_whole(index: tuple[Any, ...], component: str) -> None:
    """Check that an index of the dimensions behind takes all of them as they are.

    Raises:
        ShapeError: it does not.
    """
    if not is_whole(index):
        raise _behind(component)


def is_whole(index: tuple[Any, ...]) -> bool:
    """Whether an index takes all of its dimensions as they are."""
    return all(isinstance(part, slice) and part == slice(None) for part in index)


def front_sizes(sizes: Size, shape: Size, front: int, component: str) -> Size:
    """`sizes` of the first `front` dimensions of `shape` alone; those behind must be written as they are, or -1.

    Raises:
        ShapeError: others are asked for behind.
    """
    behind = shape[front:]
    if not behind:
        return sizes
    cut = len(sizes) - len(behind)
    if cut < 0 or any(size not in (-1, old) for size, old in zip(sizes[cut:], behind, strict=True)):
        raise _behind(component)
    return sizes[:cut]


def front_dim(dim: int, ndim: int, front: int, component: str) -> int:
    """`dim` counted from the front, which must be one of the first `front` of `ndim` dimensions.

    Raises:
        IndexError: `dim` is not one of `ndim` dimensions.
        ShapeError: it lies behind.
    """
    at = check_dim(dim, ndim, component)
    if at >= front:
        raise _behind(component)
    return at


def _behind(component: str) -> ShapeError:
    problem = "the operation reaches a dimension whose size differs between values (-1), or one behind it"
    fix = "Operate on the dimensions in front of it, on each spec that unbind gives, or on spec.sized(...)"
    return ShapeError(message(component, problem, fix=fix))


def _index_part(part: Any) -> Any:
    if isinstance(part, (bool, np.bool_)):
        return torch.tensor(bool(part))
    if not isinstance(part, (list, range, np.ndarray)):
        return part
    array = np.asarray(part)
    return torch.as_tensor(array.astype(np.int64) if array.size == 0 and array.dtype != np.bool_ else array)


def _dims_read(part: Any) -> int:
    if part is None or part is Ellipsis:
        return 0
    if isinstance(part, Tensor) and part.dtype == torch.bool:
        return part.ndim
    return 1


def stacked(values: list[Tensor], dim: int) -> Tensor:
    """A stack of `values`, whose shapes must be the same."""
    first = values[0].shape
    for i, value in enumerate(values):
        if value.shape != first:
            problem = f"the shape of spec {i} differs from that of spec 0"
            raise ShapeError(message("stack", problem, expected=tuple(first), found=tuple(value.shape)))
    return torch.stack(values, dim)


def concatenated(values: list[Tensor], dim: int) -> Tensor:
    """`values` one after the other, whose shapes must be the same but for `dim`."""
    first = values[0].shape
    for i, value in enumerate(values):
        if value.ndim != len(first) or any(
            a != b for d, (a, b) in enumerate(zip(first, value.shape, strict=True)) if d != dim
        ):
            problem = f"the shape of spec {i} differs from that of spec 0 outside dimension {dim}"
            raise ShapeError(message("cat", problem, expected=tuple(first), found=tuple(value.shape)))
    return torch.cat(values, dim)


def unflattened(value: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """`value` with dimension `dim` split into `sizes`."""
    split = solve_sizes(Size(sizes), Size((value.shape[dim],)), "unflatten")
    return value.reshape((*value.shape[:dim], *split, *value.shape[dim + 1 :]))


def only(values: list[Tensor]) -> Tensor:
    """The shape operation that does nothing."""
    return values[0]


def shape_fits(found: Size, shape: Size, lead: Size | None) -> bool:
    """Whether `found` is `shape`, any size for -1, with `lead` in front (anything, when `None`)."""
    if lead is not None:
        whole = lead + shape
        return found == whole or (-1 in shape and _is_filled(found, whole))
    tail = found[max(0, len(found) - len(shape)) :]
    return tail == shape or (-1 in shape and _is_filled(tail, shape))


def _is_filled(found: Size, shape: Size) -> bool:
    return len(found) == len(shape) and all(old in (-1, new) for new, old in zip(found, shape, strict=True))


def trailing_str(shape: Size) -> str:
    """A shape with any batch in front, as messages have it."""
    return str(("*batch", *shape)).replace("'", "")


def varying_dims(value: Tensor) -> list[int]:
    """Dimensions along which the elements of `value` are not all the same."""
    return [d for d, size in enumerate(value.shape) if size > 1 and bool((value != value.narrow(d, 0, 1)).any())]
