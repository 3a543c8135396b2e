"""The compiled library: finding it, loading it once, and saying why it cannot be used."""

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch

from rl_cuda._sources import fingerprint

LIBRARY_PATH = Path(__file__).with_name("librl_cuda.so")
SOURCES = Path(__file__).with_name("csrc")

_PLACE = (ctypes.c_int, ctypes.c_void_p)  # device, stream
_POINTER, _SIZE, _NUMBER = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
_TREE = (_POINTER, _SIZE)  # tree, leaves
_SHAPE = (_SIZE, _SIZE, _SIZE)  # rows, steps, segment

_UPDATE = (*_TREE, _POINTER, _POINTER, _SIZE, _POINTER)  # index, value, batch, scratch
_LAUNCHERS: dict[str, tuple[Any, ...]] = {
    **{f"{kind}_tree_update": _UPDATE for kind in ("sum", "min", "max")},
    **{f"{kind}_tree_rebuild": _TREE for kind in ("sum", "min", "max")},
    "sum_tree_find": (*_TREE, _POINTER, _SIZE, _POINTER),  # prefix, count, index
    "sum_tree_sample": (
        *_TREE,
        _POINTER,
        _SIZE,
        *[_POINTER] * 5,
    ),  # uniform, count, reference, beta, empty, index, weight
    "recurrence": (*[_POINTER] * 2, *_SHAPE, *[_POINTER] * 2),
    "gae": (*[_POINTER] * 5, *[_NUMBER] * 2, *_SHAPE, *[_POINTER] * 3),
    "lambda_return": (*[_POINTER] * 4, *[_NUMBER] * 2, *_SHAPE, *[_POINTER] * 2),
    "vtrace": (*[_POINTER] * 7, *[_NUMBER] * 3, *_SHAPE, *[_POINTER] * 3),
}
"""Arguments of each launcher after device and stream; each exists for float32 and float64."""

_DOUBLE_LAUNCHERS: dict[str, tuple[Any, ...]] = {
    "priority_leaves": (*[_POINTER] * 4, _SIZE, *[_NUMBER] * 2, _SIZE, *[_POINTER] * 5),
    "three_trees_update": (*[_POINTER] * 3, _SIZE, *[_POINTER] * 3, _SIZE, _POINTER),
}
"""Those that exist for float64 alone."""

SUFFIX = {torch.float32: "f32", torch.float64: "f64"}

_OLD_DRIVER, _NO_DEVICE = 35, 100
"""Errors of the CUDA runtime: cudaErrorInsufficientDriver, cudaErrorNoDevice."""


def is_available() -> bool:
    """Whether the CUDA kernels can run here: the library is built, loads, and finds a device that it has code for."""
    return why_unavailable() is None


@functools.cache
def why_unavailable() -> str | None:
    """What keeps the CUDA kernels from running here and what to do about it, or None when they can run.

    The answer is found at the first call and kept.
    """
    return _reason(LIBRARY_PATH)


def _reason(path: Path) -> str | None:
    if not path.exists():
        return (
            "rl-cuda was installed without its CUDA library: RL_CUDA_BUILD was 0, or nvcc was not found or failed. "
            "Install the CUDA toolkit and reinstall with RL_CUDA_BUILD=1, which says what is missing"
        )
    try:
        library = load_library(path)
    except OSError as error:
        return f"the CUDA library cannot be loaded ({error}). Reinstall rl-cuda on this machine with RL_CUDA_BUILD=1"
    except AttributeError as error:
        return f"the CUDA library is of another version of rl-cuda ({error}). Reinstall rl-cuda with RL_CUDA_BUILD=1"
    built_from, found = library.rl_cuda_sources().decode(), fingerprint(SOURCES)
    if built_from != found:
        differ = f"the library was built from {built_from}, the package holds {found}"
        return f"the CUDA library is of other sources of rl-cuda ({differ}). Reinstall rl-cuda with RL_CUDA_BUILD=1"
    return _reason_on_machine(library)


def _reason_on_machine(library: ctypes.CDLL) -> str | None:
    """What this machine lacks for a library that is as it should be."""
    if torch.version.cuda is None:
        return f"this torch ({torch.__version__}) is built without CUDA. Install a CUDA build of torch"
    if not _has_driver():
        return "no NVIDIA driver was found (libcuda.so.1). Install the driver, or give the container access to it"
    count = ctypes.c_int(0)
    code = library.rl_cuda_device_count(ctypes.byref(count))
    if code == _NO_DEVICE or (code == 0 and count.value == 0):
        return "no CUDA device is visible. Check nvidia-smi and CUDA_VISIBLE_DEVICES"
    if code != 0:
        fix = "Update the NVIDIA driver" if code == _OLD_DRIVER else "See what nvidia-smi says of driver and devices"
        return f"the CUDA runtime of the library says: {error_string(library, code)}. {fix}"
    if not torch.cuda.is_available():
        return f"torch ({torch.__version__}) finds no CUDA device, though the library does. Check torch.cuda.init()"
    return _without_code(library)


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _without_code(library: ctypes.CDLL) -> str | None:
    """A device that the library has no code for: machine code serves its major version from its minor one on, and the
    newest also lies in a form that newer devices compile.
    """
    archs = architectures(library)
    for device in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(device)
        own = 10 * major + minor
        if not any(arch <= own and arch // 10 == major for arch in archs) and own < archs[-1]:
            listed = ", ".join(f"{arch // 10}.{arch % 10}" for arch in archs)
            return (
                f"cuda:{device} has compute capability {major}.{minor}, the library has code for {listed}. "
                f"Reinstall with RL_CUDA_ARCHS={own} and a CUDA toolkit that knows it"
            )
    return None


@functools.cache
def load_library(path: Path = LIBRARY_PATH) -> ctypes.CDLL:
    """The library with its signatures declared, loaded once.

    Raises:
        OSError: it is not there, or not for this machine.
        AttributeError: it was built from another version of the package, and lacks something.
    """
    library = ctypes.CDLL(str(path))
    library.rl_cuda_sources.argtypes = ()
    library.rl_cuda_sources.restype = ctypes.c_char_p
    for launchers, suffixes in ((_LAUNCHERS, ("f32", "f64")), (_DOUBLE_LAUNCHERS, ("f64",))):
        for name, arguments in launchers.items():
            for suffix in suffixes:
                launcher = getattr(library, f"rl_cuda_{name}_{suffix}")
                launcher.argtypes = [*_PLACE, *arguments]
                launcher.restype = ctypes.c_int
    library.rl_cuda_tree_update_scratch.argtypes = (ctypes.c_int64,)
    library.rl_cuda_tree_update_scratch.restype = ctypes.c_int64
    library.rl_cuda_device_count.argtypes = (ctypes.POINTER(ctypes.c_int),)
    library.rl_cuda_device_count.restype = ctypes.c_int
    library.rl_cuda_error_string.argtypes = (ctypes.c_int,)
    library.rl_cuda_error_string.restype = ctypes.c_char_p
    library.rl_cuda_architectures.argtypes = ()
    library.rl_cuda_architectures.restype = ctypes.c_char_p
    return library


def architectures(library: ctypes.CDLL) -> list[int]:
    """Compute capabilities that the library has machine code for, lowest first: 75 for 7.5."""
    text: bytes = library.rl_cuda_architectures()
    return [int(number) for number in text.decode().split()]


def error_string(library: ctypes.CDLL, code: int) -> str:
    """What an error code of a launcher means."""
    text: bytes = library.rl_cuda_error_string(code)
    return text.decode()
