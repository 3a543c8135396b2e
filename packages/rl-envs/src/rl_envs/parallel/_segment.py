"""Memory shared by processes that has no name: the system frees it with the last process that holds it.

There is nothing to unlink, so nothing is left behind however the processes end, and on Linux it is not taken from
`/dev/shm`, whose size containers limit.
"""

import mmap
import os
import sys
import tempfile
from pathlib import Path

from rl_specs import message


def create_segment() -> int:
    """File descriptor of an empty segment."""
    if sys.platform == "linux":
        return os.memfd_create("rl_envs", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


def reserve(fd: int, size: int, component: str) -> None:
    """Give the segment `size` bytes.

    Raises:
        MemoryError: the machine, or the control group of this process, has less memory left, or a limit of this
            process forbids it; nothing is taken.
    """
    available = available_bytes(fd)
    if size > available:
        fix = "Use fewer environments, smaller or lower-precision observations, or a machine with more memory"
        expected, found = f"at most {available / 2**20:,.1f} MiB", f"{size / 2**20:,.1f} MiB"
        raise MemoryError(message(component, "no room for shared memory", expected=expected, found=found, fix=fix))
    try:
        if sys.platform == "linux":
            os.posix_fallocate(fd, 0, size)
        else:
            os.ftruncate(fd, size)
    except OSError as error:
        problem = f"the system refuses {size / 2**20:,.1f} MiB of shared memory ({error.strerror})"
        fix = "Look at the limits of file sizes and memory (ulimit -f, ulimit -v)"
        raise MemoryError(message(component, problem, fix=fix)) from error


def map_segment(fd: int) -> mmap.mmap:
    """The bytes of a segment that has its size, shared with every process that maps it."""
    return mmap.mmap(fd, os.fstat(fd).st_size)


def available_bytes(fd: int) -> int:
    """Bytes that a segment can take now."""
    if sys.platform != "linux":
        space = os.fstatvfs(fd)
        return space.f_bavail * space.f_frsize
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) * 1024
    return min([free, *_control_group_room()])


def _control_group_room() -> list[int]:
    """Bytes left under the memory limit of each control group (version 2) of this process that has one."""
    try:
        own = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    root = Path("/sys/fs/cgroup")
    group = root / own.lstrip("/")
    rooms = []
    for folder in (group, *group.parents):
        if not folder.is_relative_to(root):
            break
        try:
            limit = (folder / "memory.max").read_text().strip()
            used = int((folder / "memory.current").read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except OSError:
            continue
        if limit != "max":
            rooms.append(max(int(limit) - used + int(stat.get("inactive_file", "0")), 0))
    return rooms
