"""Batched update of a sum tree: the CUDA kernel, the same thing in plain torch, and the checks before both."""

import itertools

import torch

from rl_cuda._layout import FAN_OUT, tree_leaves, tree_levels
from rl_cuda._library import error_string, load_library, why_unavailable
from rl_specs import DeviceError, DTypeError, ShapeError, message

_NAME = "sum_tree_update"
_MAX_BATCH = 2**31 - 1


def sum_tree_update(tree: torch.Tensor, index: torch.Tensor, value: torch.Tensor, *, check_index: bool = True) -> None:
    """Set leaves of a sum tree and recompute the sums above them, in place.

    CUDA tensors go through the CUDA kernel, CPU tensors through `sum_tree_update_torch`; both give the same bits. Of
    several values for one leaf the last one stays. The result depends on the arguments alone: sums are recomputed from
    their children in a fixed order, so there is no drift and no dependence on scheduling. Works under `torch.compile`.

    Args:
        tree: `[tree_numel(capacity)]` float32 or float64, made by `new_sum_tree`, contiguous.
        index: `[N]` int64, leaves to set, in `[0, capacity)`; capacity counts up to the next multiple of 32.
        value: `[N]` dtype of `tree`, their new values.
        check_index: whether to check the range of `index`, which on CUDA waits for the device. Without the check, the
            kernel leaves out indices that are out of range, and on the CPU torch raises its own error.
    Raises:
        ShapeError: a wrong number of dimensions or elements, or a tensor that is not contiguous.
        DTypeError: another dtype than stated.
        DeviceError: tensors on different devices, or on a device that is neither CPU nor CUDA.
        IndexError: an index is out of range.
        RuntimeError: CUDA tensors, but the kernel cannot run here (see `why_unavailable`), or it failed.
    """
    _check(tree, index, value)
    _update_op(tree, index, value, check_index)


def sum_tree_update_torch(tree: torch.Tensor, index: torch.Tensor, value: torch.Tensor) -> None:
    """The same as `sum_tree_update` in plain torch operations, on any device; checks nothing.

    Args:
        tree: `[tree_numel(capacity)]` float32 or float64.
        index: `[N]` int64, leaves to set.
        value: `[N]` dtype of `tree`, their new values.
    """
    levels = tree_levels(tree_leaves(tree.numel()))
    batch = index.numel()
    if batch == 0:
        return
    position = torch.arange(batch, device=index.device)
    owner = torch.empty(levels[0].nodes, dtype=torch.int64, device=index.device)
    owner[index] = -1
    owner.scatter_reduce_(0, index, position, "amax")
    is_last = owner[index] == position
    tree[index[is_last]] = value[is_last]

    nodes = index
    for below, level in itertools.pairwise(levels):
        is_whole_level = level.nodes <= batch
        nodes = torch.unique(nodes // FAN_OUT)
        which = torch.arange(level.nodes, device=index.device) if is_whole_level else nodes
        children = tree[below.start : below.start + level.nodes * FAN_OUT].view(-1, FAN_OUT)[which]
        tree[level.start + which] = _fold(children)


def _fold(children: torch.Tensor) -> torch.Tensor:
    """Sum over the last dimension, halves folded onto each other: the order in which a warp adds."""
    while children.shape[-1] > 1:
        half = children.shape[-1] // 2
        children = children[..., :half] + children[..., half:]
    return children[..., 0]


@torch.library.custom_op("rl_cuda::sum_tree_update", mutates_args=("tree",))
def _update_op(tree: torch.Tensor, index: torch.Tensor, value: torch.Tensor, check_index: bool) -> None:
    leaves = tree_leaves(tree.numel())
    if check_index:
        _check_range(index, leaves)
    if tree.device.type == "cuda":
        _launch(tree, index, value)
    else:
        sum_tree_update_torch(tree, index, value)


@_update_op.register_fake
def _(tree: torch.Tensor, index: torch.Tensor, value: torch.Tensor, check_index: bool) -> None:
    """Nothing to compute: the operator returns nothing."""


def _launch(tree: torch.Tensor, index: torch.Tensor, value: torch.Tensor) -> None:
    reason = why_unavailable()
    if reason is not None:
        raise RuntimeError(
            message(_NAME, f"tensors on {tree.device}, but {reason}", fix="Or use sum_tree_update_torch")
        )
    library = load_library()
    launcher = (
        library.rl_cuda_sum_tree_update_f32 if tree.dtype == torch.float32 else library.rl_cuda_sum_tree_update_f64
    )
    leaves = tree_leaves(tree.numel())
    with torch.cuda.device(tree.device):
        owner = torch.empty(leaves, dtype=torch.int32, device=tree.device)
        code = launcher(
            tree.device.index,
            torch.cuda.current_stream(tree.device).cuda_stream,
            tree.data_ptr(),
            leaves,
            index.data_ptr(),
            value.data_ptr(),
            index.numel(),
            owner.data_ptr(),
        )
    if code != 0:
        raise RuntimeError(message(_NAME, f"the CUDA kernel failed: {error_string(library, code)}"))


def _check(tree: torch.Tensor, index: torch.Tensor, value: torch.Tensor) -> None:
    if tree.dtype not in (torch.float32, torch.float64):
        raise DTypeError(message(_NAME, "tree has a wrong dtype", expected="float32 or float64", found=tree.dtype))
    for name, tensor, dtype in (("index", index, torch.int64), ("value", value, tree.dtype)):
        if tensor.dtype != dtype:
            fix = f"Use {name}.to({dtype})"
            raise DTypeError(message(_NAME, f"{name} has a wrong dtype", expected=dtype, found=tensor.dtype, fix=fix))
        if tensor.device != tree.device:
            raise DeviceError(
                message(_NAME, f"{name} is on another device than tree", expected=tree.device, found=tensor.device)
            )
    if tree.device.type not in ("cpu", "cuda"):
        raise DeviceError(message(_NAME, "tree is on an unsupported device", expected="cpu or cuda", found=tree.device))
    for name, tensor in (("tree", tree), ("index", index), ("value", value)):
        if tensor.ndim != 1:
            raise ShapeError(message(_NAME, f"{name} has a wrong shape", expected="[N]", found=list(tensor.shape)))
        if not tensor.is_contiguous():
            raise ShapeError(message(_NAME, f"{name} is not contiguous", fix=f"Use {name}.contiguous()"))
    if index.numel() != value.numel() or index.numel() > _MAX_BATCH:
        problem = "index and value need the same number of elements, at most 2**31 - 1"
        raise ShapeError(message(_NAME, problem, found=f"{index.numel()} and {value.numel()}"))


def _check_range(index: torch.Tensor, leaves: int) -> None:
    if index.numel() == 0:
        return
    lowest, highest = (int(bound) for bound in index.aminmax())
    if lowest < 0 or highest >= leaves:
        found = lowest if lowest < 0 else highest
        raise IndexError(message(_NAME, "index out of range", expected=f"0 <= index < {leaves}", found=found))
