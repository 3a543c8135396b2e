"""A convolutional network described by its channels and kernels."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from rl_modules._layers import Keywords, ModuleFactory, keywords_per_layer, layer_count, per_layer
from rl_modules.squash_dims import SquashDims
from rl_specs import ShapeError, message

Size2d = int | tuple[int, int]
"""Height and width, or one number for both."""


@final
class ConvNet(nn.Sequential):
    """Two-dimensional convolutions, each followed by an activation and then a normalisation (where asked for).

    Args:
        in_features: channels of the input; by default taken from the first input (a lazy layer, to be run once before
            its parameters are handed to an optimizer).
        depth: number of convolutions; by default the length of whichever argument is a list, else 3.
        num_cells: channels of the layers, or one number for all; 32 by default.
        kernel_sizes: kernel sizes in pixels, one or one per layer.
        strides: strides in pixels, one or one per layer.
        paddings: zero padding in pixels, one or one per layer.
        activation_class: activation module.
        activation_kwargs: its keyword arguments, one mapping or one per layer.
        norm_class: normalisation module, by default none.
        norm_kwargs: its keyword arguments, one mapping or one per layer.
        bias_last_layer: whether the last convolution has a bias.
        aggregator_class: module that follows the convolutions, `SquashDims` by default; None for none.
        aggregator_kwargs: its keyword arguments.
        device: device of the parameters.
    Shape:
        `[*B, C, H, W]` with any number of batch dimensions, none included, to `[*B, features]`
        (`[*B, C', H', W']` without aggregator).
    Raises:
        ValueError: the arguments describe different numbers of layers.
        TypeError: a keyword argument is unknown.
    """

    def __init__(
        self,
        in_features: int | None = None,
        *,
        depth: int | None = None,
        num_cells: int | Sequence[int] | None = None,
        kernel_sizes: Size2d | Sequence[Size2d] = 3,
        strides: Size2d | Sequence[Size2d] = 1,
        paddings: Size2d | Sequence[Size2d] = 0,
        activation_class: ModuleFactory = nn.ELU,
        activation_kwargs: Keywords = None,
        norm_class: ModuleFactory | None = None,
        norm_kwargs: Keywords = None,
        bias_last_layer: bool = True,
        aggregator_class: ModuleFactory | None = SquashDims,
        aggregator_kwargs: Mapping[str, Any] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        described = {"num_cells": num_cells, "kernel_sizes": kernel_sizes, "strides": strides, "paddings": paddings}
        n_layers = layer_count("ConvNet", depth, described, default=3)
        channels = per_layer(32 if num_cells is None else num_cells, n_layers)
        kernels = _sizes(kernel_sizes, n_layers)
        steps = _sizes(strides, n_layers)
        borders = _sizes(paddings, n_layers)
        activations = keywords_per_layer("ConvNet", "activation_kwargs", activation_kwargs, n_layers)
        norms = keywords_per_layer("ConvNet", "norm_kwargs", norm_kwargs, n_layers)
        layers: list[nn.Module] = []
        previous = in_features
        for index in range(n_layers):
            is_biased = bias_last_layer or index < n_layers - 1
            layers.append(
                _convolution(previous, channels[index], kernels[index], steps[index], borders[index], is_biased, device)
            )
            previous = channels[index]
            layers.append(activation_class(**activations[index]).to(device))
            if norm_class is not None:
                layers.append(norm_class(**norms[index]).to(device))
        if aggregator_class is not None:
            layers.append(aggregator_class(**(aggregator_kwargs or {})).to(device))
        super().__init__(*layers)
        self.in_features = in_features

    def forward(self, pixels: Tensor) -> Tensor:
        """Features of `pixels` `[*B, C, H, W]`.

        Raises:
            ShapeError: `pixels` has fewer than three dimensions.
        """
        batch_shape = pixels.shape[:-3]
        if pixels.dim() < 3:
            raise ShapeError(
                message("ConvNet", "the input is no image", expected="[*B, C, H, W]", found=list(pixels.shape))
            )
        value = pixels if len(batch_shape) == 1 else pixels.reshape(-1, *pixels.shape[-3:])
        for layer in self._modules.values():
            value = layer(value)
        return value if len(batch_shape) == 1 else value.reshape(*batch_shape, *value.shape[1:])


def _sizes(value: Size2d | Sequence[Size2d], n_layers: int) -> list[Size2d]:
    return [value] * n_layers if isinstance(value, int) else [_size(v) for v in value]


def _size(value: Any) -> Size2d:
    return value if isinstance(value, int) else (int(value[0]), int(value[1]))


def _convolution(
    in_channels: int | None,
    out_channels: int,
    kernel: Size2d,
    stride: Size2d,
    padding: Size2d,
    is_biased: bool,
    device: torch.device | str | None,
) -> nn.Module:
    if in_channels is None:
        return nn.LazyConv2d(out_channels, kernel, stride, padding, bias=is_biased, device=device)
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=is_biased, device=device)
