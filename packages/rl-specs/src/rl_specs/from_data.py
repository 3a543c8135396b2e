"""The spec of data that are at hand."""

from typing import Any

from tensordict import LazyStackedTensorDict, NonTensorData, NonTensorStack, TensorDictBase
from torch import Size

from rl_specs._base import TensorSpec, stack_specs
from rl_specs.composite import Composite
from rl_specs.errors import message
from rl_specs.non_tensor import NonTensor
from rl_specs.unbounded import Unbounded


def make_composite_from_td(
    data: TensorDictBase, *, unsqueeze_null_shapes: bool = True, dynamic_shape: bool = False
) -> Any:
    """The spec of the entries of a TensorDict: their shapes, dtypes and devices, any value.

    Args:
        data: a TensorDict; entries that are no tensors become `NonTensor`.
        unsqueeze_null_shapes: give entries without dimensions the shape `(1,)`.
        dynamic_shape: leave the last dimension of each entry open, where it is none of the batch.
    Returns:
        A `Composite` of batch shape `data.batch_size`; a `StackedComposite` where `data` is a lazy stack of steps or
        agents whose entries differ.
    Raises:
        TypeError: `data` is no TensorDict.
    """
    return _spec_of(_checked(data), unsqueeze_null_shapes, dynamic_shape)


def _checked(data: object) -> TensorDictBase:
    if isinstance(data, TensorDictBase):
        return data
    fix = "Wrap it: TensorDict(entries, batch_size=[...])"
    component, found = "make_composite_from_td", type(data).__name__
    raise TypeError(message(component, "data", expected="a TensorDict", found=found, fix=fix))


def _spec_of(data: Any, unsqueezes: bool, is_dynamic: bool) -> TensorSpec:
    if isinstance(data, LazyStackedTensorDict) and not isinstance(data, NonTensorStack):
        parts = [_spec_of(part, unsqueezes, is_dynamic) for part in data.tensordicts]
        return stack_specs(parts, data.stack_dim)
    spec = Composite(shape=data.batch_size, device=data.device)
    for key in data.keys():  # noqa: SIM118  # iterating a TensorDict gives rows
        spec.set(key, _entry_spec(data.get(key), data.batch_size, unsqueezes, is_dynamic))
    return spec


def _entry_spec(value: Any, batch_size: Size, unsqueezes: bool, is_dynamic: bool) -> TensorSpec:
    if isinstance(value, (NonTensorData, NonTensorStack)):
        first: Any = value
        while isinstance(first, NonTensorStack):
            first = first.tensordicts[0]
        return NonTensor(value.batch_size, value.device, example_data=first.data)
    if isinstance(value, TensorDictBase):
        return _spec_of(value, unsqueezes, is_dynamic)
    shape = Size((1,)) if unsqueezes and value.ndim == 0 else value.shape
    if is_dynamic and len(shape) > len(batch_size):
        shape = Size((*shape[:-1], -1))
    return Unbounded(shape, value.device, value.dtype)
