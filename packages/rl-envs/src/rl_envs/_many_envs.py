"""What environments made of several have in common: how they are made, and that they have the same specs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from rl_envs._env_base import EnvBase
from rl_envs._env_specs import EnvSpecs
from rl_specs import NestedKey, SpecError, explain_difference, message


def env_makers(component: str, count: object, create_env_fn: object) -> list[Callable[[], Any]]:
    """One callable per environment.

    Args:
        component: class that asks, for messages.
        count: number of environments.
        create_env_fn: one callable for all of them, or a sequence of `count`.
    Raises:
        ValueError: `count` is no positive integer, or not the number of callables.
        TypeError: something is not callable.
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
    return checked


def make_envs(component: str, makers: Sequence[Callable[[], Any]]) -> list[EnvBase]:
    """What the callables make.

    Raises:
        TypeError: one makes something else than an environment.
        ValueError: two give the same one.
    """
    envs = [make() for make in makers]
    for env in envs:
        if not isinstance(env, EnvBase):
            problem, fix = "create_env_fn gave no environment", "Wrap it: rl_envs.GymWrapper(env) for a Gymnasium one"
            found = type(env).__name__
            raise TypeError(message(component, problem, expected="an rl_envs.EnvBase", found=found, fix=fix))
    if len({id(env) for env in envs}) != len(envs):
        problem = "create_env_fn gave the same environment twice"
        fix = "Make the environment inside the callable, so that every call gives a new one"
        raise ValueError(message(component, problem, expected="a new environment per call", found="one", fix=fix))
    return envs


def check_same_specs(component: str, specs: Sequence[EnvSpecs]) -> None:
    """Compare the specs of environments with those of the first.

    Raises:
        SpecError: they differ; the message has a table of the differences.
    """
    first = specs[0]
    for index, other in enumerate(specs):
        pairs = ((first.output_spec(), other.output_spec()), (first.input_spec(), other.input_spec()))
        differences = [explain_difference(a, b) for a, b in pairs if a != b]
        if differences:
            table = "\n".join(differences)
            fix = "Make all of them with the same spaces and batch size, or bring them to one form with transforms."
            raise SpecError(f"{component}: the specs of env {index} differ from those of env 0.\n{table}\n{fix}")


def expanded_specs(specs: EnvSpecs, batch_size: torch.Size) -> EnvSpecs:
    """Specs of a batch `[N, *B]` of environments `[*B]`."""
    return specs.expand(batch_size)


def reset_keys(specs: EnvSpecs) -> list[NestedKey]:
    """Entries that a reset returns: observations and flags."""
    return [key for spec in (specs.observation, specs.done) for key, _ in spec.flat_items()]


def check_state_parts(component: str, state: Mapping[str, Any], count: int) -> list[Any]:
    """The states of `count` environments.

    Raises:
        ValueError: there is another number of them.
    """
    parts: list[Any] = list(state["envs"])
    if len(parts) != count:
        raise ValueError(message(component, "another number of envs", expected=count, found=len(parts)))
    return parts
