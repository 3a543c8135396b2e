"""What transforms of images have in common."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Size

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._leaf_specs import monotone_image
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import NestedKey, ShapeError, TensorSpec, key_str, message


class ImageTransform(Transform, ABC):
    """Base of maps of images `[*B, C, H, W]`, whose result rises or falls with every pixel that it depends on.

    A subclass writes `_apply_transform`, which calls `_check`, and `_problem`.

    Args:
        in_keys: images, default every observation named `"pixels"`.
        out_keys: names of the results; `in_keys` when left out.
    """

    accepts_mapping: ClassVar[bool] = True
    _least_size: int = 1
    """Images whose height or width is open have that many rows and columns at least; of others, each step says so."""

    def __init__(self, in_keys: Keys | NestedKey | None, out_keys: Keys | NestedKey | None) -> None:
        super().__init__("pixels" if in_keys is None else in_keys, out_keys)
        self._finds_keys = in_keys is None and out_keys is None

    @abstractmethod
    def _problem(self, shape: Size) -> str | None:
        """Why an entry of this shape cannot be mapped, in a few words; None where it can."""

    def _check(self, shape: Size) -> None:
        """Refuse a value that cannot be mapped.

        Raises:
            ShapeError: its shape does not do.
        """
        problem = self._problem(shape)
        if problem is not None:
            raise ShapeError(message(type(self).__name__, problem, expected="[*B, C, H, W]", found=tuple(shape)))

    def _bind(self, specs: EnvSpecs) -> list[str]:
        if self._finds_keys:
            self._set_keys(pixel_keys(specs) or "pixels", None)
        problems = self._check_wiring(specs)
        for key, leaf in specs.observation.flat_items():
            row = leaf.shape[len(specs.observation.shape) :]
            closed = Size([max(size, self._least_size) if size == -1 else size for size in row])
            problem = self._problem(closed) if key in self.in_keys else None
            if problem is not None:
                problems.append(f"in_keys: {key_str(key)} has rows of shape {tuple(row)}, and {problem}")
        return problems

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        return monotone_image(self._apply_transform, spec, self._least_size)


def pixel_keys(specs: EnvSpecs) -> list[NestedKey]:
    """Observations named `"pixels"`, at any level."""
    keys = [key for key, _ in specs.observation.flat_items()]
    return [key for key in keys if (key if isinstance(key, str) else key[-1]) == "pixels"]


def checked_size(component: str, width: int, height: int | None) -> tuple[int, int]:
    """Width and height of a result; a height left out is the width.

    Raises:
        ValueError: one of them is not positive.
    """
    size = width, width if height is None else height
    if min(size) < 1:
        found = f"w={size[0]}, h={size[1]}"
        raise ValueError(message(component, "bad size", expected="w >= 1 and h >= 1", found=found))
    return size
