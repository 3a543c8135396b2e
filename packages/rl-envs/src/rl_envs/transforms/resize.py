"""Images of another size."""

from typing import Literal, final

import torch
from torch import Size, Tensor

from rl_envs.transforms._image_transform import ImageTransform, checked_size
from rl_envs.transforms._leaf_specs import dry_run
from rl_envs.transforms.transform import Keys
from rl_specs import NestedKey, TensorSpec, message

Interpolation = Literal["bilinear", "bicubic", "area", "nearest", "nearest-exact"]
_MODES = ("bilinear", "bicubic", "area", "nearest", "nearest-exact")
_SMOOTH = ("bilinear", "bicubic")


@final
class Resize(ImageTransform):
    """Interpolates images: `[*B, C, H, W]` becomes `[*B, C, h, w]`, of the same dtype.

    Integers, bools and floats of few bits are interpolated in single precision; integers are rounded to nearest and
    kept inside of what their dtype holds, of bools that is True from a half on.

    Args:
        w: width of the result, in pixels.
        h: height of the result, in pixels; None: `w`.
        interpolation: how pixels in between are found.
        antialias: average over what a pixel of a smaller result covers; for `"bilinear"` and `"bicubic"`, the other
            kinds have no such choice.
        in_keys: images, default every observation named `"pixels"`.
        out_keys: names of the results; `in_keys` when left out.
    Raises:
        ValueError: a size is not positive, or the interpolation is of an unknown kind.
        ShapeError: an entry is no image.
    """

    def __init__(
        self,
        w: int,
        h: int | None = None,
        *,
        interpolation: Interpolation = "bilinear",
        antialias: bool = True,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
    ) -> None:
        super().__init__(in_keys, out_keys)
        self.w, self.h = checked_size("Resize", w, h)
        if interpolation not in _MODES:
            expected = f"one of {', '.join(_MODES)}"
            raise ValueError(message("Resize", "unknown interpolation", expected=expected, found=repr(interpolation)))
        self.interpolation = interpolation
        self.antialias = antialias

    def _problem(self, shape: Size) -> str | None:
        return None if len(shape) >= 3 else "an image has three dimensions"

    def _apply_transform(self, value: Tensor) -> Tensor:
        self._check(value.shape)
        images = value.reshape(-1, *value.shape[-3:]) if value.ndim != 4 else value
        is_exact = value.dtype in (torch.float32, torch.float64)
        resized = self._interpolate(images if is_exact else images.to(torch.float32))
        if value.dtype is torch.bool:
            resized = resized >= 0.5
        elif not value.is_floating_point():
            form = torch.iinfo(value.dtype)
            resized = resized.round_().clamp_(form.min, form.max).to(value.dtype)
        elif not is_exact:
            resized = resized.to(value.dtype)
        return resized if value.ndim == 4 else resized.reshape(*value.shape[:-2], self.h, self.w)

    def _interpolate(self, images: Tensor) -> Tensor:
        size, mode = (self.h, self.w), self.interpolation
        if mode not in _SMOOTH:
            return torch.nn.functional.interpolate(images, size, mode=mode)
        return torch.nn.functional.interpolate(images, size, mode=mode, align_corners=False, antialias=self.antialias)

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        if self.interpolation == "bicubic":  # it overshoots
            return dry_run(self._apply_transform, spec, self._least_size)
        return super()._leaf_spec(spec)

    def __repr__(self) -> str:
        size = f"w={self.w}, h={self.h}"
        return f"Resize({size}, interpolation={self.interpolation!r}, antialias={self.antialias}, keys={self.in_keys})"
