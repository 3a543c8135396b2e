"""Data whose rows do not come first."""

from typing import Any

from tensordict import is_tensor_collection
from torch import Tensor

from rl_specs import SpecError, message


def dim_first(data: Any, dim: int, component: str) -> Any:
    """`data` with dimension `dim` exchanged with the first; dicts, lists and tuples entry by entry.

    Raises:
        SpecError: there is no such dimension.
    """
    if isinstance(data, dict):
        return {key: dim_first(value, dim, component) for key, value in data.items()}
    if type(data) in (list, tuple):
        return type(data)(dim_first(value, dim, component) for value in data)
    if not isinstance(data, Tensor) and not is_tensor_collection(data):
        return data
    shape = data.shape
    if len(shape) <= dim:
        raise SpecError(
            message(component, f"dim_extend={dim}", expected=f"data of {dim + 1} dimensions", found=list(shape))
        )
    return data.transpose(0, dim)
