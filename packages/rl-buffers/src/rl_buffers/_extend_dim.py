"""Data whose rows do not come first."""

from collections.abc import Callable, Sequence
from typing import Any

from tensordict import is_tensor_collection
from torch import Tensor

from rl_buffers._layout import stack_rows
from rl_specs import SpecError, message


def dim_first(data: Any, dim: int, component: str) -> Any:
    """`data` with dimension `dim` exchanged with the first; dicts, lists and tuples entry by entry.

    Raises:
        SpecError: there is no such dimension.
    """

    def exchanged(value: Any) -> Any:
        if len(value.shape) <= dim:
            problem, expected = f"dim_extend={dim}", f"data of {dim + 1} dimensions"
            raise SpecError(message(component, problem, expected=expected, found=list(value.shape)))
        return value.transpose(0, dim)

    return _mapped(data, exchanged)


def stack_steps(steps: Sequence[Any], component: str, dim: int) -> Any:
    """One batch of steps `[*B]`, stacked along dimension `dim`: with `dim = len(B)` data `[*B, T]`, time last.

    Raises:
        SpecError: the steps are made differently, or have fewer dimensions.
    """
    batch = stack_rows(steps, component)

    def moved(value: Any) -> Any:
        if len(value.shape) <= dim:
            problem, expected = "dimensions of a step", f"{dim}, those of the data before time"
            raise SpecError(message(component, problem, expected=expected, found=len(value.shape) - 1))
        return value.permute(*range(1, dim + 1), 0, *range(dim + 1, len(value.shape)))

    return _mapped(batch, moved) if dim else batch


def _mapped(data: Any, change: Callable[[Any], Any]) -> Any:
    """`data` with tensors and TensorDicts changed, in dicts, lists and tuples too."""
    if isinstance(data, dict):
        return {key: _mapped(value, change) for key, value in data.items()}
    if type(data) in (list, tuple):
        return type(data)(_mapped(value, change) for value in data)
    return change(data) if isinstance(data, Tensor) or is_tensor_collection(data) else data
