"""Generalised advantages, lambda-returns and V-trace: against loops that follow the definitions, and by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import rl_cuda
from rl_cuda import _estimators_torch
from rl_specs import DeviceError, DTypeError, ShapeError

GAMMA, LMBDA = 0.97, 0.9
SHAPES = [(1, 1), (3, 7), (2, 100), (2, 1500), (520, 33)]


class Data:
    """Random steps `[B, T, 1]` with truncated and terminal ones."""

    def __init__(self, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(sum(shape))

        def normal() -> Tensor:
            return torch.randn(*shape, 1, generator=generator, dtype=dtype).to(device)

        self.value, self.next_value, self.reward, self.log_pi, self.log_mu = (normal() for _ in range(5))
        ends = torch.rand(*shape, 1, generator=generator)
        self.terminated, self.done = (ends < 0.1).to(device), (ends < 0.2).to(device)


def loop_gae(data: Data) -> list[tuple[Tensor, Tensor]]:
    """`(advantage, target)` of each step, by the recursion as it is written."""
    following = torch.zeros_like(data.value[:, 0])
    result = []
    for t in reversed(range(data.value.shape[1])):
        alive, goes_on = ~data.terminated[:, t], ~data.done[:, t]
        delta = data.reward[:, t] + GAMMA * (alive * data.next_value[:, t]) - data.value[:, t]
        following = delta + GAMMA * LMBDA * (goes_on * following)
        result.append((following, following + data.value[:, t]))
    return result[::-1]


def loop_lambda_return(data: Data) -> list[Tensor]:
    """The return of each step, by the recursion as it is written."""
    last = data.value.shape[1] - 1
    following = torch.zeros_like(data.value[:, 0])
    result = []
    for t in reversed(range(last + 1)):
        bootstrap = ~data.terminated[:, t] * data.next_value[:, t]
        inside = (1 - LMBDA) * bootstrap + LMBDA * following
        ends = data.done[:, t] if t < last else torch.ones_like(data.done[:, t])
        following = data.reward[:, t] + GAMMA * torch.where(ends, bootstrap, inside)
        result.append(following)
    return result[::-1]


def loop_vtrace(data: Data, rho_thresh: float, c_thresh: float) -> list[tuple[Tensor, Tensor]]:
    """`(advantage, target)` of each step, by the recursion as it is written."""
    last = data.value.shape[1] - 1
    result: list[tuple[Tensor, Tensor]] = []
    for t in reversed(range(last + 1)):
        ratio = (data.log_pi[:, t] - data.log_mu[:, t]).exp()
        rho, c = ratio.clamp(max=rho_thresh), ratio.clamp(max=c_thresh)
        bootstrap = ~data.terminated[:, t] * data.next_value[:, t]
        correction = rho * (data.reward[:, t] + GAMMA * bootstrap - data.value[:, t])
        after = bootstrap
        if t < last:
            target = result[-1][1]
            goes_on = ~data.done[:, t]
            correction = correction + GAMMA * c * (goes_on * (target - data.value[:, t + 1]))
            after = torch.where(goes_on, target, bootstrap)
        result.append((rho * (data.reward[:, t] + GAMMA * after - data.value[:, t]), data.value[:, t] + correction))
    return result[::-1]


def gae(data: Data) -> tuple[Tensor, Tensor]:
    """The function under test."""
    steps = (data.value, data.next_value, data.reward, data.done, data.terminated)
    return rl_cuda.generalized_advantage_estimate(GAMMA, LMBDA, *steps)


def lambda_return(data: Data) -> Tensor:
    """The function under test."""
    steps = (data.next_value, data.reward, data.done, data.terminated)
    return rl_cuda.td_lambda_return_estimate(GAMMA, LMBDA, *steps)


def vtrace(data: Data, rho_thresh: float = 1.0, c_thresh: float = 1.0) -> tuple[Tensor, Tensor]:
    """The function under test."""
    steps = (data.log_pi, data.log_mu, data.value, data.next_value, data.reward, data.done, data.terminated)
    return rl_cuda.vtrace_advantage_estimate(GAMMA, *steps, rho_thresh=rho_thresh, c_thresh=c_thresh)


def close(found: Tensor, expected: list[Tensor]) -> None:
    """Compare with the steps of a loop."""
    torch.testing.assert_close(found, torch.stack(expected, 1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_equals_its_definition(device: torch.device, shape: tuple[int, int]) -> None:
    """With truncated and terminal steps anywhere, every estimator gives what its recursion, step by step, gives."""
    data = Data(shape, torch.float64, device)
    advantage, target = gae(data)
    expected = loop_gae(data)
    close(advantage, [step[0] for step in expected])
    close(target, [step[1] for step in expected])
    close(lambda_return(data), loop_lambda_return(data))
    for thresholds in ((1.0, 1.0), (2.0, 0.5)):
        advantage, target = vtrace(data, *thresholds)
        expected = loop_vtrace(data, *thresholds)
        close(advantage, [step[0] for step in expected])
        close(target, [step[1] for step in expected])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_device_gives_the_same_bits(device: torch.device, shape: tuple[int, int], dtype: torch.dtype) -> None:
    """The order of additions is that of the plain torch form; only the exponential of V-trace is each device's own."""
    data, here = Data(shape, dtype, torch.device("cpu")), Data(shape, dtype, device)
    flags = (data.done[..., 0], data.terminated[..., 0])
    values = (data.value[..., 0], data.next_value[..., 0], data.reward[..., 0])
    for found, expected in zip(gae(here), _estimators_torch.gae_torch(*values, *flags, GAMMA, LMBDA), strict=True):
        assert torch.equal(found[..., 0].cpu(), expected)
    expected = _estimators_torch.lambda_return_torch(*values[1:], *flags, GAMMA, LMBDA)
    assert torch.equal(lambda_return(here)[..., 0].cpu(), expected)
    ratios = (data.log_pi[..., 0], data.log_mu[..., 0])
    traces = _estimators_torch.vtrace_torch(*ratios, *values, *flags, GAMMA, 0.0, 0.0)
    for found, expected in zip(vtrace(here), traces, strict=True):
        torch.testing.assert_close(found[..., 0].cpu(), expected)


def test_hand_computed_advantage(device: torch.device) -> None:
    """A truncated step bootstraps and cuts the recursion, a terminal one cuts both: gamma 0.5, lambda 0.5."""

    def column(*numbers: float) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float32, device=device).unsqueeze(-1)

    advantage, target = rl_cuda.generalized_advantage_estimate(
        0.5,
        0.5,
        column(1, 2, 3, 4),
        column(2, 8, math.nan, 6),
        column(1, 1, 1, 1),
        column(0, 1, 1, 0).bool(),
        column(0, 0, 1, 0).bool(),
    )
    # deltas: 1 + 1 - 1, 1 + 4 - 2, 1 - 3, 1 + 3 - 4
    assert advantage.flatten().tolist() == [1 + 0.25 * 3, 3, -2, 0]
    assert target.flatten().tolist() == [2.75, 5, 1, 4]


def test_without_terminated_every_end_is_terminal(device: torch.device) -> None:
    """Left out, `terminated` is `done`."""
    data = Data((3, 20), torch.float64, device)
    data.terminated = data.done
    steps = (data.value, data.next_value, data.reward, data.done)
    assert torch.equal(rl_cuda.generalized_advantage_estimate(GAMMA, LMBDA, *steps)[0], gae(data)[0])
    assert torch.equal(rl_cuda.td_lambda_return_estimate(GAMMA, LMBDA, *steps[1:]), lambda_return(data))
    found = rl_cuda.vtrace_advantage_estimate(GAMMA, data.log_pi, data.log_mu, *steps)
    assert torch.equal(found[0], vtrace(data)[0])


def test_time_may_be_any_dimension(device: torch.device) -> None:
    """`[T, B, F]` with time first gives, element by element, what rows give."""
    data = Data((6, 20), torch.float64, device)
    steps = (data.value, data.next_value, data.reward, data.done, data.terminated)
    first = [step[..., 0].T.unsqueeze(-1) for step in steps]
    found = rl_cuda.generalized_advantage_estimate(GAMMA, LMBDA, *first, time_dim=0)[0]
    assert torch.equal(found[..., 0].T, gae(data)[0][..., 0])


def test_no_rows(device: torch.device) -> None:
    """A batch without rows gives one without rows, of the same shape."""
    data = Data((0, 5), torch.float64, device)
    assert all(found.shape == (0, 5, 1) for found in (*gae(data), lambda_return(data), *vtrace(data)))


@pytest.mark.parametrize("is_terminal", [True, False])
def test_every_step_ends_a_trajectory(device: torch.device, is_terminal: bool) -> None:
    """Where all steps are done nothing is carried over, however long the row: advantages are the one-step errors."""
    data = Data((3, 1_500), torch.float64, device)
    data.done = torch.ones_like(data.done)
    data.terminated = torch.full_like(data.done, is_terminal)
    one_step = data.reward + (0.0 if is_terminal else GAMMA * data.next_value)
    torch.testing.assert_close(gae(data)[0], one_step - data.value)
    torch.testing.assert_close(lambda_return(data), one_step)
    rho = (data.log_pi - data.log_mu).exp().clamp(max=1.0)
    torch.testing.assert_close(vtrace(data)[0], rho * (one_step - data.value))


def test_inputs_with_gaps_are_read_in_place_of_their_copies(device: torch.device) -> None:
    """Every other step, one value for all rows, and features before time, give what copies without gaps give."""
    data, solid = Data((4, 66), torch.float64, device), Data((4, 66), torch.float64, device)
    for name, value in vars(data).items():
        part = value[:, ::2].expand(4, 33, 2)
        setattr(data, name, part)
        setattr(solid, name, part.contiguous())
    assert not data.reward.is_contiguous()
    found, expected = ((*gae(each), lambda_return(each), *vtrace(each)) for each in (data, solid))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_results_are_constants(device: torch.device) -> None:
    """No gradient flows to the values: targets are constants."""
    data = Data((2, 5), torch.float64, device)
    data.value.requires_grad_()
    assert not any(tensor.requires_grad for tensor in (*gae(data), lambda_return(data), *vtrace(data)))


def test_works_in_a_compiled_function(device: torch.device) -> None:
    """All three compile as one graph and give what they give uncompiled."""
    data = Data((2, 40), torch.float64, device)

    def estimate(scale: Tensor) -> tuple[Tensor, ...]:
        data.reward = data.reward * scale
        return *gae(data), lambda_return(data), *vtrace(data)

    compiled: Any = torch.compile(estimate, backend="aot_eager", fullgraph=True)
    one = torch.ones((), dtype=torch.float64, device=device)
    for found, expected in zip(compiled(one), estimate(one), strict=True):
        torch.testing.assert_close(found, expected)


def test_operators_are_registered_correctly(device: torch.device) -> None:
    """Schema, fake implementation and tracing of the operators agree with what they do."""
    data = Data((2, 40), torch.float64, device)
    flags = (data.done[..., 0], data.terminated[..., 0])
    values = (data.value[..., 0], data.next_value[..., 0], data.reward[..., 0])
    ratios = (data.log_pi[..., 0], data.log_mu[..., 0])
    for layout in (lambda x: x, lambda x: x.T, lambda x: x[:1].expand(2, 40)):
        steps, ends, logs = (tuple(map(layout, group)) for group in (values, flags, ratios))
        torch.library.opcheck(torch.ops.rl_cuda.gae.default, (*steps, *ends, 0.9, 0.8))
        torch.library.opcheck(torch.ops.rl_cuda.lambda_return.default, (*steps[1:], *ends, 0.9, 0.8))
        torch.library.opcheck(torch.ops.rl_cuda.vtrace.default, (*logs, *steps, *ends, 0.9, 0.0, 0.5))


def test_bad_input_is_named() -> None:
    """A tensor of another shape, dtype or device is an error that says which and what was expected."""
    one, no = torch.ones(2, 3, 1), torch.zeros(2, 3, 1, dtype=torch.bool)
    estimate = rl_cuda.generalized_advantage_estimate
    with pytest.raises(ShapeError, match=r'"reward" and "state_value" differ in shape.*\[2, 3, 1\].*\[2, 3\]'):
        estimate(0.9, 0.9, one, one, one[..., 0], no)
    with pytest.raises(DTypeError, match=r"done has a wrong dtype.*bool.*float32"):
        estimate(0.9, 0.9, one, one, one, one)
    with pytest.raises(DeviceError, match=r"terminated is on another device than state_value.*cpu.*meta"):
        estimate(0.9, 0.9, one, one, one, no, no.to("meta"))
    with pytest.raises(ShapeError, match=r"no steps"):
        estimate(0.9, 0.9, one[:, :0], one[:, :0], one[:, :0], no[:, :0])
