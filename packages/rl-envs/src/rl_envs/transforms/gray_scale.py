"""Colour images made gray."""

from typing import final

from torch import Size, Tensor

from rl_envs.transforms._image_transform import ImageTransform
from rl_envs.transforms.transform import Keys
from rl_specs import NestedKey


@final
class GrayScale(ImageTransform):
    """Luma of colour images: `[*B, 3, H, W]` becomes `[*B, 1, H, W]`, of the same dtype.

        gray = 0.299 red + 0.587 green + 0.114 blue

    Integers are rounded to nearest.

    Args:
        in_keys: images, default every observation named `"pixels"`.
        out_keys: names of the results; `in_keys` when left out.
    Raises:
        ShapeError: an image has other than 3 channels, or has them last: place `ToTensorImage` or a permutation before.
    Source: Recommendation ITU-R BT.601, https://www.itu.int/rec/R-REC-BT.601
    """

    def __init__(self, in_keys: Keys | NestedKey | None = None, out_keys: Keys | NestedKey | None = None) -> None:
        super().__init__(in_keys, out_keys)

    def _problem(self, shape: Size) -> str | None:
        return None if len(shape) >= 3 and shape[-3] == 3 else "the third dimension from the end is not 3 colours"

    def _apply_transform(self, value: Tensor) -> Tensor:
        self._check(value.shape)
        red, green, blue = value.unbind(-3)
        gray = (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(-3)
        return gray if value.is_floating_point() else gray.round_().to(value.dtype)
