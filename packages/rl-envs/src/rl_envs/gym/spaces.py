"""Gymnasium spaces as specs, and specs as Gymnasium spaces."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rl_specs import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    MultiCategorical,
    MultiOneHot,
    NestedKey,
    NonTensor,
    OneHot,
    SpecError,
    TensorSpec,
    Unbounded,
    message,
)

if TYPE_CHECKING:
    import gymnasium

_WIDENED: "dict[np.dtype[Any], np.dtype[Any]]" = {
    np.dtype(np.uint16): np.dtype(np.int32),
    np.dtype(np.uint32): np.dtype(np.int64),
    np.dtype(np.uint64): np.dtype(np.int64),
}


def array_dtype(dtype: Any) -> "np.dtype[Any]":
    """The numpy dtype in which arrays become tensors: `dtype`, or a wider one where torch has no arithmetic."""
    given: np.dtype[Any] = np.dtype(dtype)
    wider = _WIDENED.get(given)
    return given if wider is None else wider


def torch_dtype(dtype: Any) -> torch.dtype:
    """The torch dtype of arrays of the numpy `dtype`."""
    return torch.from_numpy(np.empty(0, dtype=array_dtype(dtype))).dtype


def spec_from_space(
    space: "gymnasium.Space[Any]",
    *,
    batch_size: Sequence[int] = (),
    device: torch.device | str | None = None,
    categorical: bool = False,
) -> TensorSpec:
    """Spec of the values of a Gymnasium space.

    Args:
        space: `Box`, `Discrete`, `MultiDiscrete`, `MultiBinary`, `Text`, or a `Dict` or `Tuple` of such; entries of a
            `Tuple` are named `"0"`, `"1"`, ....
        batch_size: leading dimensions of the result.
        device: device of the result.
        categorical: discrete values as indices rather than one-hot. A `start` other than 0 is shifted away.
    Returns:
        A leaf spec, or a `Composite` for `Dict` and `Tuple`.
    Raises:
        SpecError: a space of another kind.
    """
    from gymnasium import spaces

    if isinstance(space, spaces.Dict | spaces.Tuple):
        entries: dict[NestedKey, TensorSpec] = {
            name: spec_from_space(inner, batch_size=batch_size, device=device, categorical=categorical)
            for name, inner in space_items(space)
        }
        return Composite(entries, shape=torch.Size(batch_size), device=device)
    leaf = _leaf_spec(space, device, categorical)
    return leaf.expand((*batch_size, *leaf.shape)) if batch_size else leaf


def space_items(space: Any) -> list[tuple[str, Any]]:
    """Names and spaces of the entries of a `Dict` or `Tuple`."""
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        return [(str(name), inner) for name, inner in space.spaces.items()]
    return [(str(index), inner) for index, inner in enumerate(space.spaces)]


def _leaf_spec(space: Any, device: torch.device | str | None, categorical: bool) -> TensorSpec:
    from gymnasium import spaces

    match space:
        case spaces.Box():
            return _box_spec(space, device)
        case spaces.Discrete():
            n = int(space.n)
            return (
                Categorical(n, device=device, dtype=torch.int64)
                if categorical
                else OneHot(n, device=device, dtype=torch.int64)
            )
        case spaces.MultiDiscrete():
            nvec = [int(n) for n in np.ravel(space.nvec)]
            if categorical:
                return MultiCategorical(nvec, device=device, dtype=torch.int64)
            return MultiOneHot(nvec, device=device, dtype=torch.int64)
        case spaces.MultiBinary():
            return Binary(shape=torch.Size(space.shape), device=device, dtype=torch.int8)
        case spaces.Text():
            return NonTensor(shape=(), device=device)
    raise SpecError(
        message(
            "spec_from_space",
            "a space of a kind that has no spec",
            expected="Box, Discrete, MultiDiscrete, MultiBinary, Text, Dict or Tuple",
            found=space,
            fix="Wrap the env so that its space is one of these",
        )
    )


def _box_spec(space: Any, device: torch.device | str | None) -> TensorSpec:
    dtype = torch_dtype(space.dtype)
    shape = torch.Size(space.shape)
    if dtype.is_floating_point and np.isinf(space.low).all() and np.isinf(space.high).all():
        return Unbounded(shape=shape, device=device, dtype=dtype)
    if space.dtype == np.bool_:
        return Categorical(2, shape=shape, device=device, dtype=torch.bool)
    kind = array_dtype(space.dtype)
    low, high = space.low, space.high
    if kind != space.dtype:
        top = np.iinfo(kind).max
        low, high = np.minimum(low, top).astype(kind), np.minimum(high, top).astype(kind)
    return Bounded(
        torch.from_numpy(np.array(low)), torch.from_numpy(np.array(high)), shape=shape, device=device, dtype=dtype
    )


def space_from_spec(spec: TensorSpec) -> "gymnasium.Space[Any]":
    """Gymnasium space of the values of a spec.

    Args:
        spec: a leaf, or a `Composite`, which becomes a `Dict`.
    Returns:
        The space; its shapes are those of the spec, batch dimensions included.
    Raises:
        SpecError: a spec of another kind.
    """
    from gymnasium import spaces

    shape = tuple(spec.shape)
    match spec:
        case Composite():
            return spaces.Dict({str(name): space_from_spec(spec[name]) for name in spec.keys()})  # noqa: SIM118
        case Bounded():
            kind = _numpy_dtype(spec.dtype)
            return spaces.Box(spec.space.low.cpu().numpy(), spec.space.high.cpu().numpy(), shape, kind.type)
        case Unbounded():
            return _unbounded_space(spec, shape)
        case OneHot() | MultiOneHot() | Binary():
            return spaces.MultiBinary(shape)
        case Categorical():
            n = int(spec.space.n)
            return spaces.Discrete(n) if not shape else spaces.MultiDiscrete(np.full(shape, n, dtype=np.int64))
        case MultiCategorical():
            return spaces.MultiDiscrete(np.broadcast_to(np.array(spec.nvec, dtype=np.int64), shape))
        case NonTensor():
            return spaces.Text(max_length=4096)
    raise SpecError(message("space_from_spec", "a spec of a kind that has no space", found=type(spec).__name__))


def _unbounded_space(spec: Unbounded, shape: tuple[int, ...]) -> "gymnasium.Space[Any]":
    from gymnasium import spaces

    kind = _numpy_dtype(spec.dtype)
    if spec.dtype is torch.bool:
        return spaces.MultiBinary(shape)
    if spec.dtype.is_floating_point:
        return spaces.Box(-np.inf, np.inf, shape, kind.type)
    limits = np.iinfo(kind)
    return spaces.Box(limits.min, limits.max, shape, kind.type)


def _numpy_dtype(dtype: torch.dtype) -> "np.dtype[Any]":
    return torch.empty(0, dtype=dtype).numpy().dtype
