"""Memory for rows."""

import copy
import pickle

import pytest
import torch

from rl_buffers import LazyTensorStorage, ReplayBuffer
from rl_buffers._large_pages import empty_rows

_DTYPES = [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.complex64]
_CPU = torch.device("cpu")


@pytest.mark.parametrize("count", [3, 1 << 20])
@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
def test_form(count: int, dtype: torch.dtype) -> None:
    """Little and much memory have the same form, and take what is written to the first and last row."""
    rows = empty_rows("Storage", count, 5, dtype, _CPU)
    assert (rows.shape, rows.dtype, rows.stride(), rows.device) == ((count, 5), dtype, (5, 1), _CPU)
    ends = torch.tensor([[1, 0, 1, 1, 0], [0, 1, 1, 0, 0]]).to(dtype)
    rows[torch.tensor([0, count - 1])] = ends
    assert torch.equal(torch.stack([rows[0], rows[-1]]), ends)


def test_more_than_there_is() -> None:
    """Rows that no memory holds are refused, with the number of bytes."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(1 << 50))
    expected = r"LazyTensorStorage.*4,194,304.0 GiB for 1,125,899,906,842,624 rows of 4 bytes.*LazyMemmapStorage"
    with pytest.raises(MemoryError, match=expected):
        buffer.extend(torch.zeros(1, 1))
    assert len(buffer) == 0


def test_copies() -> None:
    """A large buffer is copied and pickled like a small one."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(1 << 20), batch_size=4)
    buffer.extend(torch.arange(40, dtype=torch.float64).view(8, 5))
    for other in (copy.deepcopy(buffer), pickle.loads(pickle.dumps(buffer))):
        assert torch.equal(other[:], buffer[:])
        other.extend(torch.ones(1, 5, dtype=torch.float64))
        assert (len(other), len(buffer)) == (9, 8)
