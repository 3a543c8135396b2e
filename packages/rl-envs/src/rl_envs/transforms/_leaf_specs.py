"""Specs of transformed entries, from the specs of the entries they come from."""

from collections.abc import Callable, Sequence

import torch
from tensordict import TensorDictBase
from torch import Size, Tensor

from rl_specs import Binary, Bounded, Categorical, Composite, LeafSpec, MultiCategorical, TensorSpec, Unbounded


def dry_run(function: Callable[[Tensor], Tensor], spec: TensorSpec, least: int = 1) -> Unbounded:
    """Spec of `function`'s result, found out on entries of zeros: its shape and dtype, no bounds.

    Where a size of the entry is open (-1), two sizes are tried: a size of the result that differs then is open too.

    Args:
        function: maps one entry.
        spec: spec of the entry.
        least: lowest open size that the function takes.
    Returns:
        An `Unbounded` with the result's shape, dtype and device.
    """
    with torch.no_grad():
        results = [function(each.zero()) for each in tried_sizes(spec, least)]
    size = common_size([result.shape for result in results])
    return Unbounded(shape=size, dtype=results[0].dtype, device=results[0].device)


def tried_sizes(spec: TensorSpec, least: int = 1) -> list[TensorSpec]:
    """`spec` itself or, where it leaves sizes open, two specs with sizes that differ from each other and between dims.

    Sizes of 1 are not among them: these broadcast.

    Args:
        spec: spec of an entry.
        least: lowest open size.
    """
    if not isinstance(spec, LeafSpec) or not spec.is_dynamic:
        return [spec]
    count, first = list(spec.shape).count(-1), max(least, 2)
    return [spec.sized(*(first + start + step * at for at in range(count))) for start, step in ((0, 1), (3, 2))]


def common_size(sizes: Sequence[Size]) -> Size:
    """The sizes that all have in common, -1 where they differ."""
    return Size([given[0] if len(set(given)) == 1 else -1 for given in zip(*sizes, strict=True)])


def monotone_image(function: Callable[[Tensor], Tensor], spec: TensorSpec, least: int = 1) -> TensorSpec:
    """Spec of an elementwise monotone `function`'s result: bounds map to bounds.

    Args:
        function: maps one entry; monotone in every element, rising or falling.
        spec: spec of the entry; sizes may be open, as for `dry_run`.
        least: lowest open size that the function takes.
    Returns:
        A `Bounded` when `spec` is one, else an `Unbounded`.
    """
    if not isinstance(spec, Bounded):
        return dry_run(function, spec, least)
    boxes = [each for each in tried_sizes(spec, least) if isinstance(each, Bounded)]
    with torch.no_grad():
        ends = [(function(box.low), function(box.high)) for box in boxes]
    size = common_size([first.shape for first, _ in ends])
    low, high = torch.minimum(*ends[0]), torch.maximum(*ends[0])
    if low.is_floating_point():  # 0 * inf is NaN
        low, high = low.masked_fill(low.isnan(), -torch.inf), high.masked_fill(high.isnan(), torch.inf)
    opened = [dim for dim, each in enumerate(size) if each == -1]
    if opened:
        low, high = low.amin(opened, keepdim=True), high.amax(opened, keepdim=True)
    return Bounded(low, high, shape=size, dtype=low.dtype, device=low.device)


def summed_specs(rewards: Composite, most: int, least: int = 1) -> Composite:
    """Specs of sums of `least` to `most` rewards; of none of them, 0.

    Args:
        rewards: specs of the rewards, changed here.
        most: number of rewards in a sum, at most.
        least: number of rewards in a sum, at least; not more than `most`.
    Returns:
        `rewards`, with `Bounded` leaves where the rewards have bounds that their dtype can hold.
    """
    if (least, most) != (1, 1):
        for key, leaf in rewards.flat_items():
            if isinstance(leaf, LeafSpec) and leaf.dtype is not torch.bool:  # bools add up to bools
                rewards[key] = _summed_spec(leaf, least, most)
    return rewards


def _summed_spec(spec: LeafSpec, least: int, most: int) -> LeafSpec:
    if isinstance(spec, Bounded):
        lowest, highest = spec.low, spec.high
    elif isinstance(spec, Binary | Categorical):
        lowest = spec.zero()
        highest = torch.full_like(lowest, spec.n - 1 if isinstance(spec, Categorical) else 1)
    else:
        return Unbounded(shape=spec.shape, dtype=spec.dtype, device=spec.device)
    if not spec.dtype.is_floating_point:
        form = torch.iinfo(spec.dtype)
        if float(lowest.double().min()) * most < form.min or float(highest.double().max()) * most > form.max:
            return Unbounded(shape=spec.shape, dtype=spec.dtype, device=spec.device)
    few = (lowest * least, highest * least) if least else (torch.zeros_like(lowest), torch.zeros_like(highest))
    low, high = torch.minimum(few[0], lowest * most), torch.maximum(few[1], highest * most)
    return Bounded(low, high, shape=spec.shape, dtype=spec.dtype, device=spec.device)


def cast_spec(spec: TensorSpec, dtype: torch.dtype) -> TensorSpec:
    """Spec of entries cast to `dtype`; bounds that an integer dtype does not hold are left out.

    Args:
        spec: spec of the entry.
        dtype: what it is cast to.
    Returns:
        A spec of the same kind, or an `Unbounded`.
    """
    if isinstance(spec, Categorical) and dtype.is_floating_point:
        return Bounded(0, spec.n - 1, shape=spec.shape, dtype=dtype, device=spec.device)
    if isinstance(spec, Categorical | MultiCategorical) and (dtype.is_floating_point or dtype is torch.bool):
        return Unbounded(shape=spec.shape, dtype=dtype, device=spec.device)
    if not isinstance(spec, Bounded):
        return spec.to(dtype)
    if not dtype.is_floating_point and dtype != torch.bool:
        form = torch.iinfo(dtype)
        if not bool(((spec.space.low >= form.min) & (spec.space.high <= form.max)).all()):
            return Unbounded(shape=spec.shape, dtype=dtype, device=spec.device)
    return monotone_image(lambda value: value.to(dtype), spec)


def cast_entries(tensordict: TensorDictBase, old: torch.dtype, new: torch.dtype) -> TensorDictBase:
    """Cast every entry of dtype `old`, at every level, to `new`; returns that TensorDict."""
    for key in list(tensordict.keys(include_nested=True, leaves_only=True)):
        value = tensordict.get(key)
        if isinstance(value, Tensor) and value.dtype is old:
            tensordict.set(key, value.to(new))
    return tensordict


def inner_cast_spec(spec: TensorSpec, dtype: torch.dtype) -> TensorSpec:
    """Spec of outer entries of `dtype` that are cast to those of `spec`.

    Args:
        spec: spec of the inner entry.
        dtype: dtype outside.
    Returns:
        A spec of the same kind, whose bounds are rounded inwards: what lies in them lies in the inner ones after the
        cast.
    """
    if not isinstance(spec, Bounded):
        return spec.to(dtype)
    low, high = spec.space.low, spec.space.high
    if dtype.is_floating_point:
        outer_low, outer_high = low.to(dtype), high.to(dtype)
        up, down = torch.full_like(outer_low, torch.inf), torch.full_like(outer_high, -torch.inf)
        outer_low = torch.where(outer_low.to(low.dtype) < low, torch.nextafter(outer_low, up), outer_low)
        outer_high = torch.where(outer_high.to(high.dtype) > high, torch.nextafter(outer_high, down), outer_high)
    else:
        form = torch.iinfo(dtype)
        outer_low = torch.where(low <= form.min, form.min, low.ceil().to(dtype))
        outer_high = torch.where(high >= form.max, form.max, high.floor().to(dtype))
    return Bounded(outer_low, outer_high, shape=spec.shape, device=spec.device, dtype=dtype)
