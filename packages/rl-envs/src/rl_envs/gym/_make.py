"""Gymnasium environments by id, with the mistakes in names and keywords explained."""

import inspect
import re
from collections.abc import Sequence
from typing import Any

from rl_specs import message, near_matches

_UNKNOWN_KEYWORD = re.compile(r"unexpected keyword argument '(\w+)'")


def make_env(name: Any, kwargs: dict[str, Any], own_keywords: Sequence[str] = ()) -> Any:
    """`gymnasium.make`.

    Args:
        name: id of a registered environment.
        kwargs: handed on.
        own_keywords: further names that the caller takes, for messages.
    Raises:
        TypeError: a keyword that the environment does not take, or something that is no name.
        ValueError: the name is not registered; the message lists near matches.
    """
    import gymnasium
    from gymnasium import error

    if not isinstance(name, str):
        fix = "Pass an environment that has been made to GymWrapper"
        found = type(name).__name__
        raise TypeError(message("GymEnv", "env_name", expected='an id such as "CartPole-v1"', found=found, fix=fix))
    try:
        return gymnasium.make(name, **kwargs)
    except (error.UnregisteredEnv, error.DeprecatedEnv) as exception:
        near = near_matches(name, gymnasium.registry)
        extra = " (pip install rl-envs[atari])" if name.startswith("ALE/") else ""
        raise ValueError(
            message(
                "GymEnv",
                "env_name is not registered",
                expected="the id of a registered environment",
                found=f'"{name}"',
                fix=f"Check the name, or import the package that registers it{extra}.{near}",
            )
        ) from exception
    except TypeError as exception:
        unknown = _UNKNOWN_KEYWORD.search(str(exception))
        if unknown is None:
            raise
        taken = _keywords(gymnasium.spec(name), own_keywords)
        raise TypeError(
            message(
                f"GymEnv({name})",
                f'unknown keyword "{unknown[1]}"',
                expected=f"one of {', '.join(taken)}",
                found=", ".join(kwargs),
                fix=f"Rename or drop it.{near_matches(unknown[1], taken)}",
            )
        ) from exception


def _keywords(spec: Any, own_keywords: Sequence[str]) -> list[str]:
    """Keywords that the caller and the environment of a registered id take, as far as its signature tells."""
    from gymnasium.envs.registration import load_env_creator

    creator = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    names = {*own_keywords, *inspect.signature(creator).parameters}
    return sorted(names - {"self", "args", "kwargs", "make_kwargs", "env_name"})
