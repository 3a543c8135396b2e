"""The estimators of rl-cuda and of rl-objectives are the same functions: one can stand for the other."""

import inspect
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import rl_cuda
import rl_objectives.functional

NAMES = ["generalized_advantage_estimate", "td_lambda_return_estimate", "vtrace_advantage_estimate"]


def arguments(name: str, shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> dict[str, Any]:
    """Random steps with truncated and terminal ones, as the function `name` names them."""
    generator = torch.Generator().manual_seed(seed)
    ends = torch.rand(*shape, generator=generator)
    known: dict[str, Any] = {"gamma": 0.97, "lmbda": 0.9, "done": ends < 0.2, "terminated": ends < 0.1}
    known |= {"rho_thresh": 1.5, "c_thresh": 0.8, "time_dim": -2}
    wanted = inspect.signature(getattr(rl_cuda, name)).parameters
    return {
        key: known[key] if key in known else torch.randn(*shape, generator=generator, dtype=dtype) for key in wanted
    }


def results(module: Any, name: str, given: dict[str, Any]) -> tuple[Tensor, ...]:
    """What the function of a module returns."""
    result = getattr(module, name)(**given)
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name", NAMES)
@given(rows=st.integers(1, 4), steps=st.integers(1, 80), features=st.integers(1, 2), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_both_give_the_same_estimates(name: str, rows: int, steps: int, features: int, seed: int) -> None:
    """Any steps, any shape: the same estimates up to rounding."""
    given = arguments(name, (rows, steps, features), seed, torch.float64)
    ours, theirs = (results(module, name, given) for module in (rl_cuda, rl_objectives.functional))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_long_rows(name: str) -> None:
    """So do rows that are cut into segments, in float32."""
    given = arguments(name, (2, 5_000, 1), 0, torch.float32)
    ours, theirs = (results(module, name, given) for module in (rl_cuda, rl_objectives.functional))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_both_take_the_same_arguments(name: str) -> None:
    """Names, order and defaults of the arguments are the same."""
    both = [
        [(parameter.name, parameter.default) for parameter in inspect.signature(function).parameters.values()]
        for function in (getattr(rl_cuda, name), getattr(rl_objectives.functional, name))
    ]
    assert both[0] == both[1]
