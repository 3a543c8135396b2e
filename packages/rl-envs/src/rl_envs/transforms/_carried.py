"""Transforms that carry an entry from step to step, in the data: what they share, and how it is kept safe."""

from collections.abc import Iterable

import torch
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import unpack_flat
from rl_specs import (
    Composite,
    MissingKeyError,
    NestedKey,
    ShapeError,
    TensorMap,
    canonical_key,
    key_str,
    message,
    missing_key,
)


def missing_carried(component: str, key: NestedKey, data: TensorMap) -> MissingKeyError:
    """Error for a root that lacks an entry which the reset, or the step before, wrote."""
    fix = "Step from what env.reset() or step_mdp(...) returned; reset after a transform was added"
    return missing_key(component, key, unpack_flat(data), fix=fix)


def already_there(argument: str, keys: Iterable[NestedKey], specs: EnvSpecs) -> list[str]:
    """Problems, in words, of entries that a transform would write over those of the environment or of another one."""
    there = dict(specs.observation.flat_items())
    return [
        f"{argument}: {key_str(key)} is written already, by the environment or a transform before this one; leave "
        f"one of the two out, or give this one another name ({argument}=...)"
        for key in keys
        if key in there
    ]


def no_forward(component: str) -> NotImplementedError:
    """Error for a transform that makes sense in an environment alone."""
    problem = "works on the steps of an environment and cannot be applied to stored data"
    return NotImplementedError(message(component, problem, fix="Append it to a TransformedEnv"))


def not_observations(keys: Iterable[NestedKey], specs: EnvSpecs) -> list[str]:
    """Problems, in words, of in keys that a reset does not return."""
    there = dict(specs.observation.flat_items())
    return [f"in_keys: key {key_str(key)} is no observation" for key in keys if key not in there]


def open_sizes(
    keys: Iterable[NestedKey], composites: Iterable[Composite], what: str, name: str = "in_keys"
) -> list[str]:
    """Problems, in words, of entries that leave a size open, for a transform that needs the same size at every step.

    Args:
        keys: entries that the transform reads.
        composites: specs that may have them.
        what: what the transform does with them.
        name: argument that named them.
    """
    wanted = set(keys)
    found = [(key, leaf.shape) for composite in composites for key, leaf in composite.flat_items() if key in wanted]
    return [
        f"{name}: {key_str(key)} leaves a size open (shape {tuple(shape)}), and {what}. Take it out of {name}, or "
        "bring it to one size before, e.g. with a UnaryTransform that pads it"
        for key, shape in found
        if -1 in shape
    ]


def flags_among(keys: Iterable[NestedKey], specs: EnvSpecs) -> list[str]:
    """Problems, in words, of in keys that are flags, which cannot be added up."""
    flags = dict(specs.done.flat_items())
    return [f"in_keys: {key_str(key)} is a flag, not a number. Cast it first" for key in keys if key in flags]


def beside_key(key: NestedKey, name: str) -> NestedKey:
    """The key `name` at the level of `key`."""
    return name if isinstance(key, str) else canonical_key((*key[:-1], name))


def beside(key: NestedKey, suffix: str) -> NestedKey:
    """The name of `key` with `_suffix` behind, at the same level."""
    return f"{key}_{suffix}" if isinstance(key, str) else (*key[:-1], f"{key[-1]}_{suffix}")


def kept_outside(data: TensorMap, mask_key: NestedKey | None, fresh: Tensor, key: NestedKey, batch_dims: int) -> Tensor:
    """A carried entry after a reset by a mask of one's own.

    Args:
        data: root entries before the reset.
        mask_key: the mask, bool `[*B]` or `[*B, 1]`, or with more of the dimensions of the entry; None: `"_reset"`,
            which the caller applies.
        fresh: the entry where the reset is, `[*B, *F]`.
        key: the entry in `data`.
        batch_dims: number of dimensions of `B`.
    Returns:
        `fresh` in the rows of the mask, what `data` has elsewhere.
    Raises:
        ShapeError: the mask fits neither the batch nor the entry.
    """
    mask, before = (None, None) if mask_key is None else (data.get(mask_key, None), data.get(key, None))
    if mask is None or before is None:
        return fresh
    return torch.where(_beside_entry(mask, mask_key, fresh, batch_dims), fresh, before)


def _beside_entry(mask: Tensor, mask_key: NestedKey | None, entry: Tensor, batch_dims: int) -> Tensor:
    """A mask with as many dimensions as an entry `[*B, *F]`, to whose shape it broadcasts."""
    batch = entry.shape[:batch_dims]
    if mask.shape in (batch, (*batch, 1)):
        return mask.reshape(*batch, *[1] * (entry.ndim - batch_dims))
    sizes = zip(mask.shape[batch_dims:], entry.shape[batch_dims:], strict=False)
    if mask.shape[:batch_dims] == batch and mask.ndim == entry.ndim and all(one in (1, other) for one, other in sizes):
        return mask
    expected = f"{tuple(batch)}, {(*batch, 1)} or {tuple(entry.shape)}"
    name = "mask" if mask_key is None else key_str(mask_key)
    raise ShapeError(message(name, "mask of another shape", expected=expected, found=tuple(mask.shape)))
