"""What environments made of several have in common: how they are made, and that they have the same specs."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rl_envs._closing import closed_on_error
from rl_envs._env_base import EnvBase
from rl_envs._env_specs import EnvSpecs
from rl_envs._row_choice import different_sizes
from rl_specs import FlatDict, NestedKey, message, missing_key

EnvKwargs: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
"""Keyword arguments of the callables that make environments: one mapping for all of them, or one for each."""


def env_makers(
    component: str, count: object, create_env_fn: object, create_env_kwargs: EnvKwargs = None
) -> list[Callable[[], Any]]:
    """One callable per environment.

    Args:
        component: class that asks, for messages.
        count: number of environments.
        create_env_fn: one callable for all of them, or a sequence of `count`.
        create_env_kwargs: keyword arguments for them, one mapping for all of them, or a sequence of `count`.
    Raises:
        ValueError: `count` is no positive integer, or not the number of callables or of mappings.
        TypeError: something is not callable, or no mapping from names.
    """
    fix = f'Call {component}(2, lambda: GymEnv("CartPole-v1")), or pass a list of such callables'
    if not isinstance(count, int) or count < 1:
        found = f"{type(count).__name__} {count!r}"
        raise ValueError(message(component, "num_workers", expected="an integer >= 1", found=found, fix=fix))
    makers = list(create_env_fn) if isinstance(create_env_fn, Sequence) else [create_env_fn] * count
    checked = [make for make in makers if callable(make)]
    if len(checked) != len(makers):
        expected = "a callable that makes an environment"
        wrong = type(next(make for make in makers if not callable(make))).__name__
        raise TypeError(message(component, "create_env_fn", expected=expected, found=wrong, fix=fix))
    if len(makers) != count:
        problem = "another number of callables than num_workers"
        fix = "Pass one callable per environment, or a single one for all"
        raise ValueError(message(component, problem, expected=count, found=len(makers), fix=fix))
    if create_env_kwargs is None:
        return checked
    options = _options_of_each(component, count, create_env_kwargs)
    return [partial(make, **given) if given else make for make, given in zip(checked, options, strict=True)]


def _options_of_each(component: str, count: int, create_env_kwargs: object) -> list[Mapping[str, Any]]:
    given = list(create_env_kwargs) if isinstance(create_env_kwargs, list | tuple) else [create_env_kwargs] * count
    options: list[Mapping[str, Any]] = []
    for each in given:
        if not isinstance(each, Mapping) or not all(isinstance(name, str) for name in each):
            expected = "a mapping from names of arguments to values, or a list of such"
            raise TypeError(message(component, "create_env_kwargs", expected=expected, found=repr(each)))
        options.append(each)
    if len(options) != count:
        problem = "another number of create_env_kwargs than num_workers"
        fix = "Pass one mapping per environment, or a single one for all"
        raise ValueError(message(component, problem, expected=count, found=len(options), fix=fix))
    return options


def make_envs(component: str, makers: Sequence[Callable[[], Any]]) -> list[EnvBase]:
    """What the callables make; where one of them fails, what the others made is closed.

    Raises:
        TypeError: one makes something else than an environment.
        ValueError: two give the same one.
    """
    envs: list[EnvBase] = []
    with closed_on_error(envs):
        for make in makers:
            env = make()
            if not isinstance(env, EnvBase):
                problem = "create_env_fn gave no environment"
                fix = "Wrap it: rl_envs.GymWrapper(env) for a Gymnasium one"
                found = type(env).__name__
                raise TypeError(message(component, problem, expected="an rl_envs.EnvBase", found=found, fix=fix))
            envs.append(env)
    if len({id(env) for env in envs}) != len(envs):
        problem = "create_env_fn gave the same environment twice"
        fix = "Make the environment inside the callable, so that every call gives a new one"
        raise ValueError(message(component, problem, expected="a new environment per call", found="one", fix=fix))
    return envs


def reset_keys(specs: EnvSpecs) -> list[NestedKey]:
    """Entries that a reset returns: observations and flags."""
    return [key for spec in (specs.observation, specs.done) for key, _ in spec.flat_items()]


def check_state_parts(component: str, state: Mapping[str, Any], count: int) -> list[Any]:
    """The states of `count` environments.

    Raises:
        MissingKeyError: there are none.
        ValueError: there is another number of them.
    """
    if "envs" not in state:
        fix = "Give what get_state or state_dict of such an environment returned"
        raise missing_key(component, "envs", state, fix=fix)
    parts: list[Any] = list(state["envs"])
    if len(parts) != count:
        raise ValueError(message(component, "another number of envs", expected=count, found=len(parts)))
    return parts


def stacked_rows(rows: Sequence[FlatDict]) -> FlatDict:
    """Entries of environments `[*B]` as those of their batch `[N, *B]`."""
    return {key: _stacked(key, [row[key] for row in rows]) for key in rows[0]}


def stacked_resets(rows: Sequence[FlatDict | None], specs: EnvSpecs) -> FlatDict:
    """What the environments that were reset returned, as entries of the batch `[N, *B]`.

    Args:
        rows: of each environment; None where it was not reset, and zeros will do.
        specs: of the batch.
    """
    model = next((row for row in rows if row is not None), None)
    if model is None:
        return {key: spec.zero() for key, spec in specs.observation.flat_items()}
    keys = [key for key in model if key in reset_keys(specs)]
    found: FlatDict = {}
    for key in keys:
        first: Any = model[key]
        other = torch.zeros_like(first) if isinstance(first, Tensor) else first
        found[key] = _stacked(key, [other if row is None else row[key] for row in rows])
    return found


def _stacked(key: NestedKey, values: list[Tensor]) -> Tensor:
    try:
        return torch.stack(values)
    except RuntimeError:
        if len({value.shape for value in values}) == 1:
            raise
        raise different_sizes("batch of environments", key, *values) from None
