"""Specs as Gymnasium spaces."""

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
    NonTensor,
    OneHot,
    SpecError,
    TensorSpec,
    Unbounded,
    message,
)

if TYPE_CHECKING:
    import gymnasium


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
