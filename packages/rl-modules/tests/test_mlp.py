"""Multilayer perceptrons."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rl_modules import MLP


def test_prints_as_a_sequence_of_layers() -> None:
    """The printed form lists the layers, the first one lazy when the input width is not given."""
    net = MLP(num_cells=[32, 64], out_features=4, activation_class=nn.ELU)
    assert str(net) == (
        "MLP(\n"
        "  (0): LazyLinear(in_features=0, out_features=32, bias=True)\n"
        "  (1): ELU(alpha=1.0)\n"
        "  (2): Linear(in_features=32, out_features=64, bias=True)\n"
        "  (3): ELU(alpha=1.0)\n"
        "  (4): Linear(in_features=64, out_features=4, bias=True)\n"
        ")"
    )
    assert net(torch.randn(10, 3)).shape == (10, 4)


def test_value_is_that_of_the_layers_by_hand() -> None:
    """The output is W2 tanh(W1 x + b1) + b2."""
    net = MLP(3, 2, num_cells=[4])
    x = torch.randn(5, 3)
    first: Any = net[0]
    last: Any = net[2]
    expected = torch.tanh(x @ first.weight.T + first.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(net(x), expected)


def test_default_has_no_hidden_layer() -> None:
    """Without depth and widths the network is one linear layer."""
    assert [type(layer) for layer in MLP(3, 4)] == [nn.Linear]


def test_depth_without_widths_gives_32_units() -> None:
    """A depth alone gives that many hidden layers of 32 units."""
    widths = [layer.out_features for layer in MLP(3, 4, depth=2) if isinstance(layer, nn.Linear)]
    assert widths == [32, 32, 4]


def test_several_inputs_are_concatenated() -> None:
    """Called with two tensors, the network sees them side by side."""
    net = MLP(5, 1, num_cells=[8])
    a, b = torch.randn(4, 2), torch.randn(4, 3)
    torch.testing.assert_close(net(a, b), net(torch.cat([a, b], -1)))


@settings(max_examples=25, deadline=None)
@given(batch=st.lists(st.integers(1, 3), max_size=2), out=st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_output_shape_is_reshaped_to_the_one_asked_for(batch: list[int], out: list[int]) -> None:
    """An output shape of several dimensions follows the batch dimensions, whatever they are."""
    net = MLP(3, out, num_cells=[4])
    assert net(torch.randn(*batch, 3)).shape == (*batch, *out)


def test_hidden_layer_is_linear_dropout_norm_activation() -> None:
    """The order within a layer is linear, dropout, normalisation, activation; the last layer is linear alone."""
    net = MLP(3, 4, num_cells=[8, 8], dropout=0.1, norm_class=nn.LayerNorm, norm_kwargs={"normalized_shape": 8})
    hidden = [nn.Linear, nn.Dropout, nn.LayerNorm, nn.Tanh]
    assert [type(layer) for layer in net] == [*hidden, *hidden, nn.Linear]


def test_last_layer_can_be_activated_and_unbiased() -> None:
    """`activate_last_layer` ends the network in an activation, `bias_last_layer=False` drops that layer's bias."""
    net = MLP(3, 4, num_cells=[8], activate_last_layer=True, bias_last_layer=False, activation_class=nn.ReLU)
    last: Any = net[2]
    assert last.bias is None
    assert isinstance(net[3], nn.ReLU)
    assert (net(torch.randn(50, 3)) >= 0).all()


def test_activation_arguments_can_differ_by_layer() -> None:
    """A list of keyword arguments gives one mapping to each activation."""
    net = MLP(3, 4, num_cells=[8, 8], activation_class=nn.ELU, activation_kwargs=[{"alpha": 0.5}, {"alpha": 2.0}])
    assert [layer.alpha for layer in net if isinstance(layer, nn.ELU)] == [0.5, 2.0]


def test_device_and_layer_arguments_reach_the_layers() -> None:
    """Parameters are made on the device asked for, with the layer's own keyword arguments."""
    net = MLP(3, 4, num_cells=[8], device="meta", layer_kwargs={"dtype": torch.float64})
    assert {(p.device.type, p.dtype) for p in net.parameters()} == {("meta", torch.float64)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_features": 3}, "out_features is missing"),
        ({"out_features": 2, "num_cells": 16}, "Give depth"),
        ({"out_features": 2, "num_cells": [16], "depth": 2}, "num_cells: 1, depth: 2"),
        ({"out_features": 2, "depth": -1}, "negative"),
        ({"out_features": 2, "layer_class": nn.Bilinear}, "cannot infer"),
        ({"out_features": 2, "num_cells": [4], "activation_kwargs": [{}, {}]}, "activation_kwargs"),
        ({"out_features": 2, "hidden_sizes": [4]}, "hidden_sizes"),
    ],
)
def test_bad_descriptions_are_refused(arguments: dict[str, Any], message: str) -> None:
    """A description that does not fit together, or an unknown keyword, is an error that names the argument."""
    with pytest.raises((TypeError, ValueError), match=message):
        MLP(**arguments)
