"""The public names of the package."""

import rl_cuda


def test_public_names() -> None:
    """A name is added to or taken from the public interface on purpose only."""
    assert sorted(rl_cuda.__all__) == [
        "__version__",
        "is_available",
        "new_sum_tree",
        "sum_tree_update",
        "sum_tree_update_torch",
        "tree_leaves",
        "tree_numel",
        "why_unavailable",
    ]
    assert all(hasattr(rl_cuda, name) for name in rl_cuda.__all__)
