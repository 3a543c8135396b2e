"""A part of an image, by its place."""

from typing import final

from torch import Size, Tensor

from rl_envs.transforms._image_transform import ImageTransform, checked_size
from rl_envs.transforms.transform import Keys
from rl_specs import NestedKey, message


@final
class Crop(ImageTransform):
    """Cuts a part out of images: `[*B, C, H, W]` becomes `[*B, C, h, w]`.

    Args:
        w: width of the result, in pixels.
        h: height of the result, in pixels; None: `w`.
        top: first row kept.
        left: first column kept.
        in_keys: images, default every observation named `"pixels"`.
        out_keys: names of the results; `in_keys` when left out.
    Raises:
        ValueError: a size is not positive, or `top` or `left` negative.
        ShapeError: the part does not lie inside of the image.
    """

    def __init__(
        self,
        w: int,
        h: int | None = None,
        *,
        top: int = 0,
        left: int = 0,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
    ) -> None:
        super().__init__(in_keys, out_keys)
        self.w, self.h = checked_size("Crop", w, h)
        if min(top, left) < 0:
            found = f"top={top}, left={left}"
            raise ValueError(message("Crop", "bad corner", expected="top >= 0 and left >= 0", found=found))
        self.top = top
        self.left = left
        self._least_size = max(top + self.h, left + self.w)

    def _problem(self, shape: Size) -> str | None:
        bottom, right = self.top + self.h, self.left + self.w
        if len(shape) >= 3 and bottom <= shape[-2] and right <= shape[-1]:
            return None
        return f"rows {self.top} to {bottom} and columns {self.left} to {right} do not lie inside of an image"

    def _apply_transform(self, value: Tensor) -> Tensor:
        self._check(value.shape)
        return value[..., self.top : self.top + self.h, self.left : self.left + self.w]

    def __repr__(self) -> str:
        return f"Crop(w={self.w}, h={self.h}, top={self.top}, left={self.left}, keys={self.in_keys})"
