"""Calls of the compiled library with tensors: on which device and stream, with pointers, and its error codes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from rl_cuda._library import SUFFIX, error_string, load_library, why_unavailable
from rl_specs import message

_LIBRARY = torch.library.Library("rl_cuda", "DEF")  # type: ignore[no-untyped-call]  # torch leaves it untyped


def define(schema: str, *, kernels: Callable[..., Any], portable: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Register an operator of torch.

    Args:
        schema: `"name(Tensor a, ...) -> ..."`, in the namespace `rl_cuda`.
        kernels: for CUDA tensors where the library can run.
        portable: the same results in plain torch, for all other tensors.
        fake: the results without their values, for tracing.
    """
    name = schema.partition("(")[0]

    def on_cuda(*arguments: Any) -> Any:
        return (kernels if why_unavailable() is None else portable)(*arguments)

    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]  # torch leaves it untyped
    _LIBRARY.impl(name, portable, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]  # torch leaves it untyped
    _LIBRARY.impl(name, on_cuda, "CUDA")  # type: ignore[no-untyped-call]  # torch leaves it untyped
    torch.library.register_fake(f"rl_cuda::{name}", fake, lib=_LIBRARY)


def define_gradient(name: str, backward: Callable[..., Any], remember: Callable[..., None]) -> None:
    """Make an operator differentiable; see `torch.library.register_autograd`."""
    torch.library.register_autograd(f"rl_cuda::{name}", backward, setup_context=remember, lib=_LIBRARY)


def launch(name: str, like: Tensor, *arguments: Tensor | int | float | None) -> None:
    """Call the launcher `name` for the dtype of `like`, on its device and that device's current stream.

    Raises:
        RuntimeError: CUDA refused the launch.
    """
    library = load_library()
    launcher = getattr(library, f"rl_cuda_{name}_{SUFFIX[like.dtype]}")
    values = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    with _on_device(like.device) as (ordinal, stream):
        code = launcher(ordinal, stream, *values)
    if code != 0:
        raise RuntimeError(message(f"rl_cuda.{name}", f"the CUDA kernel failed: {error_string(library, code)}"))


def update_scratch(batch: int, device: torch.device) -> Tensor | None:
    """Scratch memory of a tree update, None where it needs none."""
    size: int = load_library().rl_cuda_tree_update_scratch(batch)
    return torch.empty(size, dtype=torch.uint8, device=device) if size else None


@contextmanager
def _on_device(device: torch.device) -> Iterator[tuple[int, int]]:
    """Ordinal of a device and its current stream, with the thread's own device restored afterwards."""
    with torch.cuda.device(device):
        yield device.index, torch.cuda.current_stream(device).cuda_stream
