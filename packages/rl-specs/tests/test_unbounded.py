"""Unbounded: any value of the dtype."""

import math

import pytest
import torch

from rl_specs import Unbounded, stack_specs


def test_default_shape_is_one_element() -> None:
    """Without a shape a value has one element, in the default dtype."""
    assert Unbounded().shape == (1,)
    assert Unbounded().dtype == torch.float32
    assert Unbounded(()).shape == ()


def test_every_value_of_the_dtype_is_in() -> None:
    """NaN and infinities are in; another dtype is not."""
    spec = Unbounded((2,))
    assert spec.is_in(torch.tensor([math.nan, math.inf]))
    assert not spec.is_in(torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.uint8, torch.int32, torch.bool, torch.float16])
def test_rand_has_the_form_of_the_spec(dtype: torch.dtype) -> None:
    """Samples have shape and dtype, and lie between `space.low` and `space.high`."""
    spec = Unbounded((3,), dtype=dtype)
    sample = spec.rand((5,))
    assert sample.shape == (5, 3)
    assert spec.is_in(sample)
    assert bool(((sample >= spec.space.low) & (sample <= spec.space.high)).all())


def test_rand_covers_small_integers() -> None:
    """All 256 values of uint8 are drawn."""
    assert len(set(Unbounded((9000,), dtype=torch.uint8).rand().tolist())) == 256


def test_project_casts_only() -> None:
    """Projection changes the dtype and nothing else."""
    assert Unbounded((1,)).project(torch.tensor([1e300], dtype=torch.float64)).dtype == torch.float32


def test_encode_and_cardinality() -> None:
    """Numbers become tensors; bools are counted."""
    assert Unbounded((2,), dtype=torch.int64).encode([1, 2]).tolist() == [1, 2]
    assert Unbounded((3,), dtype=torch.bool).cardinality() == 8
    assert Unbounded((3,)).cardinality() == math.inf


def test_equality_stack_and_conversion() -> None:
    """Equal specs stack to one with a dimension more; `to` changes the dtype."""
    spec = Unbounded((2,))
    assert stack_specs([spec, spec], 1) == Unbounded((2, 2))
    assert spec.to(torch.float64) == Unbounded((2,), dtype=torch.float64)
    assert spec != Unbounded((2,), dtype=torch.int64)
    assert spec.domain == "continuous"
    assert repr(spec) == "Unbounded(shape=(2,), any value, dtype=float32, device=cpu)"
