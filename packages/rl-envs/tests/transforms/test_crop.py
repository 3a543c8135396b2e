"""A part of an image."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import Crop, PermuteTransform, TransformedEnv
from rl_specs import Bounded, ShapeError, SpecError

MakeEnv = Callable[..., Any]
IMAGE = torch.arange(12).reshape(1, 3, 4)


def test_by_hand() -> None:
    """Rows 1 to 2 and columns 2 to 3 of a 3 x 4 image."""
    found = Crop(2, 2, top=1, left=2, in_keys=["x"])(TensorDict({"x": IMAGE}))["x"]
    assert found.tolist() == [[[6, 7], [10, 11]]]
    assert Crop(1, in_keys=["x"])(TensorDict({"x": IMAGE}))["x"].tolist() == [[[0]]]


def test_every_pixels_entry_and_spec(toy: MakeEnv) -> None:
    """Without in keys every observation named pixels is cut, and so are its bounds."""
    env = TransformedEnv(toy((2,)), [PermuteTransform([-1, -3, -2], ["pixels"]), Crop(4, 2, left=1)])
    assert env.observation_spec["pixels"] == Bounded(0, 255, shape=(2, 3, 2, 4), dtype=torch.uint8)
    assert env.rollout(2)["next", "pixels"].shape == (2, 2, 3, 2, 4)


def test_misuse(toy: MakeEnv) -> None:
    """Parts that are not inside, bad sizes and entries that are no images are refused."""
    with pytest.raises(ValueError, match="bad size"):
        Crop(0)
    with pytest.raises(ValueError, match="top=-1"):
        Crop(1, top=-1)
    with pytest.raises(ShapeError, match=r"Crop: rows 0 to 4 and columns 0 to 4 do not lie inside.*\(1, 3, 4\)"):
        Crop(4, in_keys=["x"])(TensorDict({"x": IMAGE}))
    with pytest.raises(SpecError, match=r"rows of shape \(3,\), and rows 0 to 1"):
        TransformedEnv(toy((2,)), Crop(1, in_keys=["observation"]))
    assert repr(Crop(2, 3, top=1)) == "Crop(w=2, h=3, top=1, left=0, keys=['pixels'])"
