"""Which writing of a row a batch was drawn from."""

import numpy as np

from rl_buffers._row_stamps import RowStamps


def test_every_writing_has_a_stamp_of_its_own() -> None:
    """Rows have no stamp before they are written, one for each writing, and new ones after all were forgotten."""
    stamps, rows = RowStamps(5), np.arange(5)
    stamps.write(0, 3)
    assert (stamps.of(rows).tolist(), stamps.count, stamps.capacity) == ([1, 1, 1, 0, 0], 3, 5)
    stamps.rewrite(np.array([2, 0]))
    stamps.write(3, 4)
    assert (stamps.of(rows).tolist(), stamps.count) == ([2, 1, 2, 3, 0], 4)
    stamps.clear()
    assert (stamps.of(rows).tolist(), stamps.count) == ([0] * 5, 0)
    stamps.write(0, 1)
    assert stamps.of(rows).tolist() == [4, 0, 0, 0, 0]


def test_state() -> None:
    """Stamps that were loaded go on where those saved ended, and the state is a copy."""
    stamps, other, rows = RowStamps(4), RowStamps(4), np.arange(4)
    stamps.write(0, 2)
    state = stamps.state_dict()
    stamps.write(1, 3)
    other.write(0, 4)
    other.load_state_dict(state)
    assert (other.of(rows).tolist(), other.count) == ([1, 1, 0, 0], 2)
    other.write(1, 2)
    assert other.of(rows).tolist() == [1, 2, 0, 0]
