"""A network as the plain functions that its layers amount to.

Calling a module costs more than a small layer itself. A sequence of stock layers without hooks is therefore taken apart
once, when a policy is planned; any other module is called as it is. The numbers are those of the module either way.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast, final, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from tensordict.nn import AddStateIndependentNormalScale
from tensordict.nn.utils import mappings
from torch import Tensor, nn
from torch.nn.modules import module as module_globals

Call = Callable[..., Any]

_SMALL: Final = 1_024
"""Number of entries of a parameter up to which looking whether it changed costs less than a function of it."""

_NUMPY_DTYPES: Final = (torch.float32, torch.float64)


@runtime_checkable
class PlainLayers(Protocol):
    """A network whose `forward`, on one input, runs plain functions one after the other."""

    def plain_calls(self) -> Sequence[Call] | None:
        """These functions, or None where `forward` does more at present."""
        ...


def network_call(network: Any) -> Call:
    """A callable that returns what `network` returns on one input, at less cost where that is possible.

    It holds the parameters that the network has now: make it anew after parameters have been replaced (changing their
    values is no replacement) or hooks have been added.

    Args:
        network: a module, or any callable.
    """
    calls = _calls(network)
    if calls is None:
        return cast(Call, network)
    if len(calls) == 1:
        return calls[0]

    def run(value: Any) -> Any:
        for call in calls:
            value = call(value)
        return value

    return run


def is_hooked(module: nn.Module) -> bool:
    """Whether calling the module does more than its `forward`."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or module._compiled_call_impl is not None
        or module_globals._global_forward_hooks
        or module_globals._global_forward_pre_hooks
        or module_globals._global_backward_hooks
        or module_globals._global_backward_pre_hooks
    )


def _calls(network: Any) -> list[Call] | None:
    if not isinstance(network, nn.Module) or is_hooked(network):
        return None
    if type(network).forward is nn.Sequential.forward:
        layers = [_calls(layer) or [layer] for layer in network.children()]
        return [call for calls in layers for call in calls] or None
    if isinstance(network, PlainLayers) and _is_of_one_class(type(network), "plain_calls", "forward"):
        calls = network.plain_calls()
        return None if calls is None else list(calls)
    return _leaf_calls(network)


def _leaf_calls(layer: nn.Module) -> list[Call] | None:
    kind = type(layer)
    if kind is nn.Linear:
        weight, bias = layer.weight, layer.bias
        return [lambda value: F.linear(value, cast(Tensor, weight), cast(Tensor | None, bias))]
    if kind is nn.Tanh:
        return [torch.tanh]
    if kind is AddStateIndependentNormalScale:
        return [_scale_call(cast(Any, layer))]
    return [layer.forward]


def _scale_call(layer: Any) -> Call:
    parameter, lowest = layer.state_independent_scale, layer.scale_lb
    mapping = mappings(layer.scale_mapping)
    shape = layer.scale_shape
    dims = len(shape)
    remembered = _Remembered(lambda: mapping(parameter).clamp_min(lowest), parameter)

    def run(loc: Any) -> Any:
        if not isinstance(loc, Tensor) or loc.shape[-dims:] != shape:
            return layer(loc)  # more inputs than one, or the layer's own error
        scale = remembered.broadcast(loc)
        return loc, mapping(parameter.expand_as(loc)).clamp_min(lowest) if scale is None else scale

    return run


@final
class _Remembered:
    """A function of one small parameter on the CPU, computed anew when the parameter's values have changed.

    Args:
        function: gives a tensor of the parameter's form.
        parameter: what it depends on.
    """

    def __init__(self, function: Callable[[], Tensor], parameter: Tensor) -> None:
        self._function = function
        self._parameter = parameter
        self._is_small = parameter.is_cpu and parameter.numel() <= _SMALL and parameter.dtype in _NUMPY_DTYPES
        self._address = 0
        self._values: Any = None
        self._bytes: bytes | None = None
        self._result: Any = None

    def broadcast(self, like: Tensor) -> Tensor | None:
        """A fresh tensor of the shape of `like`; None where the function has to be called as it is."""
        if not self._is_small or not like.is_cpu or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return None
        address = self._parameter.data_ptr()
        if address != self._address:
            self._address = address
            self._values = self._parameter.detach().numpy()
            self._bytes = None
        held = self._values.tobytes()
        if held != self._bytes:
            self._bytes = held
            self._result = self._function().numpy()
        out = np.empty(like.shape, self._result.dtype)
        out[...] = self._result
        return torch.from_numpy(out)


def _is_of_one_class(kind: type, *names: str) -> bool:
    """Whether one class defines all these methods, so that none is overridden without the others."""
    owners = [next(base for base in kind.__mro__ if name in vars(base)) for name in names]
    return all(owner is owners[0] for owner in owners)
