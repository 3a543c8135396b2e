"""Whether the kernels can run here, and what the answer says in each situation in which they cannot."""

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import rl_cuda
from rl_cuda import _library
from rl_cuda._sources import fingerprint


class FakeLibrary:
    """A library that loads, on a machine with what the arguments say."""

    def __init__(self, *, code: int = 0, count: int = 1, archs: str = "75 80 90", sources: str | None = None) -> None:
        self._sources = fingerprint(_library.SOURCES) if sources is None else sources
        self._code, self._count, self._archs = code, count, archs

    def rl_cuda_sources(self) -> bytes:
        """What it was built from."""
        return self._sources.encode()

    def rl_cuda_device_count(self, count: Any) -> int:
        """The error of looking for devices; writes their number."""
        count._obj.value = self._count
        return self._code

    def rl_cuda_error_string(self, code: int) -> bytes:
        """An error in words."""
        return f"error {code}".encode()

    def rl_cuda_architectures(self) -> bytes:
        """What it has machine code for."""
        return self._archs.encode()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says why the kernels cannot run on a machine that is all right but for what the arguments say."""

    def reason(
        *,
        has_driver: bool = True,
        cuda: str | None = "13.0",
        devices: tuple[tuple[int, int], ...] = ((9, 0),),
        **library: Any,
    ) -> str | None:
        path = tmp_path / "librl_cuda.so"
        path.touch()
        monkeypatch.setattr(_library, "load_library", lambda path: FakeLibrary(**library))
        monkeypatch.setattr(_library, "_has_driver", lambda: has_driver)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        found = SimpleNamespace(
            is_available=lambda: bool(devices),
            device_count=lambda: len(devices),
            get_device_capability=devices.__getitem__,
        )
        monkeypatch.setattr(torch, "cuda", found)
        return _library._reason(path)

    return reason


def test_available_exactly_when_there_is_no_reason_against() -> None:
    """`is_available` and `why_unavailable` agree, and without a GPU there is a reason."""
    reason = rl_cuda.why_unavailable()
    assert rl_cuda.is_available() == (reason is None)
    assert torch.cuda.is_available() or reason


def test_missing_library_says_how_to_build_it(tmp_path: Path) -> None:
    """Without the compiled library the reason names the causes, and the switch that makes each of them an error."""
    reason = _library._reason(tmp_path / "librl_cuda.so")
    assert reason is not None
    assert "RL_CUDA_BUILD was 0, or nvcc was not found or failed" in reason
    assert "RL_CUDA_BUILD=1" in reason


def test_broken_library_is_a_reason_not_a_crash(tmp_path: Path) -> None:
    """A file that is no library for this machine is reported with the loader's words."""
    path = tmp_path / "librl_cuda.so"
    path.write_bytes(b"not a library")
    reason = _library._reason(path)
    assert reason is not None
    assert "cannot be loaded" in reason


def test_library_without_a_function_is_of_another_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A library that loads and lacks a function of this version is told by that function."""
    path = tmp_path / "librl_cuda.so"
    path.touch()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    reason = _library._reason(path)
    assert reason is not None
    assert "of another version of rl-cuda" in reason
    assert "rl_cuda_sources" in reason
    assert "RL_CUDA_BUILD=1" in reason


def test_library_of_other_sources_is_refused(machine: Any) -> None:
    """A library whose functions may take other arguments, as it was built from other sources, is never called."""
    reason = machine(sources="s0123")
    assert "built from s0123" in reason
    assert "RL_CUDA_BUILD=1" in reason


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ({"cuda": None}, "built without CUDA. Install a CUDA build of torch"),
        ({"has_driver": False}, "no NVIDIA driver was found (libcuda.so.1)"),
        ({"code": 100, "count": 0}, "no CUDA device is visible. Check nvidia-smi and CUDA_VISIBLE_DEVICES"),
        ({"count": 0}, "no CUDA device is visible"),
        ({"code": 35, "count": 0}, "error 35. Update the NVIDIA driver"),
        ({"code": 802, "count": 0}, "error 802. See what nvidia-smi says"),
        ({"devices": ()}, "finds no CUDA device, though the library does"),
        ({"devices": ((9, 0), (7, 0))}, "cuda:1 has compute capability 7.0, the library has code for 7.5, 8.0, 9.0"),
        (
            {"devices": ((8, 6),), "archs": "75 90"},
            "cuda:0 has compute capability 8.6, the library has code for 7.5, 9.0",
        ),
    ],
    ids=str,
)
def test_each_situation_has_its_reason(machine: Any, what: dict[str, Any], text: str) -> None:
    """What is missing is named, with what to do about it."""
    assert text in machine(**what)


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 9), (9, 0), (10, 0), (12, 1)], ids=str)
def test_devices_with_code_are_served(machine: Any, capability: tuple[int, int]) -> None:
    """Machine code of the same major version and an older minor one runs, and newer devices compile the newest."""
    assert machine(devices=(capability,)) is None
