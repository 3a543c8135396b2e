"""The affine map that normalisers and scalers share, and the loading of statistics that a module does not have yet."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rl_specs import Composite, NestedKey, ShapeError, message


def affine(value: Tensor, loc: Tensor, scale: Tensor, *, standard_normal: bool) -> Tensor:
    """Scaled and shifted `value`.

        standard_normal:      (value - loc) / scale
        not standard_normal:  value * scale + loc

    Args:
        value: `[*B, *F]`; integers are taken for floats of torch's default dtype.
        loc: broadcasts to `value`.
        scale: broadcasts to `value`.
        standard_normal: which of the two.
    Returns:
        `[*B, *F]`, of the dtype of `value` where that is floating-point, whatever `loc` and `scale` are.
    Raises:
        ShapeError: `loc` or `scale` would make a larger entry of it.
    """
    dtype = value.dtype if value.is_floating_point() else torch.get_default_dtype()
    result = (value - loc) / scale if standard_normal else value * scale + loc
    if result.shape != value.shape:
        raise _too_large(value, loc, scale)
    return result.to(dtype)


def _too_large(value: Tensor, loc: Tensor, scale: Tensor) -> ShapeError:
    found = f"{tuple(loc.shape)} and {tuple(scale.shape)} for an entry {tuple(value.shape)}"
    fix = "Give numbers, or constants with the shape of one row"
    return ShapeError(message("loc and scale", "do not broadcast to the entry", found=found, fix=fix))


def check_divisor(component: str, scale: Tensor | None, *, divides: bool) -> None:
    """Refuse a scale of zero that something is divided by.

    Args:
        component: class that asks, for messages.
        scale: the factor; None: not known yet.
        divides: whether the map, or its inverse, divides by it.
    Raises:
        ValueError: an element is zero.
    """
    if divides and scale is not None and bool((scale == 0).any()):
        raise ValueError(message(component, "scale is zero, and divided by", expected="no zero", found=scale.tolist()))


def as_parameter(value: float | Sequence[float] | Tensor) -> Tensor:
    """A constant of a map as a floating-point tensor; a tensor is copied and keeps its floating-point dtype."""
    tensor = torch.as_tensor(value).detach().clone()
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def follow_entries(module: nn.Module, keys: Iterable[NestedKey], *composites: Composite) -> None:
    """Move the constants of a module to where the entries are that it is used on.

    Args:
        module: has the constants as buffers.
        keys: the entries.
        composites: specs of which some have them.
    """
    wanted = set(keys)
    devices = [leaf.device for composite in composites for key, leaf in composite.flat_items() if key in wanted]
    device = next((each for each in devices if each is not None), None)
    if device is not None and any(buffer.device != device for buffer in module.buffers()):
        module.to(device)


def adopt_buffers(module: nn.Module, state: Mapping[str, Any], prefix: str, names: Sequence[str]) -> None:
    """Give `module` the buffers `names` that a state has and the module does not have in that shape and dtype.

    Statistics get their shape from the data; a module that has seen none takes it from the state that it loads.
    """
    for name in names:
        saved = state.get(prefix + name)
        current = module._buffers.get(name)
        if isinstance(saved, Tensor) and current is None:
            module._buffers[name] = torch.empty_like(saved)
