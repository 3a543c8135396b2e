"""A plain network as a policy: which observations its arguments are."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import nn

from rl_specs import NestedKey

if TYPE_CHECKING:
    from rl_envs._env_base import EnvBase

_TENSORDICT_NAMES = ("tensordict", "td", "data")


def as_policy(policy: Callable[..., Any], env: "EnvBase") -> Callable[..., Any]:
    """`policy`, or a policy around it where it is a network that knows no keys.

    Args:
        policy: what was given. An `nn.Module` that is no TensorDict module, whose arguments are observations by name,
            or whose only argument can only be the only observation, is a network.
        env: the env whose observations are read and whose actions are written.
    Returns:
        A module from TensorDict to TensorDict for a network; anything else as it is.
    """
    if not isinstance(policy, nn.Module) or isinstance(policy, TensorDictModuleBase):
        return policy
    in_keys = _in_keys(policy, env.observation_keys)
    return policy if in_keys is None else TensorDictModule(policy, in_keys=in_keys, out_keys=env.action_keys)


def _in_keys(network: nn.Module, observations: list[NestedKey]) -> list[NestedKey] | None:
    arguments = list(inspect.signature(network.forward).parameters.values())
    positional = [argument for argument in arguments if argument.kind is argument.POSITIONAL_OR_KEYWORD]
    required = [argument for argument in positional if argument.default is argument.empty]
    names = [argument.name for argument in required]
    if names and all(name in observations for name in names):
        return list[NestedKey](names)
    if len(names) != 1 or names[0] in _TENSORDICT_NAMES or _takes_tensordict(required[0].annotation):
        return None
    return observations if len(observations) == 1 else None


def _takes_tensordict(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return "TensorDict" in annotation
    return isinstance(annotation, type) and issubclass(annotation, TensorDictBase)
