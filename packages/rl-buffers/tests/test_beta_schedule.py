"""A number that grows in equal steps."""

import pytest

from rl_buffers import LinearAnnealing


def test_values() -> None:
    """From 0.4 to 1 in 3 steps: 0.4, 0.6, 0.8, 1, and 1 from then on."""
    schedule = LinearAnnealing(0.4, 1.0, 3)
    assert [schedule.at(step) for step in (0, 1, 2, 3, 4, 100)] == pytest.approx([0.4, 0.6, 0.8, 1.0, 1.0, 1.0])
    assert schedule.at(7) == 1.0


def test_no_steps() -> None:
    """A schedule needs a step."""
    with pytest.raises(ValueError, match=r"LinearAnnealing: steps\. Expected an integer >= 1, found 0"):
        LinearAnnealing(0.4, 1.0, 0)
