"""Images."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import ToTensorImage, TransformedEnv
from rl_specs import Bounded, ShapeError, SpecError

MakeEnv = Callable[..., Any]


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
def test_by_hand(batch: tuple[int, ...]) -> None:
    """Element `[h, w, c]` of a uint8 image is element `[c, h, w]` over 255."""
    image = torch.randint(0, 256, (*batch, 4, 5, 3), dtype=torch.uint8)
    result = ToTensorImage()(TensorDict({"pixels": image}, list(batch)))["pixels"]
    assert result.shape == (*batch, 3, 4, 5)
    assert result.dtype == torch.float32
    assert torch.equal(result[..., 2, 1, 4], image[..., 1, 4, 2].float() / 255)


def test_options() -> None:
    """`unsqueeze`, `from_int`, `dtype` and `shape_tolerant` do what they say."""
    image = torch.full((4, 5, 3), 51, dtype=torch.uint8)
    assert ToTensorImage(unsqueeze=True)._apply_transform(image).shape == (1, 3, 4, 5)
    assert ToTensorImage(from_int=False)._apply_transform(image).max() == 51
    assert ToTensorImage(from_int=True)._apply_transform(image.float()).max() == torch.tensor(0.2)
    assert ToTensorImage()._apply_transform(image.float()).max() == 51
    assert ToTensorImage(dtype=torch.float64)._apply_transform(image).dtype == torch.float64
    ready = torch.zeros(3, 4, 5)
    assert ToTensorImage(shape_tolerant=True)._apply_transform(ready).shape == (3, 4, 5)
    assert ToTensorImage(shape_tolerant=True)._apply_transform(image).shape == (3, 4, 5)


def test_masks() -> None:
    """Bools become 0 and 1, and are not taken for integers of 255 steps."""
    mask = torch.tensor([True, False, True]).reshape(1, 1, 3)
    assert ToTensorImage()(TensorDict({"pixels": mask}))["pixels"].flatten().tolist() == [1.0, 0.0, 1.0]
    found = ToTensorImage(from_int=True)(TensorDict({"pixels": mask}))["pixels"]
    assert found.flatten().tolist() == pytest.approx([1 / 255, 0.0, 1 / 255])


def test_in_an_env(toy: MakeEnv) -> None:
    """`pixels` are found, and bounded by 0 and 1."""
    env = TransformedEnv(toy((2,)), ToTensorImage())
    assert env.observation_spec["pixels"] == Bounded(0.0, 1.0, shape=(2, 3, 4, 5), dtype=torch.float32)
    assert env.rollout(2)["next", "pixels"][0, 1, 0, 0, 0].item() == torch.tensor(20 / 255).item()
    assert repr(env.transform[0]) == "ToTensorImage(keys=['pixels'])"


def test_misuse(toy: MakeEnv) -> None:
    """Entries that are no images, and an env without any, are refused."""
    with pytest.raises(SpecError, match="fewer than 3 dimensions"):
        TransformedEnv(toy(), ToTensorImage(in_keys=["observation"]))
    with pytest.raises(ShapeError, match=r"\[\*B, H, W, C\]"):
        ToTensorImage(in_keys=["x"])(TensorDict({"x": torch.zeros(3)}))
    base = toy()
    base.observation_spec = base.observation_spec["agents"]
    with pytest.raises(SpecError, match="pixels"):
        TransformedEnv(base, ToTensorImage())
