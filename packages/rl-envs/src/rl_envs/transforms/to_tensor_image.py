"""Images as networks take them."""

from typing import ClassVar, final

import torch
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._image_transform import pixel_keys
from rl_envs.transforms._leaf_specs import monotone_image
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import NestedKey, ShapeError, TensorSpec, message


@final
class ToTensorImage(Transform):
    """Images `[*B, H, W, C]`, usually uint8, to `[*B, C, H, W]` floating-point; 0..255 becomes 0..1.

    Args:
        from_int: divide by 255; None: do so for integer images. Bools become 0 and 1.
        unsqueeze: add a dimension of size 1 before the channels.
        dtype: dtype of the result; None: torch's default dtype.
        in_keys: images, default every observation named `"pixels"`.
        out_keys: names of the results; `in_keys` when left out.
        shape_tolerant: leave the order of the dimensions alone where the last one is not 3.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        from_int: bool | None = None,
        unsqueeze: bool = False,
        *,
        dtype: torch.dtype | None = None,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        shape_tolerant: bool = False,
    ) -> None:
        super().__init__("pixels" if in_keys is None else in_keys, out_keys)
        self._finds_keys = in_keys is None and out_keys is None
        self.from_int = from_int
        self.unsqueeze = unsqueeze
        self.dtype = torch.get_default_dtype() if dtype is None else dtype
        self.shape_tolerant = shape_tolerant

    def _bind(self, specs: EnvSpecs) -> list[str]:
        if self._finds_keys:
            self._set_keys(pixel_keys(specs) or "pixels", None)
        problems = self._check_wiring(specs)
        flat = [key for key, leaf in specs.observation.flat_items() if key in self.in_keys and leaf.ndim < 3]
        return problems + [f"in_keys: {key!r} is no image: fewer than 3 dimensions. Give in_keys" for key in flat]

    def _apply_transform(self, value: Tensor) -> Tensor:
        if value.ndim < 3:
            raise ShapeError(
                message("ToTensorImage", "not an image", expected="[*B, H, W, C]", found=tuple(value.shape))
            )
        is_integer = not (value.is_floating_point() or value.dtype is torch.bool)
        scaled = is_integer if self.from_int is None else self.from_int
        if not (self.shape_tolerant and value.shape[-1] != 3):
            value = value.movedim(-1, -3)
        value = value.to(self.dtype)
        if scaled:
            value = value / 255
        return value.unsqueeze(-4) if self.unsqueeze else value

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        return monotone_image(self._apply_transform, spec)
