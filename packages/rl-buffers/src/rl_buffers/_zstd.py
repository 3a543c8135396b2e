"""Compression by zstd, through the library `zstandard`."""

from collections.abc import Callable

import torch
from torch import Tensor

from rl_specs import message


def zstd_functions(component: str, level: int) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """What compresses and decompresses bytes (uint8 `[n]`); for one thread at a time.

    Args:
        component: who asks, for the message.
        level: 1 to 22.
    Raises:
        ImportError: the library is not installed.
        ValueError: no such level.
    """
    try:
        import zstandard
    except ImportError as error:
        fix = "pip install 'rl-buffers[zstd]', or give compression_fn and decompression_fn"
        raise ImportError(message(component, "zstd needs the package zstandard", fix=fix)) from error
    if not isinstance(level, int) or isinstance(level, bool) or not 1 <= level <= 22:
        raise ValueError(message(component, "compression_level", expected="an integer from 1 to 22", found=repr(level)))
    compressor, decompressor = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()

    def compress(data: Tensor) -> Tensor:
        return torch.frombuffer(bytearray(compressor.compress(data.numpy().data)), dtype=torch.uint8)

    def decompress(data: Tensor) -> Tensor:
        raw = bytearray(decompressor.decompress(data.numpy().data))
        return torch.frombuffer(raw, dtype=torch.uint8) if raw else torch.empty(0, dtype=torch.uint8)

    return compress, decompress
