"""Convolutional networks."""

from typing import Any

import pytest
import torch
from torch import nn

from rl_modules import ConvNet, SquashDims
from rl_specs import ShapeError


def test_prints_as_a_sequence_of_layers() -> None:
    """The printed form lists the layers, the first one lazy when the input channels are not given."""
    net = ConvNet(num_cells=[32, 64], kernel_sizes=[8, 4], strides=[2, 1], aggregator_class=SquashDims)
    assert str(net) == (
        "ConvNet(\n"
        "  (0): LazyConv2d(0, 32, kernel_size=(8, 8), stride=(2, 2))\n"
        "  (1): ELU(alpha=1.0)\n"
        "  (2): Conv2d(32, 64, kernel_size=(4, 4), stride=(1, 1))\n"
        "  (3): ELU(alpha=1.0)\n"
        "  (4): SquashDims()\n"
        ")"
    )
    assert net(torch.randn(10, 3, 32, 32)).shape == (10, 6400)


@pytest.mark.parametrize("batch", [(), (2,), (2, 5), (1, 2, 3)])
def test_batch_dimensions_are_kept(batch: tuple[int, ...]) -> None:
    """Any number of batch dimensions gives what each image gives on its own."""
    net = ConvNet(3, num_cells=[4], kernel_sizes=3)
    pixels = torch.randn(*batch, 3, 8, 8)
    features = net(pixels)
    assert features.shape == (*batch, 4 * 6 * 6)
    one_by_one = torch.stack([net(image) for image in pixels.reshape(-1, 3, 8, 8)])
    torch.testing.assert_close(features.reshape(-1, 144), one_by_one)


def test_without_aggregator_the_maps_are_kept() -> None:
    """Without an aggregator the output keeps channels, height and width."""
    net = ConvNet(3, num_cells=[4, 5], paddings=1, aggregator_class=None)
    assert net(torch.randn(2, 6, 3, 8, 8)).shape == (2, 6, 5, 8, 8)


def test_default_has_three_layers_of_32_channels() -> None:
    """Without any description there are three convolutions of 32 channels with 3x3 kernels."""
    convolutions = [layer for layer in ConvNet(1) if isinstance(layer, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size, c.stride) for c in convolutions] == [(32, (3, 3), (1, 1))] * 3


def test_norm_follows_the_activation() -> None:
    """A layer is convolution, activation, normalisation."""
    norms = [{"num_features": 4}, {"num_features": 5}]
    net = ConvNet(3, num_cells=[4, 5], norm_class=nn.BatchNorm2d, norm_kwargs=norms)
    layer = [nn.Conv2d, nn.ELU, nn.BatchNorm2d]
    assert [type(module) for module in net] == [*layer, *layer, SquashDims]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_cells": 8}, "Give depth"),
        ({"num_cells": [8, 8], "strides": [1]}, "num_cells: 2, strides: 1"),
        ({"channels": [8]}, "channels"),
    ],
)
def test_bad_descriptions_are_refused(arguments: dict[str, Any], message: str) -> None:
    """A description that does not fit together, or an unknown keyword, is an error that names the argument."""
    with pytest.raises((TypeError, ValueError), match=message):
        ConvNet(**arguments)


def test_an_input_that_is_no_image_is_refused() -> None:
    """An input with fewer than three dimensions is an error that says what is expected."""
    with pytest.raises(ShapeError, match=r"\[\*B, C, H, W\]"):
        ConvNet(3, num_cells=[4])(torch.randn(8, 8))
