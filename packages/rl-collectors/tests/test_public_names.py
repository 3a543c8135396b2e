"""The names that this package promises."""

import rl_collectors


def test_public_names() -> None:
    """A name comes or goes only on purpose."""
    assert sorted(rl_collectors.__all__) == [
        "Collector",
        "Overlap",
        "SyncDataCollector",
        "WiringError",
        "__version__",
        "split_trajectories",
    ]
