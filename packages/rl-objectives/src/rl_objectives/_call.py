"""Calls of TensorDict modules without their overhead, which for small networks is most of the time.

A stock `TensorDictModule` is nothing but "read these entries, call this, write those entries", and a stock sequence is
a list of them: they are run so, over a dict. What is not stock (another `forward`, hooks, selected outputs) is called
as it is, on a TensorDict. The numbers are the same either way.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import torch
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

_Part: TypeAlias = tuple[Any, list[NestedKey], list[NestedKey]]
"""A stock module, what it reads and what it writes."""


class NetworkCall:
    """A network that is called often: it is taken apart once, and again when a part is replaced or gets a hook.

    Args:
        network: a module from TensorDict to TensorDict, whose keys are read here.
    """

    def __init__(self, network: TensorDictModuleBase) -> None:
        self._network: Any = network
        self._take_apart()

    def outputs(self, component: str, data: TensorDictBase, *, fix: str) -> TensorMap:
        """What the network writes at `data`, which is only read.

        Raises:
            MissingKeyError: an input of the network is not there; `fix` ends the message.
        """
        parts = self._present_parts()
        if parts is None or self._head is not None:
            output: TensorMap = self._network(select_inputs(component, data, self._in_keys, fix=fix))
            return output
        return self._run(parts, component, data, fix)

    def distribution(self, component: str, data: TensorDictBase, *, fix: str) -> Distribution:
        """Distribution of the network, a policy, at `data`, which is only read.

        Raises:
            MissingKeyError: an input of the policy is not there; `fix` ends the message.
        """
        parts = self._present_parts()
        dist: Distribution
        if parts is None or self._head is None:
            dist = self._network.get_dist(select_inputs(component, data, self._in_keys, fix=fix))
        else:
            dist = self._head.get_dist(self._run(parts, component, data, fix))
        return dist

    def _take_apart(self) -> None:
        network = self._network
        self._in_keys = input_keys(network)
        self._head: Any = None
        body = [network]
        if isinstance(network, ProbabilisticTensorDictSequential):
            *body, self._head = [network[i] for i in range(len(network))]
        modules = None if _is_opaque_policy(network, self._head) else _stock_parts(body, self._in_keys)
        if modules is not None and self._head is not None and not _is_connected(self._head, modules, self._in_keys):
            modules = None
        self._parts: list[_Part] | None = modules and [
            (module, list(module.in_keys), list(module.out_keys)) for module in modules
        ]
        containers = [m for m in network.modules() if isinstance(m, TensorDictModuleBase | nn.ModuleList)]
        self._seen = [(module, _structure(module)) for module in containers]

    def _present_parts(self) -> list[_Part] | None:
        """The parts as they are now; None where the network has to be called as a whole."""
        for module, structure in self._seen:
            if _structure(module) != structure:
                if torch.compiler.is_compiling():
                    return None
                self._take_apart()
                break
        return self._parts

    def _run(self, parts: list[_Part], component: str, data: TensorDictBase, fix: str) -> dict[NestedKey, Tensor]:
        entries = {key: read(component, data, key, fix=fix) for key in self._in_keys}
        for module, in_keys, out_keys in parts:
            inputs = [entries[key] for key in in_keys]
            try:
                output = module.module(*inputs)
            except RuntimeError as error:
                if type(error) is not RuntimeError:
                    raise
                raise _failed(component, in_keys, inputs, error) from error
            if isinstance(output, Tensor):
                entries[out_keys[0]] = output
            else:
                entries.update(zip(out_keys, output, strict=True))
        return entries


def call_module(component: str, module: TensorDictModuleBase, data: TensorDictBase, *, fix: str) -> TensorMap:
    """Outputs of a module that is called once; see `NetworkCall.outputs`."""
    return NetworkCall(module).outputs(component, data, fix=fix)


def _is_opaque_policy(network: Any, head: Any) -> bool:
    """Whether a policy, one that has a head, makes its distribution in a way of its own."""
    if head is None:
        return False
    is_stock = type(network).get_dist is ProbabilisticTensorDictSequential.get_dist
    return not (is_stock and type(head).get_dist is ProbabilisticTensorDictModule.get_dist)


def _is_connected(head: Any, parts: Iterable[Any], in_keys: Iterable[NestedKey]) -> bool:
    """Whether `head` reads just what is known, entry by entry."""
    return set(head.in_keys) <= {*in_keys, *(key for part in parts for key in part.out_keys)}


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


def _structure(module: nn.Module) -> tuple[Any, ...]:
    return len(module._forward_hooks), len(module._forward_pre_hooks), *module._modules.values()


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
