"""A policy as a list of plain calls over a flat dict.

`TensorDictModule.__call__` costs about 50 microseconds before the network is run. A stock module is nothing but "read
these keys, call this, write those keys", so it is taken apart once, when the policy is connected, and the step runs the
parts. Whatever is not stock (another `forward`, hooks, selected output keys, an unknown callable) is called as it is,
on a TensorDict. The numbers and the random draws are those of the plain call either way.
"""

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import (
    InteractionType,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictModuleBase,
    TensorDictSequential,
)
from tensordict.nn import distributions as td_distributions
from tensordict.nn.probabilistic import interaction_type
from torch import nn

from rl_envs._flat import pack_flat, unpack_flat
from rl_envs._network_plan import is_hooked, network_call
from rl_specs import FlatDict, NestedKey, key_str, missing_key
from rl_specs import message as error_message

PolicyPlan = Callable[[FlatDict], None]
"""Reads what a policy reads from a flat dict and writes what it writes into it."""


def plan_policy(
    policy: Callable[..., Any],
    *,
    batch_size: torch.Size,
    device: torch.device | None = None,
    role: str = "policy",
) -> PolicyPlan:
    """The plan of a policy, to be called once per step.

    Args:
        policy: a module or callable from TensorDict to TensorDict.
        batch_size: batch shape of the data that the plan will be given.
        device: device declared by the TensorDicts that a policy which is not stock receives.
        role: what messages call it.
    Returns:
        A callable that takes a flat dict and writes the policy's outputs into it.
    Raises:
        TypeError: `policy` is not callable, or is a module that knows no keys.
    """
    if not callable(policy):
        raise TypeError(error_message(role, "not callable", expected="a callable", found=type(policy).__name__))
    stages = _stages(policy, role)
    if stages is None:
        return _plain_call(policy, batch_size, device, role)
    if len(stages) == 1:
        return stages[0]

    def run(data: FlatDict) -> None:
        for stage in stages:
            stage(data)

    return run


def _stages(policy: Callable[..., Any], role: str) -> list[PolicyPlan] | None:
    """The parts of a stock policy, or None when it has to be called as a whole."""
    if not isinstance(policy, nn.Module) or is_hooked(policy):
        return None
    forward = type(policy).forward
    if isinstance(policy, TensorDictSequential):
        if forward not in (TensorDictSequential.forward, ProbabilisticTensorDictSequential.forward):
            return None
        return _sequence_stages(policy, role)
    if isinstance(policy, ProbabilisticTensorDictModule):
        return _probabilistic_stage(policy, role) if forward is ProbabilisticTensorDictModule.forward else None
    if isinstance(policy, TensorDictModule):
        return _module_stage(policy, role) if forward is TensorDictModule.forward else None
    return None


def _sequence_stages(sequence: TensorDictSequential, role: str) -> list[PolicyPlan] | None:
    state: Any = sequence
    if state._select_before_return or state.partial_tolerant or state.inplace not in (None, True):
        return None
    stages: list[PolicyPlan] = []
    for module in state._module_iter():
        part = _stages(module, role)
        if part is None:
            return None
        stages.extend(part)
    if isinstance(sequence, ProbabilisticTensorDictSequential):
        probabilistic = [m for m in sequence.modules() if isinstance(m, ProbabilisticTensorDictModule)]
        if len(probabilistic) > 1 or not state._requires_sample:
            return None  # the interaction type of the last one governs the others: left to the plain call
    return stages


def _module_stage(module: TensorDictModule, role: str) -> list[PolicyPlan] | None:
    state: Any = module
    if module.out_keys != state.out_keys_source or state.inplace is not True or state.method or state.method_kwargs:
        return None
    holder: Any = module._modules if "module" in module._modules else module.__dict__
    in_keys = list(module.in_keys)
    out_keys = list(state.out_keys_source)
    names = None if state._kwargs is None else list(state._kwargs)
    component = f"{role} ({type(module).__name__})"
    if names is None and len(in_keys) == 1 and "_" not in out_keys:
        return [_one_input_stage(component, holder, in_keys[0], tuple(out_keys))]

    def run(data: FlatDict) -> None:
        values = [_read(component, data, key) for key in in_keys]
        network = holder["module"]  # looked up each time: it may be replaced
        try:
            out = network(*values) if names is None else network(**dict(zip(names, values, strict=True)))
        except RuntimeError as error:
            if type(error) is not RuntimeError:
                raise
            raise _network_failed(component, in_keys, data, error) from error
        _write(component, data, tuple(out_keys), out)

    return [run]


def _one_input_stage(
    component: str, holder: dict[str, Any], in_key: NestedKey, out_keys: tuple[NestedKey, ...]
) -> PolicyPlan:
    """The stage of a module with one input, the usual case; `holder["module"]` is its network."""
    network = holder["module"]
    call = network_call(network)
    single = out_keys[0] if len(out_keys) == 1 else None
    first, second = out_keys if len(out_keys) == 2 else (None, None)

    def run(data: FlatDict) -> None:
        nonlocal network, call
        if holder["module"] is not network:
            network = holder["module"]
            call = network_call(network)
        try:
            out = call(data[in_key])
        except KeyError:
            if in_key in data:
                raise
            raise _absent(component, in_key, data) from None
        except RuntimeError as error:
            if type(error) is not RuntimeError:
                raise
            raise _network_failed(component, [in_key], data, error) from error
        if single is not None and isinstance(out, torch.Tensor):
            data[single] = out
        elif second is not None and first is not None and type(out) is tuple and len(out) == 2:
            data[first], data[second] = out
        else:
            _write(component, data, out_keys, out)

    return run


def _read(component: str, data: FlatDict, key: NestedKey) -> Any:
    try:
        return data[key]
    except KeyError:
        raise _absent(component, key, data) from None


def _write(component: str, data: FlatDict, out_keys: tuple[NestedKey, ...], out: Any) -> None:
    """Store the outputs of a module under its keys, whatever form they came in."""
    if isinstance(out, dict | TensorDictBase):
        out = tuple(out[key] for key in out_keys if key != "_")
        out_keys = tuple(key for key in out_keys if key != "_")
    values = out if isinstance(out, tuple) else (out,)
    if len(values) != len(out_keys):
        raise RuntimeError(
            error_message(
                component,
                f"the network returned another number of tensors than there are out_keys {list(out_keys)}",
                expected=len(out_keys),
                found=len(values),
                fix="Name one out_key per output",
            )
        )
    for key, value in zip(out_keys, values, strict=True):
        if key != "_":
            data[key] = value


def _probabilistic_stage(module: ProbabilisticTensorDictModule, role: str) -> list[PolicyPlan] | None:
    state: Any = module
    composite = module.distribution_class is td_distributions.CompositeDistribution
    own_generator = state._generator is not None or state._generator_key is not None
    if module.num_samples is not None or own_generator or composite:
        return None
    names = [key if isinstance(key, str) else key[-1] for key in state.dist_keys]
    in_keys = list(module.in_keys)
    out_keys = tuple(state.dist_sample_keys)
    distribution: Any = module.distribution_class
    constants = dict(module.distribution_kwargs)
    log_prob_key = module.log_prob_key if module.return_log_prob else None
    draw = state._dist_sample
    default = module.default_interaction_type
    component = f"{role} ({type(module).__name__})"
    pairs = list(zip(names, in_keys, strict=True))
    only_key = out_keys[0] if len(out_keys) == 1 else None

    def run(data: FlatDict) -> None:
        try:
            parameters = {name: data[key] for name, key in pairs}
        except KeyError as error:
            raise _absent(component, error.args[0], data) from None
        dist = distribution(**parameters, **constants)
        kind = interaction_type() or default
        if kind is InteractionType.RANDOM:
            sample = dist.rsample() if dist.has_rsample else dist.sample()
        else:
            sample = draw(dist, interaction_type=kind)
        if only_key is not None and not isinstance(sample, tuple):
            data[only_key] = sample
            if log_prob_key is not None:
                data[log_prob_key] = dist.log_prob(sample)
            return
        samples = sample if isinstance(sample, tuple) else (sample,)
        for key, value in zip(out_keys, samples, strict=True):
            data[key] = value
        if log_prob_key is not None:
            data[log_prob_key] = dist.log_prob(*samples)

    return [run]


def _absent(component: str, key: NestedKey, data: FlatDict) -> Exception:
    return missing_key(component, key, data, fix="Read an entry that the environment gives, or rename it in in_keys")


def _no_tensordict_module(policy: object, error: Exception, role: str) -> str:
    return error_message(
        f"{role} ({type(policy).__name__})",
        f"the module failed on the TensorDict that it was called with ({str(error).splitlines()[0]})",
        expected="a module from TensorDict to TensorDict that writes the action",
        found=type(policy).__name__,
        fix='Wrap the network: TensorDictModule(network, in_keys=["observation"], out_keys=["action"])',
    )


def _network_failed(component: str, in_keys: list[NestedKey], data: FlatDict, error: RuntimeError) -> RuntimeError:
    inputs = ", ".join(f"{key_str(key)} {tuple(data[key].shape)} {data[key].dtype}" for key in in_keys)
    return RuntimeError(
        error_message(
            component,
            f"the network failed on its inputs ({str(error).splitlines()[0]})",
            found=inputs,
            fix="Make the first layer as wide as env.observation_spec says, in its dtype and on its device",
        )
    )


def _plain_call(
    policy: Callable[..., Any], batch_size: torch.Size, device: torch.device | None, role: str
) -> PolicyPlan:
    """The policy called as it is, on a TensorDict over the entries."""

    is_plain_module = isinstance(policy, nn.Module) and not isinstance(policy, TensorDictModuleBase)

    def run(data: FlatDict) -> None:
        given = pack_flat(data, batch_size, device)
        try:
            result = policy(given)
        except (TypeError, AttributeError) as error:
            if not is_plain_module:
                raise
            raise TypeError(_no_tensordict_module(policy, error, role)) from error
        if result is None:
            result = given
        if not isinstance(result, TensorDictBase):
            raise TypeError(
                error_message(
                    f"{role} ({type(policy).__name__})",
                    "returned something else than a TensorDict",
                    expected="a TensorDict with the action",
                    found=type(result).__name__,
                    fix='Wrap the network: TensorDictModule(network, in_keys=["observation"], out_keys=["action"])',
                )
            )
        data.update(unpack_flat(result))

    return run
