"""Validation of a configuration: all mistakes in one report."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from rl_trainers.config import PPOConfig
from rl_trainers.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a configuration, flattened out of its group."""

    key: str
    value: Any
    type_name: str
    field: dataclasses.Field[Any]


def type_name(annotation: Any) -> str:
    """`int`, `list[int]`, ... as a person would write it."""
    return (
        annotation.__name__
        if isinstance(annotation, type) and not hasattr(annotation, "__origin__")
        else (str(annotation).replace("typing.", ""))
    )


def iterate_options(config: Any, prefix: str = "") -> Iterator[Option]:
    """Every option of a dataclass and its groups, in order of definition.

    Args:
        config: a dataclass instance.
        prefix: what keys start with, for groups.
    """
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if dataclasses.is_dataclass(value):
            yield from iterate_options(value, f"{prefix}{entry.name}.")
        else:
            yield Option(prefix + entry.name, value, type_name(entry.type), entry)


def _range_problem(name: str, value: Any, metadata: Any) -> str | None:
    if metadata["choices"] and value not in metadata["choices"]:
        return f"{name}: expected one of {', '.join(metadata['choices'])}, found {value!r}."
    numbers = value if isinstance(value, list) else [value]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        low, high, above = metadata["low"], metadata["high"], metadata["above"]
        bounds = [f"greater than {above}"] if above is not None else []
        bounds += [f"at least {low}"] if low is not None else []
        bounds += [f"at most {high}"] if high is not None else []
        inside = (
            (low is None or number >= low) and (high is None or number <= high) and (above is None or number > above)
        )
        if bounds and not inside:
            return f"{name}: expected a value {' and '.join(bounds)}, found {value}."
    return None


def _relation_problems(config: PPOConfig) -> Iterator[str]:
    frames, envs = config.collector.frames_per_batch, config.env.num_envs
    if envs >= 1 and frames >= 1 and frames % envs:
        near = max(envs, round(frames / envs) * envs)
        yield (
            f"collector.frames_per_batch: {frames} frames do not divide evenly over env.num_envs={envs} environments. "
            f"Set collector.frames_per_batch={near} or change env.num_envs."
        )
    if config.ppo.minibatch_size > frames >= 1:
        yield (
            f"ppo.minibatch_size: {config.ppo.minibatch_size} is more than a batch holds "
            f"(collector.frames_per_batch={frames}). Make it {frames} or less."
        )
    if config.env.name == "PendulumEnv" and config.env.backend == "gymnasium":
        yield "env.backend: PendulumEnv is native; use env.backend=auto, or env.name=Pendulum-v1 for Gymnasium's."
    if config.env.backend == "native" and config.env.name != "PendulumEnv":
        yield f"env.name: the native environments are PendulumEnv, found {config.env.name!r}."
    if not config.network.num_cells:
        yield "network.num_cells: expected at least one layer, found []. Write e.g. network.num_cells=[64,64]."
    if config.collector.max_frames_per_traj == 0:
        yield "collector.max_frames_per_traj: expected -1 (never) or at least 1, found 0."


def check_config(config: PPOConfig) -> None:
    """Check every value and how they fit together.

    Args:
        config: the configuration.
    Raises:
        ConfigError: values out of range or at odds with each other, all of them in one message.
    """
    problems = []
    for item in iterate_options(config):
        problem = _range_problem(item.key, item.value, item.field.metadata)
        if problem is not None:
            problems.append(problem)
    problems.extend(_relation_problems(config))
    if problems:
        raise ConfigError(problems)
