"""The middle of an image."""

from typing import final

from torch import Size, Tensor

from rl_envs.transforms._image_transform import ImageTransform, checked_size
from rl_envs.transforms.transform import Keys
from rl_specs import NestedKey


@final
class CenterCrop(ImageTransform):
    """Cuts the middle out of images: `[*B, C, H, W]` becomes `[*B, C, h, w]`.

    Of an odd number of rows or columns left over, the larger half is cut off at the bottom or on the right.

    Args:
        w: width of the result, in pixels.
        h: height of the result, in pixels; None: `w`.
        in_keys: images, default every observation named `"pixels"`.
        out_keys: names of the results; `in_keys` when left out.
    Raises:
        ValueError: a size is not positive.
        ShapeError: the image is smaller than the result.
    """

    def __init__(
        self,
        w: int,
        h: int | None = None,
        *,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
    ) -> None:
        super().__init__(in_keys, out_keys)
        self.w, self.h = checked_size("CenterCrop", w, h)
        self._least_size = max(self.w, self.h)

    def _problem(self, shape: Size) -> str | None:
        if len(shape) >= 3 and self.h <= shape[-2] and self.w <= shape[-1]:
            return None
        return f"that is no image of {self.h} rows and {self.w} columns at least"

    def _apply_transform(self, value: Tensor) -> Tensor:
        self._check(value.shape)
        top, left = (value.shape[-2] - self.h) // 2, (value.shape[-1] - self.w) // 2
        return value[..., top : top + self.h, left : left + self.w]

    def __repr__(self) -> str:
        return f"CenterCrop(w={self.w}, h={self.h}, keys={self.in_keys})"
