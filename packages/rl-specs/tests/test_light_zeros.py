"""Zeros that take memory only as they are written to."""

import resource
from pathlib import Path

import pytest
import torch

from rl_specs import Bounded, Unbounded


def resident_bytes() -> int:
    """Memory of this process that is in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_large_zeros_take_no_memory_until_written() -> None:
    """Half a gigabyte of zeros is there at once and costs next to nothing."""
    spec = Bounded(0, 255, (512, 1024), dtype=torch.uint8)
    before = resident_bytes()
    value = spec.zero(1024)
    assert resident_bytes() - before < 64 * 2**20
    assert value.shape == (1024, 512, 1024)
    value[-1] = 1
    assert int(value[1022].sum()) == 0
    assert int(value[-1].sum()) == 512 * 1024
    assert int(spec.zero(1024)[-1].sum()) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int32, torch.bool, torch.complex64])
@pytest.mark.parametrize("size", [(), (3,), (0, 5), (600, 2000)])
def test_zeros_are_those_of_torch(dtype: torch.dtype, size: tuple[int, ...]) -> None:
    """Whatever dtype and size, to be written to."""
    value = Unbounded(size, dtype=dtype).zero()
    assert torch.equal(value, torch.zeros(size, dtype=dtype))
    assert value.is_contiguous()
    value.fill_(1)
    assert bool((value == 1).all())


def test_more_than_there_is() -> None:
    """The message says how much a value would take, and of which shape."""
    with pytest.raises(MemoryError, match=r"zero: .*Found 4194304 GiB for the shape \(1048576, 1073741824\)"):
        Unbounded((2**20, 2**30)).zero()
