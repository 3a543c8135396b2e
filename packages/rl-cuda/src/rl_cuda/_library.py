"""The compiled library: finding it, loading it once, and saying why it cannot be used."""

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch

LIBRARY_PATH = Path(__file__).with_name("librl_cuda.so")

_PLACE = (ctypes.c_int, ctypes.c_void_p)  # device, stream
_POINTER, _SIZE, _NUMBER = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
_TREE = (_POINTER, _SIZE)  # tree, leaves
_SHAPE = (_SIZE, _SIZE, _SIZE)  # rows, steps, segment

_UPDATE = (*_TREE, _POINTER, _POINTER, _SIZE, _POINTER)  # index, value, batch, scratch
_LAUNCHERS: dict[str, tuple[Any, ...]] = {
    **{f"{kind}_tree_update": _UPDATE for kind in ("sum", "min", "max")},
    **{f"{kind}_tree_rebuild": _TREE for kind in ("sum", "min", "max")},
    "sum_tree_find": (*_TREE, _POINTER, _SIZE, _POINTER),  # prefix, count, index
    "sum_tree_sample": (*_TREE, _POINTER, _SIZE, *[_POINTER] * 4),  # uniform, count, reference, beta, index, weight
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
            "rl-cuda was installed without its CUDA library, because nvcc was not found when it was built. "
            "Install the CUDA toolkit and reinstall with RL_CUDA_BUILD=1"
        )
    try:
        library = load_library(path)
    except OSError as error:
        return f"the CUDA library cannot be loaded ({error}). Reinstall rl-cuda on this machine with RL_CUDA_BUILD=1"
    except AttributeError as error:
        return f"the CUDA library is of another version of rl-cuda ({error}). Reinstall rl-cuda with RL_CUDA_BUILD=1"
    if torch.version.cuda is None:
        return f"this torch ({torch.__version__}) is built without CUDA. Install a CUDA build of torch"
    if not _has_driver():
        return "no NVIDIA driver was found (libcuda.so.1). Install the driver, or give the container access to it"
    count = ctypes.c_int(0)
    code = library.rl_cuda_device_count(ctypes.byref(count))
    if code != 0:
        return f"the CUDA runtime of the library says: {error_string(library, code)}. Update the NVIDIA driver"
    if count.value == 0 or not torch.cuda.is_available():
        return "no CUDA device is visible. Check nvidia-smi and CUDA_VISIBLE_DEVICES"
    return _too_old(library)


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _too_old(library: ctypes.CDLL) -> str | None:
    oldest = architectures(library)[0]
    for device in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(device)
        if 10 * major + minor < oldest:
            return (
                f"cuda:{device} has compute capability {major}.{minor}, the library starts at {oldest / 10:.1f}. "
                f"Reinstall with RL_CUDA_ARCHS={10 * major + minor} and a CUDA toolkit that knows it"
            )
    return None


@functools.cache
def load_library(path: Path = LIBRARY_PATH) -> ctypes.CDLL:
    """The library with its signatures declared, loaded once.

    Raises:
        OSError: it is not there, or not for this machine.
        AttributeError: it was built from another version of the package.
    """
    library = ctypes.CDLL(str(path))
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
