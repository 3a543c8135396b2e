"""Masks of categories: which of them may be taken, at every place of a value."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import Generator, Size, Tensor

from rl_specs._leaf import LeafSpec
from rl_specs._shape_ops import ShapeOp, known
from rl_specs.errors import DTypeError, ShapeError, SpecError, message

_SHOWN = 16
"""Number of entries up to which messages show a whole mask."""


class MaskedSpec(LeafSpec):
    """A spec of categories some of which can be ruled out. Abstract: subclasses say how masks and values go together.

    The mask is the one part of a leaf spec that can change, as what an environment allows differs from step to step.
    It counts in comparisons, and not in the hash.
    """

    _mask: Tensor | None = None

    @property
    def mask(self) -> Tensor | None:
        """True where a category may be taken, bool `[*batch, n]`; None: all may. Change it with `update_mask`."""
        return self._mask

    def update_mask(self, mask: Tensor | None) -> None:
        """Rule out the categories where `mask` is False: `rand`, `is_in`, `project` and `enumerate` follow it.

        Args:
            mask: bool, broadcasts to `[*batch, n]` (all the variables' categories in a row, where there are several
                variables); copied. None rules out nothing.
        Raises:
            DTypeError: it is no bool tensor.
            ShapeError: it does not broadcast.
            SpecError: no category is left somewhere (looked at on the CPU only).
        """
        if mask is None:
            self._mask = None
            return
        component, shape = f"{type(self).__name__}.update_mask", self._mask_shape
        _check_is_mask(component, mask)
        try:
            if self.is_dynamic:  # then expanding to -1 keeps the size that the mask has there
                mask = mask.reshape((*[1] * (len(shape) - mask.ndim), *mask.shape))
            whole = mask.to(self._device).expand(shape).clone()
        except RuntimeError as error:
            problem, size = "mask does not broadcast", tuple(mask.shape)
            raise ShapeError(message(component, problem, expected=tuple(shape), found=size)) from error
        if whole.device.type == "cpu":
            for block in torch.functional.split(whole, self._mask_blocks, -1):
                if not bool(block.any(-1).all()):
                    fix = "Leave at least one category everywhere"
                    raise SpecError(message(component, "mask rules out every category at a place", fix=fix))
        self._mask = whole

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and isinstance(other, MaskedSpec) and _is_same(self._mask, other._mask)

    __hash__ = LeafSpec.__hash__

    @property
    @abstractmethod
    def _mask_shape(self) -> Size:
        """Shape of a whole mask."""

    @property
    @abstractmethod
    def _mask_blocks(self) -> list[int]:
        """Number of categories of each variable that the last dimension of a mask holds."""

    def _owned(self) -> Self:
        return self.clone()

    def _mask_str(self) -> str:
        if self._mask is None:
            return ""
        if self._mask.numel() <= _SHOWN:
            return f", mask={self._mask.int().tolist()}"
        return f", mask={int(self._mask.sum())} of {self._mask.numel()}"

    def _unmasked(self) -> Tensor:
        """The mask, made where there is none."""
        if self._mask is None:
            return torch.ones((), dtype=torch.bool, device=self._device).expand(known(self._mask_shape))
        return self._mask

    def _moved_mask(self, others: "Sequence[MaskedSpec]", op: ShapeOp) -> Tensor | None:
        """Mask after a shape operation on values, or None where no spec has one."""
        specs: list[MaskedSpec] = [self, *others]
        if all(spec._mask is None for spec in specs):
            return None
        return op([spec._unmasked() for spec in specs])

    def _common_mask(self) -> Tensor | None:
        """The mask of one place, `[n]`, where it is the same for all.

        Raises:
            SpecError: it is not.
        """
        if self._mask is None:
            return None
        rows = self._mask.reshape(-1, self._mask_shape[-1])
        if len(rows) == 0 or not bool((rows == rows[0]).all()):
            problem = "places of a value have different masks, and so no common list of values"
            raise SpecError(message(f"{type(self).__name__}.enumerate", problem, fix="Index the spec first"))
        return rows[0]


def random_allowed(mask: Tensor, lead: Size, generator: Generator | None) -> Tensor:
    """Allowed categories drawn uniformly, int64 `[*lead, *B]`.

    Args:
        mask: `[*B, n]`.
        lead: dimensions in front.
        generator: of random numbers.
    """
    noise = torch.rand(lead + mask.shape, generator=generator, device=mask.device)
    return noise.masked_fill(~mask, -1.0).argmax(-1)


def nearest_allowed(index: Tensor, mask: Tensor) -> Tensor:
    """The allowed category nearest to each of `index` `[*lead, *B]`, the lower one of two; `mask` is `[*B, n]`."""
    n = mask.shape[-1]
    distance = (torch.arange(n, device=mask.device) - index.clamp(0, n - 1).unsqueeze(-1)).abs()
    return distance.masked_fill(~mask, n).argmin(-1)


def is_allowed(index: Tensor, mask: Tensor) -> Tensor:
    """Whether each of `index` `[*lead, *B]`, in range, is allowed by `mask` `[*B, n]`."""
    n = mask.shape[-1]
    place = index.clamp(0, n - 1).unsqueeze(-1)
    return mask.expand((*index.shape, n)).gather(-1, place).squeeze(-1)


def allowed_scores(value: Tensor, mask: Tensor) -> Tensor:
    """`value` `[*lead, *B, n]` with less than any other number where `mask` `[*B, n]` is False."""
    if value.is_floating_point():
        return value.clamp_min(torch.finfo(value.dtype).min).masked_fill(~mask, -torch.inf)
    least = torch.iinfo(torch.int64).min
    return value.to(torch.int64).clamp_min(least + 1).masked_fill(~mask, least)


def _is_same(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.device == b.device and a.shape == b.shape and bool((a == b).all())


def _check_is_mask(component: str, mask: object) -> None:
    if not isinstance(mask, Tensor):
        problem, expected, fix = "mask is no tensor", "a bool tensor", "Pass torch.tensor(mask, dtype=torch.bool)"
        raise DTypeError(message(component, problem, expected=expected, found=type(mask).__name__, fix=fix))
    if mask.dtype != torch.bool:
        found, fix = str(mask.dtype).removeprefix("torch."), "Pass mask.bool()"
        raise DTypeError(message(component, "mask of another dtype", expected="bool", found=found, fix=fix))
