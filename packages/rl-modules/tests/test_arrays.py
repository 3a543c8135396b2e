"""Small values on the CPU go through numpy: the numbers, and what keeps torch in charge."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rl_modules import MLP, TanhNormal
from rl_modules._arrays import ArrayLayers, as_small_arrays


def _network(**kwargs: Any) -> MLP:
    torch.manual_seed(0)
    return MLP(in_features=5, out_features=3, num_cells=[16, 8], **kwargs)


def _with_torch(network: MLP, value: Tensor) -> Tensor:
    """With gradients enabled the layers run in torch."""
    with torch.enable_grad():
        result: Tensor = network(value)
        return result.detach()


def _spy(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call was made on arrays."""
    found: list[bool] = []
    original = ArrayLayers.__call__

    def call(self: ArrayLayers, value: Tensor) -> Tensor | None:
        result = original(self, value)
        found.append(result is not None)
        return result

    monkeypatch.setattr(ArrayLayers, "__call__", call)
    return found


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (8, 5), (300, 5), (5000, 5), (2, 3, 5), (4, 0, 5)])
def test_numbers_are_those_of_the_layers(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], dtype: torch.dtype, activation: Callable[..., nn.Module]
) -> None:
    """Vectors and matrices, both dtypes: rounding apart, what torch computes, and the input stays as it is."""
    on_arrays = _spy(monkeypatch)
    network = _network(activation_class=activation, bias_last_layer=False).to(dtype)
    value = torch.randn(shape, dtype=dtype)
    before = value.clone()
    with torch.no_grad():
        out = network(value)
    assert on_arrays == [value.numel() > 0]
    assert out.dtype == dtype
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(out, _with_torch(network, value), rtol=tolerance, atol=tolerance)
    assert torch.equal(value, before)


def test_output_shape_of_several_dimensions() -> None:
    """The output is reshaped as it is elsewhere."""
    network = MLP(in_features=5, out_features=(2, 3), num_cells=[4])
    with torch.no_grad():
        assert network(torch.randn(5)).shape == (2, 3)
        assert network(torch.randn(7, 5)).shape == (7, 2, 3)


@pytest.mark.parametrize("change", ["in_place", "data", "load_state_dict", "replaced_parameter", "replaced_layer"])
def test_changed_weights_are_seen(change: str) -> None:
    """However the weights change, the next call uses the new ones."""
    network, value = _network(), torch.randn(5)
    with torch.no_grad():
        before = network(value)
        first: Any = network[0]
        if change == "in_place":
            first.weight.mul_(2.0)
        elif change == "data":
            first.weight.data = first.weight.data * 2.0
        elif change == "load_state_dict":
            network.load_state_dict({key: tensor * 2.0 for key, tensor in network.state_dict().items()})
        elif change == "replaced_parameter":
            first.weight = nn.Parameter(first.weight * 2.0)
        else:
            network[0] = nn.Linear(5, 16)
        after = network(value)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, _with_torch(network, value), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_has_weights_of_its_own(copied: Callable[[MLP], MLP]) -> None:
    """A copy does not read the memory of the original."""
    network, value = _network(), torch.randn(5)
    with torch.no_grad():
        before = network(value)
        other = copied(network)
        first: Any = other[0]
        first.weight.zero_()
        assert torch.equal(network(value), before)
        torch.testing.assert_close(other(value), _with_torch(other, value), rtol=1e-6, atol=1e-6)


def test_torch_stays_in_charge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients, large values, autocast, vmap and other layers."""
    on_arrays = _spy(monkeypatch)
    network = _network()
    network(torch.randn(5))
    with torch.no_grad():
        network(torch.randn(20_000, 5))
        network(torch.randn(4, 5, requires_grad=True))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert network(torch.randn(4, 5)).dtype == torch.bfloat16
        assert torch.vmap(network)(torch.randn(4, 5)).shape == (4, 3)
        assert MLP(in_features=5, out_features=3, activation_class=nn.ELU, num_cells=[4])(torch.randn(5)).shape == (3,)
    assert True not in on_arrays


@pytest.mark.parametrize("is_global", [False, True])
def test_hooks_of_layers_run(is_global: bool) -> None:
    """A hook on a layer, or on all modules, is called."""
    network, calls = _network(), list[str]()

    def hook(module: nn.Module, *_: object) -> None:
        calls.append(type(module).__name__)

    with torch.no_grad():
        network(torch.randn(2, 5))
        if is_global:
            handle = nn.modules.module.register_module_forward_hook(hook)
        else:
            handle = network[2].register_forward_hook(hook)
        try:
            network(torch.randn(2, 5))
        finally:
            handle.remove()
    assert calls.count("Linear") == (3 if is_global else 1)


def test_a_wrong_input_gets_the_error_of_torch() -> None:
    """Width and dtype are checked as they are by the layers."""
    network = _network()
    with torch.no_grad():
        network(torch.randn(2, 5))
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            network(torch.randn(2, 4))
        with pytest.raises(RuntimeError, match="dtype"):
            network(torch.randn(2, 5, dtype=torch.float64))


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (-0.4, 0.4), (-3.0, 3.0)])
@pytest.mark.parametrize("event_dims", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_small_draw_has_the_numbers_of_a_large_one(
    bounds: tuple[float, float], event_dims: int, dtype: torch.dtype
) -> None:
    """Sample, log-probability and pre-image, from the same random numbers."""
    torch.manual_seed(0)
    loc, scale = 4.0 * torch.randn(7, 6, dtype=dtype), torch.rand(7, 6, dtype=dtype) + 0.1
    dist = TanhNormal(loc, scale, low=bounds[0], high=bounds[1], event_dims=event_dims)
    with torch.no_grad():
        state = torch.get_rng_state()
        assert as_small_arrays(loc, scale) is not None
        sample = dist.rsample()
        log_prob = dist.log_prob(sample)
        pre_image = dist._pre_image
    torch.set_rng_state(state)
    with torch.enable_grad():
        expected = dist.rsample()
        expected_log_prob = dist.log_prob(expected)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(sample, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(log_prob, expected_log_prob, rtol=2e-6, atol=tolerance)
    torch.testing.assert_close(pre_image, dist._pre_image)
    assert sample.abs().max() <= bounds[1]


def test_a_small_draw_far_out_stays_finite_and_inside() -> None:
    """Saturation is no overflow."""
    loc = torch.tensor([-1e30, -50.0, 0.0, 50.0, 1e30])
    dist = TanhNormal(loc, torch.ones(5))
    with torch.no_grad():
        sample = dist.rsample()
        assert sample.abs().max() <= 1.0
        assert dist.log_prob(sample).isfinite()


def test_log_prob_of_a_small_draw_has_gradients_afterwards() -> None:
    """A draw made without gradients can be scored with them."""
    loc, scale = torch.zeros(6, requires_grad=True), torch.ones(6, requires_grad=True)
    dist = TanhNormal(loc, scale)
    sample = dist.sample()
    dist.log_prob(sample).backward()  # type: ignore[no-untyped-call]  # untyped in torch
    assert loc.grad is not None
    assert scale.grad is not None
    torch.testing.assert_close(loc.grad, dist._noise)


def test_a_small_draw_that_is_changed_is_mapped_back() -> None:
    """The remembered pre-image holds for the drawn values only."""
    dist = TanhNormal(torch.zeros(6), torch.ones(6))
    with torch.no_grad():
        sample = dist.rsample()
        first = dist.log_prob(sample)
        sample.mul_(0.5)
        torch.testing.assert_close(dist.log_prob(sample), dist.log_prob(sample.clone()))
        assert dist.log_prob(sample) != first
