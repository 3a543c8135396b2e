"""A multilayer perceptron described by its widths."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as module_globals

from rl_modules._arrays import ArrayLayers
from rl_modules._layers import (
    Keywords,
    ModuleFactory,
    check_factory,
    check_widths,
    keywords_per_layer,
    layer_count,
    per_layer,
)
from rl_specs import message


@final
class MLP(nn.Sequential):
    """Linear layers with an activation between them.

    A hidden layer is linear, dropout (where asked for), normalisation (where asked for), activation; the last layer is
    linear alone unless `activate_last_layer`. Called with several tensors, it concatenates them along the last
    dimension, as a network that reads several keys has to.

    Args:
        in_features: width of the input; by default taken from the first input (a lazy layer, to be run
            once before its parameters are handed to an optimizer).
        out_features: width of the output, or its shape without batch dimensions.
        depth: number of hidden layers; by default the length of `num_cells`, else 0.
        num_cells: widths of the hidden layers, or one width for all; 32 by default.
        activation_class: activation module.
        activation_kwargs: its keyword arguments, one mapping or one per activation.
        norm_class: normalisation module of each hidden layer, by default none.
        norm_kwargs: its keyword arguments, one mapping or one per normalisation.
        dropout: probability that a hidden unit is dropped in training, by default no dropout.
        bias_last_layer: whether the last layer has a bias.
        layer_class: module of a layer, called as `torch.nn.Linear`.
        layer_kwargs: keyword arguments of the layers.
        activate_last_layer: whether dropout, normalisation and activation follow the last layer too.
        device: device of the parameters.
    Shape:
        `[*B, in_features]` to `[*B, out_features]` or `[*B, *out_features]`.
    Raises:
        ValueError: a width below 1; depth and widths disagree; a lazy layer of a `layer_class` that has none.
        TypeError: `out_features` is missing, a keyword argument is unknown, or a class is none.
    """

    def __init__(
        self,
        in_features: int | None = None,
        out_features: int | Sequence[int] | None = None,
        *,
        depth: int | None = None,
        num_cells: int | Sequence[int] | None = None,
        activation_class: ModuleFactory = nn.Tanh,
        activation_kwargs: Keywords = None,
        norm_class: ModuleFactory | None = None,
        norm_kwargs: Keywords = None,
        dropout: float | None = None,
        bias_last_layer: bool = True,
        layer_class: ModuleFactory = nn.Linear,
        layer_kwargs: Mapping[str, Any] | None = None,
        activate_last_layer: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        if out_features is None:
            raise TypeError(message("MLP", "out_features is missing", expected="a width, or a shape"))
        n_hidden = layer_count("MLP", depth, {"num_cells": num_cells}, default=0)
        out_shape = (out_features,) if isinstance(out_features, int) else tuple(out_features)
        widths = [*per_layer(32 if num_cells is None else num_cells, n_hidden), math.prod(out_shape)]
        n_activated = len(widths) if activate_last_layer else n_hidden
        check_widths("MLP", "num_cells", widths)
        check_factory("MLP", "activation_class", activation_class)
        activations = keywords_per_layer("MLP", "activation_kwargs", activation_kwargs, n_activated)
        norms = keywords_per_layer("MLP", "norm_kwargs", norm_kwargs, n_activated)
        layers: list[nn.Module] = []
        previous = in_features
        for index, width in enumerate(widths):
            kwargs = dict(layer_kwargs or {}, device=device)
            if index == n_hidden:
                kwargs["bias"] = bias_last_layer
            layers.append(_layer(layer_class, previous, width, kwargs))
            previous = width
            if index < n_activated:
                if dropout is not None:
                    layers.append(nn.Dropout(dropout))
                if norm_class is not None:
                    layers.append(norm_class(**norms[index]).to(device))
                layers.append(activation_class(**activations[index]).to(device))
        super().__init__(*layers)
        self.in_features = in_features
        self.out_features = out_features
        self._out_shape = None if isinstance(out_features, int) else out_shape
        self._on_arrays: ArrayLayers | None = None

    def forward(self, *inputs: Tensor) -> Tensor:
        """Output for `inputs`, which are concatenated along their last dimension."""
        value = inputs[0] if len(inputs) == 1 else torch.cat(inputs, -1)
        layers = self._layers()
        result = None if torch.is_grad_enabled() else self._run_on_arrays(layers, value)
        if result is None:
            result = value
            for layer in layers:
                result = _vector_call(layer, result) if value.dim() == 1 else layer(result)
        return result if self._out_shape is None else result.reshape(*value.shape[:-1], *self._out_shape)

    def plain_calls(self) -> Sequence[Callable[[Tensor], Tensor]] | None:
        """The functions that `forward` runs on one input, for callers to whom the calls of modules cost too much.

        They hold the parameters that the network has now.
        """
        if self._out_shape is not None:
            return None
        layers = self._layers()
        calls = [_plain_call(layer) for layer in layers]
        on_arrays = ArrayLayers.of(layers) if all(map(_is_bare, layers)) else None
        return calls if on_arrays is None else [_first_of(on_arrays, calls)]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_on_arrays": None}

    def _layers(self) -> list[nn.Module]:
        return list(cast(Iterable[nn.Module], self._modules.values()))

    def _run_on_arrays(self, layers: list[nn.Module], value: Tensor) -> Tensor | None:
        if torch.compiler.is_compiling() or not value.is_cpu or not all(map(_is_bare, layers)):
            return None
        if self._on_arrays is None or not self._on_arrays.is_current(layers):
            self._on_arrays = ArrayLayers.of(layers)
        return None if self._on_arrays is None else self._on_arrays(value)


def _first_of(on_arrays: ArrayLayers, calls: Sequence[Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
    """The layers on arrays, or, where a value is not small, one after the other."""

    def run(value: Tensor) -> Tensor:
        result = on_arrays(value)
        if result is not None:
            return result
        for call in calls:
            value = call(value)
        return value

    return run


def _is_bare(layer: nn.Module) -> bool:
    return not (
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or layer._compiled_call_impl is not None
        or module_globals._global_forward_hooks
        or module_globals._global_forward_pre_hooks
    )


def _vector_call(layer: nn.Module, value: Tensor) -> Tensor:
    """`layer` on a vector; for a linear one a matrix-vector product, at half the cost of the general call."""
    if type(layer) is nn.Linear and _is_bare(layer):
        return torch.mv(layer.weight, value) if layer.bias is None else torch.addmv(layer.bias, layer.weight, value)
    result: Tensor = layer(value)
    return result


def _plain_call(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """`_vector_call` or the layer's own call, by the dimensions of the value."""
    if not _is_bare(layer):
        return layer
    if type(layer) is nn.Tanh:
        return torch.tanh
    if type(layer) is not nn.Linear or layer.bias is None:
        return layer.forward
    weight, bias = layer.weight, layer.bias
    return lambda value: torch.addmv(bias, weight, value) if value.dim() == 1 else F.linear(value, weight, bias)


def _layer(layer_class: ModuleFactory, in_features: int | None, out_features: int, kwargs: dict[str, Any]) -> nn.Module:
    if in_features is not None:
        return layer_class(in_features, out_features, **kwargs)
    if layer_class is nn.Linear:
        return nn.LazyLinear(out_features, **kwargs)
    raise ValueError(
        message(
            "MLP",
            f"in_features is missing, and {getattr(layer_class, '__name__', layer_class)} cannot infer it",
            fix="Give in_features=..., or leave layer_class at torch.nn.Linear",
        )
    )
