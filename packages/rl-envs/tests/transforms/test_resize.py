"""Images of another size."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import PermuteTransform, Resize, TransformedEnv
from rl_specs import Bounded, ShapeError, SpecError, Unbounded

MakeEnv = Callable[..., Any]


def _resized(values: Any, transform: Resize) -> torch.Tensor:
    found: torch.Tensor = transform(TensorDict({"pixels": values}))["pixels"]
    return found


def test_by_hand() -> None:
    """Half the size without averaging samples between the middle pixels; averaging weighs all four that are covered."""
    row = torch.tensor([0.0, 1.0, 2.0, 9.0]).reshape(1, 1, 4)
    assert _resized(row, Resize(2, 1, antialias=False)).flatten().tolist() == [0.5, 5.5]
    # The triangle filter of width 4 around 1 and 3 weighs 3/7, 3/7, 1/7 inside of the image.
    assert _resized(row, Resize(2, 1)).flatten().tolist() == pytest.approx([5 / 7, 34 / 7])
    assert _resized(row, Resize(2, 1, interpolation="area")).flatten().tolist() == [0.5, 5.5]
    assert _resized(row, Resize(2, 1, interpolation="nearest")).flatten().tolist() == [0.0, 2.0]


def test_bytes() -> None:
    """Bytes are rounded to nearest, not cut off, and stay in 0..255 where an interpolation overshoots."""
    row = torch.tensor([0, 1, 3, 255], dtype=torch.uint8).reshape(1, 1, 4)
    found = _resized(row, Resize(2, 1, antialias=False))
    assert (found.flatten().tolist(), found.dtype) == ([0, 129], torch.uint8)
    edge = torch.tensor([0, 0, 255, 255], dtype=torch.uint8).reshape(1, 1, 4)
    wide = _resized(edge, Resize(16, 1, interpolation="bicubic"))
    assert (wide[..., :6].max().item(), wide[..., 10:].min().item()) == (0, 255)  # beyond these in single precision
    assert _resized(edge, Resize(8, 1, interpolation="nearest")).flatten().tolist() == [0] * 4 + [255] * 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_floats_of_few_bits(dtype: torch.dtype, interpolation: Any) -> None:
    """Half precision is resized on the CPU too, and gives the single-precision result rounded."""
    value = torch.linspace(0, 1, 48).reshape(3, 4, 4).to(dtype)
    transform = Resize(2, interpolation=interpolation)
    found = _resized(value, transform)
    assert found.dtype == dtype
    assert torch.equal(found, _resized(value.float(), transform).to(dtype))


def test_masks() -> None:
    """A mask stays one: of four pixels that become one, two are enough."""
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0]], dtype=torch.bool).reshape(1, 2, 4)
    found = _resized(mask, Resize(2, 1, antialias=False))
    assert found.dtype == torch.bool
    assert found.flatten().tolist() == [True, False]


@pytest.mark.parametrize("lead", [(), (2,), (3, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_batches(lead: tuple[int, ...], dtype: torch.dtype) -> None:
    """An image in a batch becomes what it becomes alone, in its dtype."""
    images = torch.randint(0, 255, (*lead, 3, 6, 7)).to(dtype)
    found = _resized(images, Resize(5, 4))
    assert found.shape == (*lead, 3, 4, 5)
    assert found.dtype == dtype
    alone = torch.stack([_resized(image, Resize(5, 4)) for image in images.reshape(-1, 3, 6, 7)])
    torch.testing.assert_close(found.reshape(-1, 3, 4, 5), alone, rtol=1e-12, atol=0)


def test_specs(toy: MakeEnv) -> None:
    """Bounds stay where pixels are averaged; an interpolation that overshoots has none."""
    order = PermuteTransform([-1, -3, -2], ["pixels"])
    env = TransformedEnv(toy((2,)), [order, Resize(2, 7)])
    assert env.observation_spec["pixels"] == Bounded(0, 255, shape=(2, 3, 7, 2), dtype=torch.uint8)
    cubic = Resize(2, interpolation="bicubic")._leaf_spec(Bounded(0.0, 1.0, shape=(1, 4, 4)))
    assert cubic == Unbounded(shape=(1, 2, 2))


def test_misuse(toy: MakeEnv) -> None:
    """Unknown interpolations, bad sizes and entries that are no images are refused."""
    with pytest.raises(ValueError, match="one of bilinear, bicubic, area, nearest, nearest-exact, found 'cubic'"):
        Resize(2, interpolation="cubic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bad size"):
        Resize(2, 0)
    with pytest.raises(ShapeError, match="three dimensions"):
        _resized(torch.zeros(4, 4), Resize(2))
    with pytest.raises(SpecError, match='"observation" has rows of shape'):
        TransformedEnv(toy(), Resize(2, in_keys=["observation"]))
    assert repr(Resize(2)) == "Resize(w=2, h=2, interpolation='bilinear', antialias=True, keys=['pixels'])"
