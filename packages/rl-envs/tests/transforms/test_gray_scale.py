"""Gray images."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import GrayScale, ToTensorImage, TransformedEnv
from rl_specs import ShapeError, SpecError

MakeEnv = Callable[..., Any]


def test_by_hand() -> None:
    """Red 100, green 50, blue 200 have the luma 29.9 + 29.35 + 22.8 = 82.05."""
    colour = torch.tensor([100.0, 50.0, 200.0]).reshape(3, 1, 1)
    found = GrayScale(["x"])(TensorDict({"x": colour}))["x"]
    assert found.shape == (1, 1, 1)
    assert found.item() == pytest.approx(82.05, abs=1e-4)


def test_integers_are_rounded() -> None:
    """Bytes stay bytes: 29.9 + 29.937 + 22.914 is 83, and white stays white."""
    colour = torch.tensor([[100, 255], [51, 255], [201, 255]], dtype=torch.uint8).reshape(3, 1, 2)
    found = GrayScale(["x"])(TensorDict({"x": colour}))["x"]
    assert found.dtype == torch.uint8
    assert found.tolist() == [[[83, 255]]]


def test_in_an_env(toy: MakeEnv) -> None:
    """After `ToTensorImage` the spec has one channel and bounds 0 and 1; a gray image of value 20 stays 20 / 255."""
    env = TransformedEnv(toy((2,)), [ToTensorImage(), GrayScale()])
    spec = env.observation_spec["pixels"]
    assert spec.shape == (2, 1, 4, 5)
    assert spec.high.max().item() == pytest.approx(1.0)
    assert env.rollout(2)["next", "pixels"][:, 1].unique().tolist() == pytest.approx([20 / 255])


def test_misuse(toy: MakeEnv) -> None:
    """Channels that are last, or not three, are refused."""
    with pytest.raises(SpecError, match=r"rows of shape \(4, 5, 3\), and the third dimension from the end is not 3"):
        TransformedEnv(toy(), GrayScale())
    with pytest.raises(ShapeError, match="not 3 colours"):
        GrayScale(["x"])(TensorDict({"x": torch.zeros(1, 4, 4)}))
