"""Compression by zstd, through the library `zstandard`."""

from typing import Any, final

import torch
from torch import Tensor

from rl_specs import message


@final
class Zstd:
    """Compresses and decompresses bytes (uint8 `[n]`); for one thread at a time.

    Args:
        component: who asks, for the message.
        level: 1 to 22.
    Raises:
        ImportError: the library is not installed.
        ValueError: no such level.
    """

    def __init__(self, component: str, level: int) -> None:
        try:
            import zstandard
        except ImportError as error:
            fix = "pip install 'rl-buffers[zstd]', or give compression_fn and decompression_fn"
            raise ImportError(message(component, "zstd needs the package zstandard", fix=fix)) from error
        if not isinstance(level, int) or isinstance(level, bool) or not 1 <= level <= 22:
            expected = "an integer from 1 to 22"
            raise ValueError(message(component, "compression_level", expected=expected, found=repr(level)))
        self._arguments = (component, level)
        self._compressor, self._decompressor = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()

    def compress(self, data: Tensor) -> Tensor:
        """Fewer bytes, as far as there is order in them."""
        return torch.frombuffer(bytearray(self._compressor.compress(data.numpy().data)), dtype=torch.uint8)

    def decompress(self, data: Tensor) -> Tensor:
        """The bytes that `compress` was given."""
        raw = bytearray(self._decompressor.decompress(data.numpy().data))
        return torch.frombuffer(raw, dtype=torch.uint8) if raw else torch.empty(0, dtype=torch.uint8)

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew elsewhere: what the library keeps cannot be copied."""
        return Zstd, self._arguments
