"""Optional CUDA kernels for prioritized replay, in one library that is independent of the torch version."""

from rl_cuda.__about__ import __version__

__all__ = ["__version__"]
