"""Whether the kernels can run here, and what the answer says when they cannot."""

from pathlib import Path

import torch

import rl_cuda
from rl_cuda import _library


def test_available_exactly_when_there_is_no_reason_against() -> None:
    """`is_available` and `why_unavailable` agree, and without a GPU there is a reason."""
    reason = rl_cuda.why_unavailable()
    assert rl_cuda.is_available() == (reason is None)
    assert torch.cuda.is_available() or reason


def test_missing_library_says_how_to_build_it(tmp_path: Path) -> None:
    """Without the compiled library the reason names nvcc and the switch that makes its absence an error."""
    reason = _library._reason(tmp_path / "librl_cuda.so")
    assert reason is not None
    assert "nvcc" in reason
    assert "RL_CUDA_BUILD=1" in reason


def test_broken_library_is_a_reason_not_a_crash(tmp_path: Path) -> None:
    """A file that is no library for this machine is reported with the loader's words."""
    path = tmp_path / "librl_cuda.so"
    path.write_bytes(b"not a library")
    reason = _library._reason(path)
    assert reason is not None
    assert "cannot be loaded" in reason
