"""Tests of the return and advantage estimates on tensors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rl_objectives.functional import (
    generalized_advantage_estimate,
    td0_advantage_estimate,
    td0_return_estimate,
    td1_advantage_estimate,
    td1_return_estimate,
    td_lambda_advantage_estimate,
    td_lambda_return_estimate,
    vtrace_advantage_estimate,
)
from rl_specs import ShapeError

GAMMA, LMBDA = 0.9, 0.8
FIXTURES = Path(__file__).parent / "fixtures" / "estimators.npz"


def inputs(*shape: int) -> dict[str, Any]:
    """Random values, rewards and flags."""
    terminated = torch.rand(*shape, 1) < 0.15
    return {
        "state_value": torch.randn(*shape, 1),
        "next_state_value": torch.randn(*shape, 1),
        "reward": torch.randn(*shape, 1),
        "done": terminated | (torch.rand(*shape, 1) < 0.15),
        "terminated": terminated,
    }


def column(*values: float) -> Tensor:
    """`[T, 1]` tensor."""
    return torch.tensor(values).unsqueeze(-1)


def flags(*values: int) -> Tensor:
    """`[T, 1]` bool tensor."""
    return torch.tensor(values, dtype=torch.bool).unsqueeze(-1)


def test_gae_by_hand() -> None:
    """Three steps, the second truncated: it bootstraps from its own next value and cuts the recursion."""
    advantage, target = generalized_advantage_estimate(
        0.5,
        0.5,
        column(1.0, 2.0, 3.0),
        column(2.0, 4.0, 6.0),
        column(1.0, 1.0, 1.0),
        done=flags(0, 1, 0),
        terminated=flags(0, 0, 0),
    )
    # delta = 1 + 0.5 * [2, 4, 6] - [1, 2, 3] = [1, 1, 1]; A_0 = 1 + 0.25 * A_1, nothing else is linked.
    torch.testing.assert_close(advantage, column(1.25, 1.0, 1.0))
    torch.testing.assert_close(target, column(2.25, 3.0, 4.0))


def test_gae_by_hand_terminated() -> None:
    """A terminal step does not bootstrap."""
    advantage, _ = generalized_advantage_estimate(
        0.5, 0.5, column(1.0, 2.0), column(2.0, 4.0), column(1.0, 1.0), flags(0, 1), flags(0, 1)
    )
    torch.testing.assert_close(advantage, column(1.0 + 0.25 * -1.0, -1.0))


def test_td_lambda_by_hand() -> None:
    """Three steps, the last left open: it bootstraps fully."""
    returns = td_lambda_return_estimate(
        0.5, 0.5, column(2.0, 4.0, 6.0), column(1.0, 1.0, 1.0), flags(0, 0, 0), flags(0, 0, 0)
    )
    last = 1 + 0.5 * 6
    middle = 1 + 0.5 * (0.5 * 4 + 0.5 * last)
    first = 1 + 0.5 * (0.5 * 2 + 0.5 * middle)
    torch.testing.assert_close(returns, column(first, middle, last))


def test_td0_and_td1_by_hand() -> None:
    """One-step returns bootstrap at each step, full returns only where a trajectory is cut."""
    following, reward = column(2.0, 4.0), column(1.0, 1.0)
    torch.testing.assert_close(td0_return_estimate(0.5, following, reward, flags(0, 1)), column(2.0, 1.0))
    torch.testing.assert_close(
        td1_return_estimate(0.5, following, reward, flags(0, 0), flags(0, 0)), column(1 + 0.5 * 3.0, 3.0)
    )


def test_vtrace_by_hand() -> None:
    """Weights are clipped, and the advantage looks at the corrected value of the next state."""
    log_pi, log_mu = column(2.0, 1.0).log(), column(1.0, 2.0).log()
    advantage, target = vtrace_advantage_estimate(
        0.5, log_pi, log_mu, column(1.0, 2.0), column(2.0, 6.0), column(1.0, 1.0), flags(0, 0), flags(0, 0)
    )
    # rho = c = [1, 0.5]; delta = [1 + 1 - 1, 0.5 * (1 + 3 - 2)] = [1, 1]; correction = [1 + 0.5, 1].
    torch.testing.assert_close(target, column(2.5, 3.0))
    torch.testing.assert_close(advantage, column(1 + 0.5 * 3.0 - 1, 0.5 * (1 + 3 - 2)))


def test_vtrace_bootstraps_a_truncated_step_from_its_own_next_value() -> None:
    """At a truncation inside the batch the value of the following row is not used."""
    zeros = column(0.0, 0.0)
    advantage, _ = vtrace_advantage_estimate(
        0.5, zeros, zeros, column(1.0, 100.0), column(2.0, 6.0), column(1.0, 1.0), flags(1, 0), flags(0, 0)
    )
    torch.testing.assert_close(advantage[0], torch.tensor([1 + 0.5 * 2.0 - 1]))


def test_on_policy_vtrace_is_the_discounted_return() -> None:
    """With equal policies the target is the return, whatever the values inside a trajectory."""
    data = inputs(3, 12)
    # Values of next states are those of the following step, except where a trajectory ends.
    shifted = torch.cat([data["state_value"][:, 1:], data["next_state_value"][:, -1:]], 1)
    data["next_state_value"] = torch.where(data["done"], data["next_state_value"], shifted)
    zeros = torch.zeros(3, 12, 1)
    _, target = vtrace_advantage_estimate(GAMMA, zeros, zeros, **data)
    value = data.pop("state_value")
    torch.testing.assert_close(target, td1_return_estimate(GAMMA, **data), atol=1e-5, rtol=1e-5)
    assert value.shape == target.shape


def test_gae_is_the_lambda_return_less_the_value() -> None:
    """Where values of next states are consistent both estimates are one."""
    data = inputs(4, 20)
    shifted = torch.cat([data["state_value"][:, 1:], data["next_state_value"][:, -1:]], 1)
    data["next_state_value"] = torch.where(data["done"], data["next_state_value"], shifted)
    advantage, _ = generalized_advantage_estimate(GAMMA, LMBDA, **data)
    torch.testing.assert_close(advantage, td_lambda_advantage_estimate(GAMMA, LMBDA, **data), atol=1e-5, rtol=1e-5)


def all_estimates(data: dict[str, Any]) -> dict[str, Tensor]:
    """Every estimate of one batch, by name."""
    no_value = {key: value for key, value in data.items() if key != "state_value"}
    gae = generalized_advantage_estimate(GAMMA, LMBDA, **data)
    weights = {"log_pi": data["reward"] / 3, "log_mu": data["state_value"] / 3}
    vtrace = vtrace_advantage_estimate(GAMMA, **weights, **data)
    no_done = {key: value for key, value in data.items() if key != "done"}
    return {
        "gae": gae[0],
        "gae_target": gae[1],
        "td0": td0_advantage_estimate(GAMMA, **no_done),
        "td1": td1_advantage_estimate(GAMMA, **data),
        "td_lambda": td_lambda_return_estimate(GAMMA, LMBDA, **no_value),
        "vtrace": vtrace[0],
        "vtrace_target": vtrace[1],
    }


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 1000), data=st.data())
def test_concatenated_trajectories_equal_split_ones(lengths: list[int], seed: int, data: Any) -> None:
    """Each estimate of trajectories laid end to end is that of each by itself, truncated or terminated."""
    torch.manual_seed(seed)
    pieces = []
    for length in lengths:
        piece = inputs(length)
        ends = torch.zeros(length, 1, dtype=torch.bool)
        ends[-1] = True
        piece["done"] = ends
        piece["terminated"] = ends & torch.tensor(data.draw(st.booleans()))
        pieces.append(piece)
    joined = {key: torch.cat([piece[key] for piece in pieces]) for key in pieces[0]}
    together = all_estimates(joined)
    apart = [all_estimates(piece) for piece in pieces]
    for name, value in together.items():
        torch.testing.assert_close(value, torch.cat([part[name] for part in apart]), atol=1e-5, rtol=1e-5)


def slow_gae(data: dict[str, Tensor]) -> Tensor:
    """The definition, row by row in float64."""
    out = torch.zeros_like(data["reward"], dtype=torch.float64)
    for row in np.ndindex(*out.shape[:-2]):
        following = 0.0
        for t in reversed(range(out.shape[-2])):
            r, v, nv = (float(data[key][row][t, 0]) for key in ("reward", "state_value", "next_state_value"))
            alive, linked = (1.0 - float(data[key][row][t, 0]) for key in ("terminated", "done"))
            following = r + GAMMA * alive * nv - v + GAMMA * LMBDA * linked * following
            out[row][t, 0] = following
    return out


@pytest.mark.parametrize("shape", [(1, 257), (8, 64), (3, 2, 10), (17,)])
def test_gae_equals_the_slow_definition(shape: tuple[int, ...]) -> None:
    """Any number of batch dimensions agrees with the definition to 1e-5."""
    data = inputs(*shape)
    advantage, _ = generalized_advantage_estimate(GAMMA, LMBDA, **data)
    torch.testing.assert_close(advantage.double(), slow_gae(data), atol=1e-5, rtol=1e-5)


def test_gae_short_and_wide_equals_the_slow_definition() -> None:
    """Many short rows, with and without ends inside, agree with the definition to 1e-5."""
    data = inputs(300, 24)
    data["done"][::2] = False
    data["terminated"] &= data["done"]
    advantage, _ = generalized_advantage_estimate(GAMMA, LMBDA, **data)
    torch.testing.assert_close(advantage.double(), slow_gae(data), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", ["row", "rows"])
def test_agrees_with_torchrl(shape: str) -> None:
    """Outputs of TorchRL 0.14.1 on the same inputs are met to 1e-5."""
    stored: dict[str, Any] = {
        key.split("/")[1]: torch.from_numpy(value)
        for key, value in np.load(FIXTURES).items()
        if key.startswith(shape + "/")
    }
    flags_: dict[str, Any] = {key: stored[key] for key in ("reward", "done", "terminated")}
    following = {"next_state_value": stored["next_state_value"], **flags_}
    advantage, target = generalized_advantage_estimate(0.97, 0.9, stored["state_value"], **following)
    ends = torch.zeros_like(stored["done"])
    vtrace = vtrace_advantage_estimate(
        0.97,
        stored["log_pi"],
        stored["log_mu"],
        stored["state_value"],
        stored["shifted"],
        stored["reward"],
        ends,
        ends,
        rho_thresh=1.1,
        c_thresh=0.9,
    )
    found = {
        "gae_advantage": advantage,
        "gae_target": target,
        "td0": td0_return_estimate(0.97, stored["next_state_value"], stored["reward"], stored["terminated"]),
        "td1": td1_return_estimate(0.97, **following),
        "td_lambda": td_lambda_return_estimate(0.97, 0.9, **following),
        "vtrace_advantage": vtrace[0],
        "vtrace_target": vtrace[1],
    }
    for name, value in found.items():
        torch.testing.assert_close(value, stored[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("key", ["state_value", "next_state_value", "reward", "done", "terminated"])
def test_shapes_that_would_broadcast_are_refused(key: str) -> None:
    """A `[B, T]` entry among `[B, T, 1]` ones is an error that names it, never a `[B, B, T]` result."""
    data = inputs(4, 4)
    data[key] = data[key].squeeze(-1)
    with pytest.raises(ShapeError, match=r"\[4, 4, 1\].*\[4, 4\]|\[4, 4\].*\[4, 4, 1\]"):
        generalized_advantage_estimate(GAMMA, LMBDA, **data)


ESTIMATES: list[Callable[..., Any]] = [
    lambda d: td1_return_estimate(GAMMA, d["next_state_value"], d["reward"], d["done"]),
    lambda d: td_lambda_return_estimate(GAMMA, LMBDA, d["next_state_value"], d["reward"], d["done"]),
    lambda d: td0_return_estimate(GAMMA, d["next_state_value"], d["reward"], d["done"]),
    lambda d: vtrace_advantage_estimate(
        GAMMA, d["reward"], d["reward"], d["state_value"], d["next_state_value"], d["reward"], d["done"]
    ),
]


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_each_estimate_compares_shapes(estimate: Callable[..., Any]) -> None:
    """Every estimate refuses a reward without the trailing dimension."""
    data = inputs(4, 4)
    data["reward"] = data["reward"].squeeze(-1)
    with pytest.raises(ShapeError, match="reward"):
        estimate(data)


def test_no_time_dimension_is_refused() -> None:
    """Vectors have no time dimension at -2."""
    data = {key: value.flatten() for key, value in inputs(4).items()}
    with pytest.raises(ShapeError, match="time dimension"):
        generalized_advantage_estimate(GAMMA, LMBDA, **data)


def test_gradients_reach_the_values() -> None:
    """Gradients with respect to values and rewards agree with finite differences."""
    data = {key: value.double() if value.is_floating_point() else value for key, value in inputs(2, 5).items()}
    floats = [data[key].requires_grad_() for key in ("state_value", "next_state_value", "reward")]
    assert torch.autograd.gradcheck(
        lambda v, n, r: generalized_advantage_estimate(GAMMA, LMBDA, v, n, r, data["done"], data["terminated"]), floats
    )


@pytest.mark.parametrize("c_thresh", [1.0, 0.6])
@pytest.mark.parametrize("steps", [1, 5])
def test_gradients_reach_the_policy_and_the_values(c_thresh: float, steps: int) -> None:
    """Gradients of the lambda-return and of V-trace, with one threshold and with two, agree with finite differences."""
    data = {key: value.double() if value.is_floating_point() else value for key, value in inputs(2, steps).items()}
    flags_ = (data["done"], data["terminated"])
    value, following, reward = (data[key].requires_grad_() for key in ("state_value", "next_state_value", "reward"))
    log_pi = torch.randn(2, steps, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda p, v, n, r: vtrace_advantage_estimate(GAMMA, p, data["done"] * 0.1, v, n, r, *flags_, c_thresh=c_thresh),
        (log_pi, value, following, reward),
    )
    factors = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (GAMMA, LMBDA)]
    assert torch.autograd.gradcheck(
        lambda gamma, lmbda, n, r: td_lambda_return_estimate(gamma, lmbda, n, r, *flags_), (*factors, following, reward)
    )


def test_with_and_without_gradient_agree() -> None:
    """Every estimate has the same bits whether or not a graph is recorded, and writes to none of its inputs."""
    data = inputs(3, 37)
    kept = {key: value.clone() for key, value in data.items()}
    plain = all_estimates(data)
    assert all(torch.equal(value, kept[key]) for key, value in data.items())
    recorded = all_estimates({**data, "reward": data["reward"].clone().requires_grad_()})
    for name, value in plain.items():
        assert torch.equal(value, recorded[name].detach())


def test_vtrace_with_far_policies_is_finite() -> None:
    """Policies so far apart that the ratio of their densities overflows leave estimates and gradients finite."""
    data = inputs(2, 9)
    log_pi = torch.where(torch.rand(2, 9, 1) < 0.5, 500.0, -500.0).requires_grad_()
    advantage, target = vtrace_advantage_estimate(GAMMA, log_pi, torch.zeros(2, 9, 1), **data, rho_thresh=1.5)
    assert advantage.isfinite().all()
    assert target.isfinite().all()
    (gradient,) = torch.autograd.grad(advantage.sum() + target.sum(), log_pi)
    assert gradient.isfinite().all()


def slow_vtrace(log_ratio: Tensor, data: dict[str, Tensor], rho_thresh: float, c_thresh: float) -> Tensor:
    """Advantage by the definition, row by row in float64."""
    out = torch.zeros_like(data["reward"], dtype=torch.float64)
    steps = out.shape[-2]
    for row in np.ndindex(*out.shape[:-2]):
        correction, target_after = 0.0, 0.0
        for t in reversed(range(steps)):
            r, v, nv = (float(data[key][row][t, 0]) for key in ("reward", "state_value", "next_state_value"))
            alive, linked = (1.0 - float(data[key][row][t, 0]) for key in ("terminated", "done"))
            weight = float(log_ratio[row][t, 0].double().exp())
            rho, c = min(rho_thresh, weight), min(c_thresh, weight)
            after = target_after if linked and t + 1 < steps else alive * nv
            out[row][t, 0] = rho * (r + GAMMA * after - v)
            correction = rho * (r + GAMMA * alive * nv - v) + GAMMA * c * linked * correction
            target_after = v + correction
    return out


@pytest.mark.parametrize("shape", [(1, 257), (3, 2, 10), (17,), (5, 1)])
@pytest.mark.parametrize("c_thresh", [1.2, 0.7])
def test_vtrace_equals_the_slow_definition(shape: tuple[int, ...], c_thresh: float) -> None:
    """With one threshold and with two, any number of batch dimensions agrees with the definition to 1e-5."""
    data = inputs(*shape)
    log_pi, log_mu = torch.randn(*shape, 1), torch.randn(*shape, 1)
    advantage, _ = vtrace_advantage_estimate(GAMMA, log_pi, log_mu, **data, rho_thresh=1.2, c_thresh=c_thresh)
    expected = slow_vtrace(log_pi - log_mu, data, 1.2, c_thresh)
    torch.testing.assert_close(advantage.double(), expected, atol=1e-5, rtol=1e-5)


def test_compiles_in_one_graph() -> None:
    """`torch.compile(fullgraph=True)` finds no break in the estimates."""
    data = inputs(3, 10)
    compiled = torch.compile(all_estimates, fullgraph=True, backend="eager")
    for name, value in compiled(data).items():
        torch.testing.assert_close(value, all_estimates(data)[name])


def test_gamma_and_lambda_can_be_tensors() -> None:
    """Scalars as tensors give what floats give."""
    data = inputs(3, 10)
    with_tensors = generalized_advantage_estimate(torch.tensor(GAMMA), torch.tensor(LMBDA), **data)
    torch.testing.assert_close(with_tensors, generalized_advantage_estimate(GAMMA, LMBDA, **data))
