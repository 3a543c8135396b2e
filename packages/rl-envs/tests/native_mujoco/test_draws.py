"""Tests of `rl_envs.mujoco.Draws`."""

import pytest
import torch

from rl_envs._counter_random import doubles, stream_keys
from rl_envs.mujoco import Draws


def make(indices: list[int], resets: int = 0) -> Draws:
    """Draws of some envs of a batch with seed 7."""
    index = torch.tensor(indices)
    return Draws(stream_keys(7, index), torch.full_like(index, resets))


def test_rows_do_not_depend_on_each_other() -> None:
    """The numbers of an env are the same whichever others start with it."""
    together, apart = make([0, 1, 2]), make([2])
    for draws in ("first", "second"):
        assert torch.equal(together.uniform(-1.0, 1.0, 4)[2:], apart.uniform(-1.0, 1.0, 4)), draws
        assert torch.equal(together.normal(1.0, 3)[2:], apart.normal(1.0, 3)), draws


def test_numbers_differ() -> None:
    """Envs, resets and successive calls all give other numbers."""
    draws = make([0, 1])
    numbers = [draws.uniform(0.0, 1.0, 2), draws.uniform(0.0, 1.0, 2), make([0, 1], resets=1).uniform(0.0, 1.0, 2)]
    assert len(set(torch.cat(numbers).flatten().tolist())) == 12


def test_moments() -> None:
    """Uniform numbers fill their interval evenly; normal ones have mean, deviation and fourth moment of a normal."""
    uniform = make(list(range(2000))).uniform(-1.0, 3.0, 10)
    assert uniform.min() >= -1.0
    assert uniform.max() <= 3.0
    assert uniform.mean().item() == pytest.approx(1.0, abs=0.03)
    assert uniform.std().item() == pytest.approx(4.0 / 12**0.5, rel=0.02)
    normal = make(list(range(2000))).normal(2.0, 10)
    assert normal.mean().item() == pytest.approx(0.0, abs=0.05)
    assert normal.std().item() == pytest.approx(2.0, rel=0.02)
    assert (normal / 2.0).pow(4).mean().item() == pytest.approx(3.0, rel=0.1)


def test_doubles_are_never_at_the_ends() -> None:
    """Every number is strictly between 0 and 1 and has more than float32 precision, so that no normal is infinite."""
    numbers = doubles(stream_keys(0, torch.arange(100)), torch.zeros(100, dtype=torch.int64), 0, 1000)
    assert numbers.min() > 0.0
    assert numbers.max() < 1.0
    assert (numbers.float().double() != numbers).float().mean() > 0.9
