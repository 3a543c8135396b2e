"""What only trying can tell of a configuration, checked before a run folder is made."""

import torch

from rl_trainers import build
from rl_trainers.config import PPOConfig
from rl_trainers.errors import ConfigError, UnsupportedEnvError
from rl_trainers.loggers import find_missing_extras


def _device_problem(name: str) -> str | None:
    try:
        torch.empty((), device=name)
    except (RuntimeError, AssertionError) as error:
        return f"device: {name!r} cannot be used ({str(error).splitlines()[0].rstrip('.')}). Set device=cpu."
    return None


def _env_problem(config: PPOConfig) -> str | None:
    try:
        env = build.build_env(config.env, 1)
    except UnsupportedEnvError as error:
        return f"env.name: {error}"
    except Exception as error:
        # Whatever a simulator's constructor raises, it is the name or the options of the environment that do not fit.
        options = f" with env.options={config.env.options}" if config.env.options else ""
        return f"env.name: {config.env.name!r}{options} cannot be made. {type(error).__name__}: {error}"
    try:
        build.build_actor(config.network, env, torch.device("cpu"))
    except UnsupportedEnvError as error:
        return f"env.name: {error}"
    finally:
        env.close()
    return None


def check_surroundings(config: PPOConfig) -> None:
    """Try the device and the environment, and look for the optional packages that are asked for.

    Args:
        config: a checked configuration.
    Raises:
        ConfigError: all that does not work, in one message.
    """
    problems = [_device_problem(config.device), _env_problem(config), *find_missing_extras(config)]
    found = [problem for problem in problems if problem is not None]
    if found:
        raise ConfigError(found)
