"""Optional CUDA kernels for prioritized replay and returns, in one library that is independent of the torch version."""

from rl_cuda.__about__ import __version__
from rl_cuda._estimators import (
    generalized_advantage_estimate,
    td_lambda_return_estimate,
    vtrace_advantage_estimate,
)
from rl_cuda._layout import new_max_tree, new_min_tree, new_sum_tree, tree_leaves, tree_numel
from rl_cuda._library import is_available, why_unavailable
from rl_cuda._prioritized_sampler import CudaPrioritizedSampler
from rl_cuda._reverse_scan import reverse_linear_recurrence
from rl_cuda._tree_query import sum_tree_find, sum_tree_sample
from rl_cuda._tree_update import max_tree_update, min_tree_update, sum_tree_update, tree_rebuild
from rl_cuda._tree_update_torch import sum_tree_update_torch

__all__ = [
    "CudaPrioritizedSampler",
    "__version__",
    "generalized_advantage_estimate",
    "is_available",
    "max_tree_update",
    "min_tree_update",
    "new_max_tree",
    "new_min_tree",
    "new_sum_tree",
    "reverse_linear_recurrence",
    "sum_tree_find",
    "sum_tree_sample",
    "sum_tree_update",
    "sum_tree_update_torch",
    "td_lambda_return_estimate",
    "tree_leaves",
    "tree_numel",
    "tree_rebuild",
    "vtrace_advantage_estimate",
    "why_unavailable",
]
