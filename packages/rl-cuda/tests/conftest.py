"""What tests run on: plain torch, the kernels executed on the CPU where there is a C++ compiler, and a GPU at hand."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import rl_cuda
from rl_cuda import (
    _estimators,
    _kernels,
    _library,
    _priority_leaves,
    _priority_trees,
    _reverse_scan,
    _tree_query,
    _tree_update,
)

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
ORDERS = {"emulated": 0, "emulated-backward": 1, "emulated-odd-first": 2}

KERNELS: dict[str, Callable[..., Any]] = {
    "tree_update": _tree_update.update_kernels,
    "tree_rebuild": _tree_update.rebuild_kernels,
    "sum_tree_find": _tree_query.find_kernels,
    "sum_tree_sample": _tree_query.sample_kernels,
    "three_trees_update": _priority_trees.three_trees_kernels,
    "priority_leaves": _priority_leaves.leaves_kernels,
    "recurrence": _reverse_scan.recurrence_kernels,
    "gae": _estimators.gae_kernels,
    "lambda_return": _estimators.lambda_return_kernels,
    "vtrace": _estimators.vtrace_kernels,
}


@functools.cache
def emulated_library() -> ctypes.CDLL:
    """The kernels compiled for the CPU: the same text, warps as loops, with numbers rounded as on a GPU."""
    assert COMPILER is not None
    sources = sorted((Path(rl_cuda.__file__).parent / "csrc").glob("*.cu"))
    assert sources
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "emulated.so"
        command = [COMPILER, "-x", "c++", "-std=c++17", "-O1", "-ffp-contract=off"]
        command += ["-shared", "-fPIC", "-DRL_CUDA_EMULATE", "-DRL_CUDA_ARCHITECTURES=0", "-o", str(path)]
        done = subprocess.run([*command, *map(str, sources)], text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return _library.load_library(path)


@pytest.fixture
def emulated() -> ctypes.CDLL:
    """The kernels compiled for the CPU, for what is not an operator; only where there is a compiler."""
    return emulated_library()


@pytest.fixture
def kernels() -> dict[str, Callable[..., Any]]:
    """Operators that are emulated, by name."""
    return KERNELS


@contextmanager
def emulate(order: int) -> Iterator[None]:
    """CPU tensors go through the kernels' text instead of plain torch, items worked off in the given order."""
    library = emulated_library()
    library.rl_cuda_emulation_order(order)

    @contextmanager
    def on_device(device: torch.device) -> Iterator[tuple[int, None]]:
        yield 0, None

    operators = torch.library.Library("rl_cuda", "IMPL")  # type: ignore[no-untyped-call]  # torch leaves it untyped
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernels, "load_library", lambda: library)
        patch.setattr(_kernels, "_on_device", on_device)
        for name, kernels in KERNELS.items():
            operators.impl(name, kernels, "CPU")  # type: ignore[no-untyped-call]  # torch leaves it untyped
        try:
            yield
        finally:
            operators._destroy()  # type: ignore[no-untyped-call]  # torch leaves it untyped


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that takes a device on everything there is, or also in every order of work."""
    gpus = ["cuda"] if rl_cuda.is_available() else []
    for fixture, orders in (("device", list(ORDERS)[-1:]), ("device_in_any_order", list(ORDERS))):
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, ["cpu", *(orders if COMPILER else []), *gpus], indirect=True, ids=str)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Where tensors live; during the test operators on them go through what the parameter names."""
    with use(request.param) as place:
        yield place


@pytest.fixture
def device_in_any_order(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """As `device`, for tests whose outcome could depend on the order in which a device works."""
    with use(request.param) as place:
        yield place


@contextmanager
def use(name: str) -> Iterator[torch.device]:
    """The device of that name, emulated or not."""
    if name not in ORDERS:
        yield torch.device(name)
        return
    with emulate(ORDERS[name]):
        yield torch.device("cpu")
