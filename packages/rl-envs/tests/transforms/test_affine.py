"""The affine map that normalisers and scalers share."""

import pytest
import torch
from torch import Tensor, nn

from rl_envs.transforms._affine import adopt_buffers, affine, as_parameter, check_divisor, follow_entries
from rl_specs import Composite, ShapeError, Unbounded


class Constants(nn.Module):
    """A module with two constants, of which one may be missing."""

    loc: Tensor | None
    scale: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("loc", torch.ones(2))
        self.register_buffer("scale", None)


def test_both_maps_by_hand() -> None:
    """`value * scale + loc` and `(value - loc) / scale`, each the inverse of the other; integers become floats."""
    loc, scale = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])
    value = torch.tensor([[3.0, 10.0]])
    assert affine(value, loc, scale, standard_normal=False).tolist() == [[7.0, 42.0]]
    assert affine(value, loc, scale, standard_normal=True).tolist() == [[1.0, 2.0]]
    assert affine(torch.tensor([[3, 10]]), loc, scale, standard_normal=True).dtype == torch.float32


def test_no_larger_entry() -> None:
    """Constants with more elements than the entry are refused; those of one row, or of each row, are not."""
    value = torch.zeros(3, 1)
    for fitting in (torch.ones(()), torch.ones(1), torch.ones(3, 1)):
        assert affine(value, fitting, fitting, standard_normal=True).shape == (3, 1)
    with pytest.raises(ShapeError, match=r"Found \(\) and \(4,\) for an entry \(3, 1\)"):
        affine(value, torch.zeros(()), torch.ones(4), standard_normal=False)


def test_constants_follow_the_entries() -> None:
    """Buffers move to the device of the entries that are named, and stay where none of them is there."""
    module = Constants()
    spec = Composite({"x": Unbounded(shape=(2,), device="meta"), "y": Unbounded(shape=(2,))})
    follow_entries(module, ["y", "z"], spec)
    assert module.loc is not None
    assert module.loc.device.type == "cpu"
    follow_entries(module, ["x"], spec)
    assert module.loc.device.type == "meta"
    assert module.scale is None


def test_constants_of_a_state() -> None:
    """What a state has and the module has not gets room of that shape and dtype; what is there stays."""
    module = Constants()
    state = {"a.scale": torch.zeros(3, dtype=torch.float64), "a.loc": torch.zeros(5)}
    adopt_buffers(module, state, "a.", ("loc", "scale"))
    assert module.scale is not None
    assert (module.scale.shape, module.scale.dtype) == ((3,), torch.float64)
    assert module.loc is not None
    assert module.loc.shape == (2,)


def test_numbers_and_divisors() -> None:
    """Integers become floats, tensors are copied; zeros are refused where they divide."""
    given = torch.ones(2, dtype=torch.float64)
    made = as_parameter(given)
    assert made.dtype == torch.float64
    assert made is not given
    assert as_parameter(3).dtype == torch.float32
    check_divisor("x", torch.zeros(1), divides=False)
    check_divisor("x", None, divides=True)
    with pytest.raises(ValueError, match="x: scale is zero"):
        check_divisor("x", torch.tensor([1.0, 0.0]), divides=True)
