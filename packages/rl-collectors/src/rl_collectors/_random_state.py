"""The global random streams of a process as bytes: of Python, numpy and torch (on the CPU)."""

import random
import struct

import numpy as np
import torch

_PYTHON = struct.Struct("=625I?d")
_NUMPY = struct.Struct("=624Iiid")


def random_state() -> bytes:
    """State of the three streams."""
    torch_state = torch.get_rng_state().numpy().tobytes()
    return _packed(random.getstate(), np.random.get_state(legacy=True), torch_state)


def seeded_random_state(seed: int) -> bytes:
    """State of three streams that start from a seed."""
    generator = torch.Generator().manual_seed(seed)
    numpy_state = np.random.RandomState(seed % 2**32).get_state(legacy=True)
    return _packed(random.Random(seed).getstate(), numpy_state, generator.get_state().numpy().tobytes())


def set_random_state(state: bytes) -> None:
    """Go on from `state`."""
    *internal, has_gauss, gauss = _PYTHON.unpack_from(state)
    *keys, position, has_cached, cached = _NUMPY.unpack_from(state, _PYTHON.size)
    random.setstate((random.Random.VERSION, tuple(internal), gauss if has_gauss else None))
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, has_cached, cached))
    torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8, offset=_PYTHON.size + _NUMPY.size))


def _packed(python_state: tuple[int, tuple[int, ...], float | None], numpy_state: object, torch_state: bytes) -> bytes:
    _, internal, gauss = python_state
    assert isinstance(numpy_state, tuple), numpy_state
    _, keys, *rest = numpy_state
    return _PYTHON.pack(*internal, gauss is not None, gauss or 0.0) + _NUMPY.pack(*keys.tolist(), *rest) + torch_state
