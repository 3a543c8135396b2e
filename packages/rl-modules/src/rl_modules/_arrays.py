"""A few numbers at a time, on the CPU and without gradients, as numpy arrays.

There the work of an operation is nothing and its dispatch everything, which numpy does in a third of the time: acting
in one environment, or in a few dozen, is that case. Values agree with torch's to rounding. It is a module itself that
takes this way, so that a policy gives the same numbers whoever calls it.

Batches up to a few thousand rows, those of a value estimate, leave the matrix products to torch and the activations to
numpy, whose `tanh` is seven times as fast on one core.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import is_
from typing import Any, Final, cast, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Array = np.ndarray[Any, Any]

_DTYPES: Final = (torch.float32, torch.float64)

_VECTOR_PRODUCTS: Final = 8_192
_MATRIX_PRODUCTS: Final = 262_144
"""Multiplications of one layer up to which numpy's BLAS stays in the calling thread, and dispatch is what counts."""
_MOST_ACTIVATED: Final = 262_144
"""Entries of one activation from which on several threads of torch's make up for its `tanh`, seven times slower."""


def as_small_arrays(*tensors: Tensor, most: int = 512) -> list[Array] | None:
    """Arrays over the memory of the tensors; None where torch has to do the work or would do it faster.

    Args:
        tensors: of any shape.
        most: number of entries from which on torch's vectorised functions are faster.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return None
    for tensor in tensors:
        if type(tensor) is not Tensor or tensor.dtype not in _DTYPES or not 0 < tensor.dim() <= tensor.numel() <= most:
            return None
        if tensor.requires_grad or not tensor.is_cpu:
            return None
    return [tensor.numpy() for tensor in tensors]


@final
class ArrayLayers:
    """Linear layers and activations as they are now, on arrays, where a value is small.

    Arrays share the memory that the parameters have when this is made, and keep it alive.

    Args:
        layers: a linear layer, then linear ones, `Tanh` and `ReLU`; their parameters are plain ones on the CPU.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = tuple(layers)
        self._parameters = [parameter for layer in layers for parameter in layer.parameters()]
        self._addresses = [parameter.data_ptr() for parameter in self._parameters]
        self._dtype = self._parameters[0].dtype
        self._features = cast(nn.Linear, layers[0]).in_features
        products = [layer.weight.numel() for layer in layers if isinstance(layer, nn.Linear)]
        self._most_rows = _MATRIX_PRODUCTS // max(products)
        self._takes_vectors = max(products) <= _VECTOR_PRODUCTS
        widest = max(layer.out_features for layer in layers if isinstance(layer, nn.Linear))
        self._most_activated_rows = _MOST_ACTIVATED // widest
        self._calls: list[Callable[[Any], Any]] = [_array_call(layer) for layer in layers]

    @classmethod
    def of(cls, layers: Sequence[nn.Module]) -> "ArrayLayers | None":
        """The layers on arrays; None where one of them, or a parameter, is of another kind."""
        kinds = [type(layer) for layer in layers]
        if not kinds or kinds[0] is not nn.Linear or not set(kinds) <= {nn.Linear, nn.Tanh, nn.ReLU}:
            return None
        found = [parameter for layer in layers for parameter in layer.parameters()]
        are_plain = all(type(value) is nn.Parameter and value.is_cpu and value.dtype in _DTYPES for value in found)
        is_one_kind = len({value.dtype for value in found}) == 1
        widths = [layer.weight.shape for layer in layers if isinstance(layer, nn.Linear)]
        are_fitting = all(after[1] == before[0] for before, after in pairwise(widths))
        return cls(layers) if are_plain and is_one_kind and are_fitting else None

    def is_current(self, layers: Sequence[nn.Module]) -> bool:
        """Whether this was made of these layers, and their parameters have kept their places."""
        if len(layers) != len(self._layers) or not all(map(is_, layers, self._layers)):
            return False
        return [parameter.data_ptr() for layer in layers for parameter in _held(layer)] == self._addresses

    def __call__(self, value: Tensor) -> Tensor | None:
        """What the layers make of `value`, `[*B, F]`; None where that is left to torch."""
        if type(value) is not Tensor or value.dtype is not self._dtype or value.requires_grad or not value.is_cpu:
            return None
        shape = value.shape
        dims = len(shape)
        rows = value.numel() // self._features
        is_small = self._takes_vectors if dims == 1 else dims == 2 and 0 < rows <= self._most_rows
        is_medium = dims > 1 and 0 < rows <= self._most_activated_rows
        if not (is_small or is_medium) or shape[-1] != self._features or torch.is_grad_enabled():
            return None
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return None
        if torch.is_autocast_enabled("cpu") or torch._C._len_torch_dispatch_stack():
            return None
        if not is_small:
            return self._run_rows(value)
        array = value.numpy()
        for call in self._calls:
            array = call(array)
        return torch.from_numpy(array)

    def _run_rows(self, value: Tensor) -> Tensor:
        """Matrix products by torch, activations by numpy, in place."""
        for layer, call in zip(self._layers, self._calls, strict=True):
            if isinstance(layer, nn.Linear):
                value = F.linear(value, layer.weight, layer.bias)
            else:
                call(value.numpy())
        return value


def _held(layer: nn.Module) -> list[Tensor]:
    return [value for value in layer._parameters.values() if value is not None]


def _array_call(layer: nn.Module) -> Callable[[Array], Array]:
    if isinstance(layer, nn.Linear):
        bias: Tensor | None = layer.bias
        return _linear(layer.weight.detach().numpy().T, None if bias is None else bias.detach().numpy())
    return _tanh if isinstance(layer, nn.Tanh) else _relu


def _linear(weight: Array, bias: Array | None) -> Callable[[Array], Array]:
    if bias is None:
        return lambda array: cast(Array, array.dot(weight))

    def run(array: Array) -> Array:
        out: Array = array.dot(weight)  # with half the overhead of `@`
        out += bias
        return out

    return run


def _tanh(array: Array) -> Array:
    return cast(Array, np.tanh(array, array))


def _relu(array: Array) -> Array:
    return cast(Array, np.maximum(array, 0.0, out=array))
