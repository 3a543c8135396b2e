"""Tests of `rl_envs.parallel._segment`."""

import os
import resource
import sys

import pytest

from rl_envs.parallel._segment import available_bytes, create_segment, map_segment, reserve


def test_two_maps_share_their_bytes() -> None:
    """What is written through one map of a segment is read through another."""
    fd = create_segment()
    reserve(fd, 4096, "Test")
    first, second = map_segment(fd), map_segment(fd)
    os.close(fd)
    first[17] = 5
    assert second[17] == 5
    assert len(second) == 4096


class _FullFileSystem:
    """What the system says of a file system without room."""

    f_bavail = 0
    f_frsize = 4096
    f_bsize = 4096


@pytest.mark.parametrize("name", ["statvfs", "fstatvfs"])
def test_a_small_dev_shm_does_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Linux the memory is not taken from /dev/shm, so that it may be as small as it likes."""
    monkeypatch.setattr(os, name, lambda _: _FullFileSystem())
    fd = create_segment()
    reserve(fd, 1 << 20, "Test")
    assert len(map_segment(fd)) == 1 << 20
    os.close(fd)


def test_elsewhere_the_file_system_has_to_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """On other systems segments are files, and what the file system has left is the limit, told before any is used."""
    fd = create_segment()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "platform", "darwin")
        patched.setattr(os, "fstatvfs", lambda _: _FullFileSystem())
        with pytest.raises(MemoryError, match=r"Expected at most 0\.0 MiB, found 1\.0 MiB"):
            reserve(fd, 1 << 20, "Test")
    assert os.fstat(fd).st_size == 0
    os.close(fd)


def test_more_than_there_is() -> None:
    """More memory than the machine has is refused, with both figures, and not taken."""
    fd = create_segment()
    assert 0 < available_bytes(fd) < 1 << 50
    with pytest.raises(
        MemoryError, match=r"Test: no room for shared memory. Expected at most .* MiB, found 1,073,741,8"
    ):
        reserve(fd, 1 << 50, "Test")
    assert os.fstat(fd).st_size == 0
    os.close(fd)


def test_a_limit_of_this_process() -> None:
    """What a limit of this process forbids is refused with what the system says of it."""
    fd = create_segment()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(MemoryError, match=r"Test: .*refuses 1\.0 MiB of shared memory \(File too large\).*ulimit"):
            reserve(fd, 1 << 20, "Test")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.fstat(fd).st_size == 0
    os.close(fd)
