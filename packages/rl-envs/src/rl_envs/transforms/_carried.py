"""Errors of transforms that carry an entry from step to step."""

from collections.abc import Iterable

from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import unpack_flat
from rl_specs import MissingKeyError, NestedKey, TensorMap, key_str, message, missing_key


def missing_carried(component: str, key: NestedKey, data: TensorMap) -> MissingKeyError:
    """Error for a root that lacks an entry which the reset, or the step before, wrote."""
    fix = "Step from what env.reset() or step_mdp(...) returned; reset after a transform was added"
    return missing_key(component, key, unpack_flat(data), fix=fix)


def already_there(argument: str, keys: Iterable[NestedKey], specs: EnvSpecs) -> list[str]:
    """Problems, in words, of entries that a transform would write over those of the environment or of another one."""
    there = dict(specs.observation.flat_items())
    return [
        f"{argument}: {key_str(key)} is written already, by the environment or a transform before this one; leave "
        f"one of the two out, or give this one another name ({argument}=...)"
        for key in keys
        if key in there
    ]


def no_forward(component: str) -> NotImplementedError:
    """Error for a transform that makes sense in an environment alone."""
    problem = "works on the steps of an environment and cannot be applied to stored data"
    return NotImplementedError(message(component, problem, fix="Append it to a TransformedEnv"))
