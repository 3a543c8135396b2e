"""The middle of an image."""

import pytest
import torch
from tensordict import TensorDict

from rl_envs import CenterCrop
from rl_specs import ShapeError

IMAGE = torch.arange(20).reshape(1, 4, 5)


def test_by_hand() -> None:
    """Of 4 rows and 5 columns the middle 2 x 3; an odd rest is cut off at the bottom and on the right."""
    data = TensorDict({"x": IMAGE})
    assert CenterCrop(3, 2, in_keys=["x"])(data.clone())["x"].tolist() == [[[6, 7, 8], [11, 12, 13]]]
    assert CenterCrop(2, 3, in_keys=["x"])(data.clone())["x"].tolist() == [[[1, 2], [6, 7], [11, 12]]]
    assert CenterCrop(1, in_keys=["x"])(data.clone())["x"].tolist() == [[[7]]]


def test_misuse() -> None:
    """An image smaller than the result, and a bad size, are refused."""
    with pytest.raises(ShapeError, match="no image of 5 rows and 5 columns at least"):
        CenterCrop(5, in_keys=["x"])(TensorDict({"x": IMAGE}))
    with pytest.raises(ValueError, match="w=3, h=-1"):
        CenterCrop(3, -1)
    assert repr(CenterCrop(3)) == "CenterCrop(w=3, h=3, keys=['pixels'])"
