"""The public names of the package."""

import rl_cuda


def test_public_names() -> None:
    """A name is added to or taken from the public interface on purpose only."""
    assert sorted(rl_cuda.__all__) == [
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
    assert all(hasattr(rl_cuda, name) for name in rl_cuda.__all__)
