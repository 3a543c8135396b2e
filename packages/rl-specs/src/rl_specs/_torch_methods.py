"""The functions of torch's own namespace that specs take in place of a tensor."""

from collections.abc import Callable
from typing import Any

import torch


def _method(name: str) -> Callable[..., Any]:
    def run(input: Any, *args: Any, **kwargs: Any) -> Any:  # torch's own name for it
        return getattr(input, name)(*args, **kwargs)

    return run


def _split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
    return tensor.split(split_size_or_sections, dim)


def _select(input: Any, dim: int, index: int) -> Any:
    return input.unbind(dim)[index]


TORCH_METHODS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.broadcast_to: lambda input, size: input.expand(size),
    torch.chunk: _method("chunk"),
    torch.flatten: _method("flatten"),
    torch.flip: lambda input, dims: input.flip(dims),
    torch.gather: _method("gather"),
    torch.index_select: _method("index_select"),
    torch.masked_select: _method("masked_select"),
    torch.moveaxis: _method("movedim"),
    torch.movedim: _method("movedim"),
    torch.narrow: _method("narrow"),
    torch.permute: lambda input, dims: input.permute(dims),
    torch.ravel: _method("ravel"),
    torch.repeat_interleave: _method("repeat_interleave"),
    torch.reshape: lambda input, shape: input.reshape(shape),
    torch.roll: _method("roll"),
    torch.select: _select,
    torch.split: _split,
    torch.squeeze: _method("squeeze"),
    torch.swapaxes: _method("swapaxes"),
    torch.swapdims: _method("swapdims"),
    torch.take_along_dim: _method("take_along_dim"),
    torch.tensor_split: _method("tensor_split"),
    torch.transpose: _method("transpose"),
    torch.unbind: _method("unbind"),
    torch.unflatten: _method("unflatten"),
    torch.unsqueeze: _method("unsqueeze"),
}
