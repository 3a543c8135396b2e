"""Networks as plain functions: the numbers of the module, and the module itself where it is not stock."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict.nn import AddStateIndependentNormalScale, NormalParamExtractor
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from rl_envs._network_plan import network_call


class Doubled(nn.Sequential):
    """A sequence with a forward of its own."""

    def forward(self, input: Tensor) -> Tensor:
        """Twice the output."""
        for layer in self:
            input = layer(input)
        return 2 * input


class Layers(nn.Module):
    """A network that tells the functions which it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, value: Tensor) -> Tensor:
        """A linear map, then a tanh."""
        return torch.tanh(self.layer(value))

    def plain_calls(self) -> list[Callable[[Tensor], Tensor]]:
        """The two functions."""
        return [self.layer.forward, torch.tanh]


class Negated(Layers):
    """A subclass that overrides `forward` and not the list of functions."""

    def forward(self, value: Tensor) -> Tensor:
        """Minus the output."""
        return -super().forward(value)


def _with_scale(**options: Any) -> nn.Module:
    layer = AddStateIndependentNormalScale(2, **options)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return nn.Sequential(nn.Linear(3, 2), layer)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(3, 2),
    "no bias": lambda: nn.Linear(3, 2, bias=False),
    "sequence": lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)), nn.ELU()),
    "empty sequence": lambda: nn.Sequential(),
    "own forward": lambda: Doubled(nn.Linear(3, 2)),
    "plain layers": Layers,
    "overridden": Negated,
    "parametrised": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2)), nn.Tanh()),
    "norm": lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Softplus()),
    "extractor": lambda: nn.Sequential(nn.Linear(3, 4), NormalParamExtractor()),
    "scale": _with_scale,
    "bounded scale": lambda: _with_scale(scale_lb=0.7),
    "softplus scale": lambda: _with_scale(scale_mapping="softplus"),
}


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3)])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_module(name: str, shape: tuple[int, ...]) -> None:
    """Outputs and gradients are bitwise those of calling the module."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    value = torch.randn(shape)
    results = []
    for call in (network, network_call(network)):
        given = value.clone().requires_grad_()
        out = call(given)
        outputs = out if isinstance(out, tuple) else (out,)
        gradients = torch.autograd.grad(sum(o.square().sum() for o in outputs), [given, *network.parameters()])
        results.append([*outputs, *gradients])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_stock_layers_are_not_called() -> None:
    """A stock sequence runs without `__call__` of any of its modules."""
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    called: list[str] = []

    def note(module: nn.Module, inputs: Any) -> None:
        called.append(type(module).__name__)

    call = network_call(network)
    for layer in network:
        layer.register_forward_pre_hook(note)
    call(torch.randn(3))
    assert called == []
    network_call(network)(torch.randn(3))
    assert called == ["Linear", "Tanh", "Linear"]


@pytest.mark.parametrize("at", ["network", "layer", "everywhere"])
def test_hooks_are_run(at: str) -> None:
    """A hook on the network, on a layer, or on all modules has its effect."""
    network = nn.Sequential(nn.Linear(3, 2), nn.Identity())

    def double(module: nn.Module, inputs: Any, output: Any) -> Any:
        return output * 2

    if at == "everywhere":
        handle = nn.modules.module.register_module_forward_hook(double)
    else:
        handle = (network if at == "network" else network[0]).register_forward_hook(double)
    value = torch.randn(3)
    try:
        assert torch.equal(network_call(network)(value), network(value))
    finally:
        handle.remove()
    assert not torch.equal(network_call(network)(value), network(value) * 2)


def test_new_values_of_parameters_are_used() -> None:
    """The functions hold the parameters, whose values may change, through `.data` as well."""
    network = nn.Sequential(nn.Linear(3, 2), AddStateIndependentNormalScale(2))
    call = network_call(network)
    for parameter in network.parameters():
        parameter.data.fill_(0.25)
    loc, scale = call(torch.ones(3))
    assert loc.tolist() == [1.0, 1.0]
    assert scale.tolist() == pytest.approx([1.2840254, 1.2840254])


@pytest.mark.parametrize("mapping", ["exp", "biased_softplus_1.0", "relu"])
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3)])
def test_a_scale_is_remembered_until_its_parameter_changes(mapping: str, shape: tuple[int, ...]) -> None:
    """It is that of the layer at any time, and a tensor of the caller's own."""
    network = _with_scale(scale_mapping=mapping, scale_lb=0.1)
    layer: Any = network[1]  # type: ignore[index]  # a Sequential
    call = network_call(network)
    value = torch.randn(shape)

    def check() -> None:
        for got, expected in zip(call(value), network(value), strict=True):
            assert torch.equal(got, expected)

    with torch.no_grad():
        check()
        call(value)[1].zero_()  # what was handed out is the caller's own
        check()
        layer.state_independent_scale.add_(1.0)
        check()
        layer.state_independent_scale.data.mul_(0.5)  # does not count as a new version
        check()
        layer.state_independent_scale.data = torch.full_like(layer.state_independent_scale, 2.0)
        check()
    assert call(value)[1].requires_grad


def test_wrong_width_of_a_scale_is_the_layers_error() -> None:
    """A scale that does not fit its location gives the error of the layer itself."""
    with pytest.raises(RuntimeError, match="Last dimensions of loc"):
        network_call(AddStateIndependentNormalScale(2))(torch.zeros(3))


def test_any_callable_is_itself() -> None:
    """What is no module is called as it is."""
    assert network_call(torch.sin) is torch.sin
