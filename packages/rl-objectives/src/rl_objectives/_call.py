"""Calls of TensorDict modules without their overhead, which for small networks is most of the time.

A stock `TensorDictModule` is nothing but "read these entries, call this, write those entries", and a stock sequence is
a list of them: they are run so, over a dict. What is not stock (another `forward`, hooks, selected outputs) is called
as it is, on a TensorDict. The numbers are the same either way.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from tensordict import TensorDictBase
from tensordict.nn import (
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictModuleBase,
    TensorDictSequential,
)
from torch import Tensor, nn
from torch.distributions import Distribution

from rl_objectives._keys import input_keys, read, select_inputs
from rl_specs import NestedKey, TensorMap, key_str, message


def call_module(component: str, module: TensorDictModuleBase, data: TensorDictBase, *, fix: str) -> TensorMap:
    """Outputs of `module` at `data`, which is only read.

    Raises:
        MissingKeyError: an input of the module is not there; `fix` ends the message.
    """
    keys = input_keys(module)
    parts = _stock_parts([module], keys)
    if parts is None:
        output: TensorMap = module(select_inputs(component, data, keys, fix=fix))
        return output
    return _run(parts, component, keys, data, fix)


def call_distribution(
    component: str, policy: ProbabilisticTensorDictSequential, data: TensorDictBase, *, fix: str
) -> Distribution:
    """Distribution of `policy` at `data`, which is only read.

    Raises:
        MissingKeyError: an input of the policy is not there; `fix` ends the message.
    """
    keys = input_keys(policy)
    if type(policy).get_dist is ProbabilisticTensorDictSequential.get_dist:
        *body, head = [policy[i] for i in range(len(policy))]
        if type(head).get_dist is ProbabilisticTensorDictModule.get_dist:
            parts = _stock_parts(body, keys)
            if parts is not None and _is_connected(head, parts, keys):
                entries: Any = _run(parts, component, keys, data, fix)
                dist: Distribution = head.get_dist(entries)
                return dist
    return policy.get_dist(select_inputs(component, data, keys, fix=fix))


def _is_connected(head: Any, parts: Iterable[Any], in_keys: Iterable[NestedKey]) -> bool:
    """Whether `head` reads just what is known, entry by entry."""
    return set(head.in_keys) <= {*in_keys, *(key for part in parts for key in part.out_keys)}


def _run(
    parts: Sequence[Any], component: str, in_keys: Iterable[NestedKey], data: TensorDictBase, fix: str
) -> dict[NestedKey, Tensor]:
    entries = {key: read(component, data, key, fix=fix) for key in in_keys}
    for part in parts:
        inputs = [entries[key] for key in part.in_keys]
        try:
            output = part.module(*inputs)
        except RuntimeError as error:
            if type(error) is not RuntimeError:
                raise
            raise _failed(component, part.in_keys, inputs, error) from error
        if isinstance(output, Tensor):
            entries[part.out_keys[0]] = output
        else:
            entries.update(zip(part.out_keys, output, strict=True))
    return entries


def _failed(component: str, keys: Sequence[NestedKey], inputs: Sequence[Tensor], error: Exception) -> RuntimeError:
    listed = [f"{key_str(k)} {tuple(x.shape)} {x.dtype} on {x.device}" for k, x in zip(keys, inputs, strict=True)]
    problem = f"a network failed on its inputs ({str(error).splitlines()[0]})"
    fix = "Give the network and the data one device, one dtype, and as many features"
    return RuntimeError(message(component, problem, found=", ".join(listed), fix=fix))


def _stock_parts(modules: Iterable[Any], in_keys: Iterable[NestedKey]) -> list[Any] | None:
    """The stock modules that `modules` come down to, or None where one of them is not stock."""
    known: set[NestedKey] = set(in_keys)
    parts: list[Any] = []
    for module in modules:
        if _has_hooks(module):
            return None
        if isinstance(module, TensorDictSequential):
            inner = _sequence_parts(module, known)
            if inner is None:
                return None
            parts.extend(inner)
        elif _is_stock(module):
            parts.append(module)
        else:
            return None
        for part in parts:
            if not known.issuperset(part.in_keys):
                return None
            known.update(part.out_keys)
    return parts


def _sequence_parts(module: TensorDictSequential, known: set[NestedKey]) -> list[Any] | None:
    state: Any = module
    is_plain = type(module).forward is TensorDictSequential.forward and state.inplace in (None, True)
    if not is_plain or state.partial_tolerant or state._select_before_return:
        return None
    return _stock_parts([module[i] for i in range(len(module))], known)


def _is_stock(module: Any) -> bool:
    return (
        isinstance(module, TensorDictModule)
        and type(module).forward is TensorDictModule.forward
        and _returns_tensors(module)
    )


def _returns_tensors(module: Any) -> bool:
    """Whether inputs go in by position and outputs come back as they are named."""
    by_position = module._kwargs is None and module.method is None and not module.method_kwargs
    return bool(by_position and module.inplace is True and module.out_keys == module.out_keys_source)


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
