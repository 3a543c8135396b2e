"""Optional CUDA kernels for prioritized replay, in one library that is independent of the torch version."""

from rl_cuda.__about__ import __version__
from rl_cuda._layout import new_sum_tree, tree_leaves, tree_numel
from rl_cuda._library import is_available, why_unavailable
from rl_cuda._sum_tree import sum_tree_update, sum_tree_update_torch

__all__ = [
    "__version__",
    "is_available",
    "new_sum_tree",
    "sum_tree_update",
    "sum_tree_update_torch",
    "tree_leaves",
    "tree_numel",
    "why_unavailable",
]
