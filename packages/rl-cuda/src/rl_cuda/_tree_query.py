"""Prefix sums and stratified samples from a sum tree, as operators of torch."""

import torch
from torch import Tensor

from rl_cuda._checks import check_beside, check_tree, check_vector
from rl_cuda._kernels import define, launch
from rl_cuda._layout import tree_leaves
from rl_cuda._tree_query_torch import sum_tree_find_torch, sum_tree_sample_torch
from rl_specs import ShapeError, message


def sum_tree_find(tree: Tensor, prefix: Tensor) -> Tensor:
    """The leaf in which each prefix sum falls: the first at which the sum of leaves up to and with it exceeds `prefix`.

    A leaf that is not positive is never found. A prefix below zero finds the first positive leaf; one that reaches the
    sum of all leaves, be it by rounding, the last. Works under `torch.compile` and in CUDA graphs.

    Args:
        tree: `[tree_numel(capacity)]` float32 or float64, made by `new_sum_tree`, no leaf negative.
        prefix: `[N]` float64.
    Returns:
        `[N]` int64 leaves; -1 in a tree whose sum is zero.
    Raises:
        ShapeError, DTypeError, DeviceError: as for `sum_tree_update`.
    """
    check_tree("sum_tree_find", tree)
    check_beside("sum_tree_find", "prefix", prefix, torch.float64, tree)
    check_vector("sum_tree_find", "prefix", prefix)
    result: Tensor = torch.ops.rl_cuda.sum_tree_find(tree, prefix)
    return result


def sum_tree_sample(
    tree: Tensor, uniform: Tensor, *, reference: Tensor, beta: Tensor, empty: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Stratified sample of leaves, in proportion to their values, with importance weights; on CUDA in one launch.

        stratum i is [i / N, (i + 1) / N) of the sum;  weight_i = (reference / tree[index_i]) ** beta

    With the smallest leaf as `reference` no weight is above 1; with `tree[-1] / rows` the weight is
    `(rows * P(i)) ** -beta`. Both are tensors, so that they may change between replays of a CUDA graph.

    Args:
        tree: `[tree_numel(capacity)]` float32 or float64, made by `new_sum_tree`, no leaf negative.
        uniform: `[N]` float64, in `[0, 1)`: where in its stratum each sample falls.
        reference: `[]` dtype of `tree`, the leaf whose weight is 1.
        beta: `[]` float64, exponent of the correction.
        empty: `[]` int64, gets one more, in place, if the sum is zero or infinite, so that nobody waits to find out.
    Returns:
        `(index, weight)`: `[N]` int64 and `[N]` dtype of `tree`; -1 and NaN in a tree whose sum is zero or infinite.
    Raises:
        ShapeError, DTypeError, DeviceError: as for `sum_tree_update`.
    Source: Schaul et al. 2016, section 3.3 and 3.4, https://arxiv.org/abs/1511.05952
    """
    name = "sum_tree_sample"
    check_tree(name, tree)
    check_beside(name, "uniform", uniform, torch.float64, tree)
    check_vector(name, "uniform", uniform)
    for what, tensor, dtype in (
        ("reference", reference, tree.dtype),
        ("beta", beta, torch.float64),
        ("empty", empty, torch.int64),
    ):
        if tensor is None:
            continue
        check_beside(name, what, tensor, dtype, tree)
        if tensor.ndim != 0:
            raise ShapeError(message(name, f"{what} has a wrong shape", expected="[]", found=list(tensor.shape)))
    result: tuple[Tensor, Tensor] = torch.ops.rl_cuda.sum_tree_sample(tree, uniform, reference, beta, empty)
    return result


def find_kernels(tree: Tensor, prefix: Tensor) -> Tensor:
    """The operator with the CUDA kernels."""
    index = torch.empty_like(prefix, dtype=torch.int64)
    launch("sum_tree_find", tree, tree, tree_leaves(tree.numel()), prefix, prefix.numel(), index)
    return index


def sample_kernels(
    tree: Tensor, uniform: Tensor, reference: Tensor, beta: Tensor, empty: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The operator with the CUDA kernels."""
    index, weight = _fake_sample(tree, uniform)
    leaves, count = tree_leaves(tree.numel()), uniform.numel()
    launch("sum_tree_sample", tree, tree, leaves, uniform, count, reference, beta, empty, index, weight)
    return index, weight


def _fake_find(tree: Tensor, prefix: Tensor) -> Tensor:
    return torch.empty_like(prefix, dtype=torch.int64)


def _fake_sample(tree: Tensor, uniform: Tensor, *others: Tensor | None) -> tuple[Tensor, Tensor]:
    return torch.empty_like(uniform, dtype=torch.int64), torch.empty_like(uniform, dtype=tree.dtype)


define(
    "sum_tree_find(Tensor tree, Tensor prefix) -> Tensor",
    kernels=find_kernels,
    portable=sum_tree_find_torch,
    fake=_fake_find,
)
define(
    "sum_tree_sample(Tensor tree, Tensor uniform, Tensor reference, Tensor beta, Tensor(a!)? empty)"
    " -> (Tensor, Tensor)",
    kernels=sample_kernels,
    portable=sum_tree_sample_torch,
    fake=_fake_sample,
)
