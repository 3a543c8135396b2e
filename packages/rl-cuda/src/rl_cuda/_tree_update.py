"""Batched update of sum, min and max trees, as operators of torch: the CUDA kernels, and plain torch elsewhere."""

import torch
from torch import Tensor

from rl_cuda._checks import check_beside, check_tree, check_vector
from rl_cuda._kernels import define, launch, update_scratch
from rl_cuda._layout import Kind, tree_leaves
from rl_cuda._tree_update_torch import tree_rebuild_torch, tree_update_torch
from rl_specs import ShapeError, message

_MAX_BATCH = 2**31 - 1


def sum_tree_update(tree: Tensor, index: Tensor, value: Tensor, *, check_index: bool = True) -> None:
    """Set leaves of a sum tree and recompute the sums above them, in place.

    CUDA tensors go through the CUDA kernels where these can run (`is_available`), all others through plain torch; both
    give the same bits. Of several values for one leaf the last one stays. The result depends on the arguments alone:
    sums are recomputed from their children in a fixed order, so there is no drift and no dependence on scheduling.
    Works under `torch.compile`, and in CUDA graphs without `check_index`.

    Args:
        tree: `[tree_numel(capacity)]` float32 or float64, made by `new_sum_tree`, contiguous.
        index: `[N]` int64, leaves to set, in `[0, capacity)`; capacity counts up to the next multiple of 32.
        value: `[N]` dtype of `tree`, their new values, not NaN. No gradient flows to them.
        check_index: whether to check the range of `index`, which on CUDA waits for the device. Without the check,
            entries that are out of range are left out.
    Raises:
        ShapeError: a wrong number of dimensions or elements, or a tensor that is not contiguous.
        DTypeError: another dtype than stated.
        DeviceError: tensors on different devices.
        IndexError: an index is out of range.
        RuntimeError: CUDA refused the launch.
    """
    _update("sum", tree, index, value, check_index)


def min_tree_update(tree: Tensor, index: Tensor, value: Tensor, *, check_index: bool = True) -> None:
    """Set leaves of a tree of minima, made by `new_min_tree`, and recompute the minima above; see `sum_tree_update`."""
    _update("min", tree, index, value, check_index)


def max_tree_update(tree: Tensor, index: Tensor, value: Tensor, *, check_index: bool = True) -> None:
    """Set leaves of a tree of maxima, made by `new_max_tree`, and recompute the maxima above; see `sum_tree_update`."""
    _update("max", tree, index, value, check_index)


def tree_rebuild(tree: Tensor, kind: Kind) -> None:
    """Recompute all nodes of a tree from its leaves, in place, for leaves that were written as `tree[...] = ...`.

    Args:
        tree: `[tree_numel(capacity)]` float32 or float64, contiguous.
        kind: `"sum"`, `"min"` or `"max"`.
    Raises:
        ShapeError, DTypeError: it is no such tree.
        ValueError: no such kind.
    """
    if kind not in ("sum", "min", "max"):
        raise ValueError(message("tree_rebuild", "kind", expected="'sum', 'min' or 'max'", found=repr(kind)))
    check_tree("tree_rebuild", tree)
    torch.ops.rl_cuda.tree_rebuild(tree, kind)


def _update(kind: Kind, tree: Tensor, index: Tensor, value: Tensor, check_index: bool) -> None:
    name = f"{kind}_tree_update"
    check_tree(name, tree)
    for what, tensor, dtype in (("index", index, torch.int64), ("value", value, tree.dtype)):
        check_beside(name, what, tensor, dtype, tree)
        check_vector(name, what, tensor)
    if index.numel() != value.numel() or index.numel() > _MAX_BATCH:
        problem = "index and value need the same number of elements, at most 2**31 - 1"
        raise ShapeError(message(name, problem, found=f"{index.numel()} and {value.numel()}"))
    torch.ops.rl_cuda.tree_update(tree, index, value.detach(), kind, check_index)


def _check_range(kind: Kind, index: Tensor, leaves: int) -> None:
    if index.numel() == 0:
        return
    lowest, highest = (int(bound) for bound in index.aminmax())
    if lowest < 0 or highest >= leaves:
        found = lowest if lowest < 0 else highest
        expected = f"0 <= index < {leaves}"
        raise IndexError(message(f"{kind}_tree_update", "index out of range", expected=expected, found=found))


def update_portable(tree: Tensor, index: Tensor, value: Tensor, kind: Kind, check_index: bool) -> None:
    """The operator in plain torch."""
    leaves = tree_leaves(tree.numel())
    if check_index:
        _check_range(kind, index, leaves)
    tree_update_torch(tree, index, value, kind)


def update_kernels(tree: Tensor, index: Tensor, value: Tensor, kind: Kind, check_index: bool) -> None:
    """The operator with the CUDA kernels."""
    leaves, batch = tree_leaves(tree.numel()), index.numel()
    if check_index:
        _check_range(kind, index, leaves)
    launch(f"{kind}_tree_update", tree, tree, leaves, index, value, batch, update_scratch(batch, tree.device))


def rebuild_kernels(tree: Tensor, kind: Kind) -> None:
    """All nodes anew with the CUDA kernels."""
    launch(f"{kind}_tree_rebuild", tree, tree, tree_leaves(tree.numel()))


def _fake_update(tree: Tensor, index: Tensor, value: Tensor, kind: Kind, check_index: bool) -> None:
    """Nothing to compute: the operator returns nothing."""


def _fake_rebuild(tree: Tensor, kind: Kind) -> None:
    """Nothing to compute: the operator returns nothing."""


define(
    "tree_update(Tensor(a!) tree, Tensor index, Tensor value, str kind, bool check_index) -> ()",
    kernels=update_kernels,
    portable=update_portable,
    fake=_fake_update,
)
define(
    "tree_rebuild(Tensor(a!) tree, str kind) -> ()",
    kernels=rebuild_kernels,
    portable=tree_rebuild_torch,
    fake=_fake_rebuild,
)
