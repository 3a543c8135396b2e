"""Clamping of values and specs."""

import pytest
import torch

from rl_envs.transforms._clamping import clamp, clamped_spec
from rl_specs import Bounded, TensorSpec, Unbounded


def test_integers_stay_inside() -> None:
    """Bounds between integers are rounded inwards, and bounds beyond the dtype do nothing."""
    value = torch.tensor([-3, 0, 3], dtype=torch.int8)
    assert clamp(value, -2.5, 1.5).tolist() == [-2, 0, 1]
    assert clamp(value, -1000, None).tolist() == [-3, 0, 3]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (Bounded(-5.0, 0.5, shape=(2,)), Bounded(-1.0, 0.5, shape=(2,))),
        (Unbounded(shape=(2,)), Bounded(-1.0, 1.0, shape=(2,))),
        (Unbounded(shape=(2,), dtype=torch.int64), Bounded(-1, 1, shape=(2,), dtype=torch.int64)),
    ],
)
def test_specs(spec: TensorSpec, expected: TensorSpec) -> None:
    """The tighter one of two bounds counts."""
    assert clamped_spec(spec, -1, 1) == expected


def test_one_sided_integers_are_unbounded() -> None:
    """An integer spec has no infinite bounds."""
    assert clamped_spec(Unbounded(shape=(2,), dtype=torch.int64), -1, None) == Unbounded(shape=(2,), dtype=torch.int64)
