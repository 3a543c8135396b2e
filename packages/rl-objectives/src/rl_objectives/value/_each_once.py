"""Values before and after each step where most next observations are the observation of the following step.

Such an observation is valued once instead of twice, which halves the cost. Which they are is found by comparing the
data themselves, so that nothing is assumed about how they were collected; it takes a network that is known to treat
each row by itself.
"""

from collections.abc import Callable, Mapping

import torch
from tensordict.nn import TensorDictModule, TensorDictModuleBase, TensorDictSequential
from torch import Tensor, nn

from rl_modules import MLP, ConvNet, SquashDims, ValueOperator
from rl_specs import NestedKey

_CONTAINERS = (TensorDictModule, TensorDictSequential, ValueOperator, nn.ModuleList, nn.Sequential, MLP, ConvNet)
_LAYERS = (nn.Linear, nn.Conv2d, SquashDims, nn.LayerNorm, nn.Identity)
_ACTIVATIONS = (nn.Tanh, nn.ReLU, nn.ELU, nn.SiLU, nn.GELU, nn.LeakyReLU, nn.Sigmoid, nn.Softplus, nn.Mish)
_ROW_BY_ROW = frozenset({*_CONTAINERS, *_LAYERS, *_ACTIVATIONS})


def treats_rows_alike(network: TensorDictModuleBase) -> bool:
    """Whether `network` is made of modules that map each row by itself, whatever the batch dimensions.

    A subclass, a hook, and layers that draw numbers or look across rows (dropout, batch normalisation, recurrence) are
    a no.
    """
    return all(map(_is_known, network.modules()))


def _is_known(module: nn.Module) -> bool:
    callee: object = module.module if isinstance(module, TensorDictModule) else module
    if not isinstance(callee, nn.Module):
        return False  # a function
    return type(module) in _ROW_BY_ROW and not module._forward_hooks and not module._forward_pre_hooks


def rows_to_value(
    root: Mapping[NestedKey, Tensor], after: Mapping[NestedKey, Tensor], time_dim: int, batch_ndim: int
) -> Tensor:
    """Rows, of the flattened batch, whose next observation has to be valued by itself, in order.

    Args:
        root: entries `[*B, T, *F]` before each step.
        after: the same entries after it.
        time_dim: position of T, from the front.
        batch_ndim: number of batch dimensions, time included.
    """
    first = next(iter(root.values()))
    steps = first.shape[time_dim]
    alone = torch.zeros(first.shape[:batch_ndim], dtype=torch.bool, device=first.device)
    alone.select(time_dim, -1).fill_(True)
    inner = alone.narrow(time_dim, 0, steps - 1)
    for key, before in root.items():
        differs = after[key].narrow(time_dim, 0, steps - 1) != before.narrow(time_dim, 1, steps - 1)
        inner.logical_or_(
            differs.flatten(batch_ndim).sum(-1) if differs.ndim > batch_ndim else differs
        )  # any() is slower
    return alone.flatten().nonzero().squeeze(-1)


def evaluate_each_once(
    value_of: Callable[[dict[NestedKey, Tensor]], Tensor],
    root: Mapping[NestedKey, Tensor],
    after: Mapping[NestedKey, Tensor],
    alone: Tensor,
    time_dim: int,
    batch_ndim: int,
) -> tuple[Tensor, Tensor]:
    """Values at the root and after each step, from one call on `[rows, *F]`.

    Args:
        value_of: the network, from entries to values.
        root, after, time_dim, batch_ndim: as for `rows_to_value`.
        alone: what `rows_to_value` found.
    """
    last = batch_ndim - 1
    entries = {
        key: torch.cat([value.flatten(0, last), after[key].flatten(0, last)[alone]]) for key, value in root.items()
    }
    shape = next(iter(root.values())).shape[:batch_ndim]
    values = value_of(entries)
    value, value_alone = values[: shape.numel()], values[shape.numel() :]
    state_value = value.reshape(*shape, *value.shape[1:])
    following = state_value.roll(-1, time_dim).flatten(0, last)
    return state_value, following.index_copy(0, alone, value_alone).reshape(state_value.shape)
