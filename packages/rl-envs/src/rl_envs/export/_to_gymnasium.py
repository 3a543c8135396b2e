"""The functions that export an environment. Gymnasium is imported when one of them is called."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch

from rl_envs._env_base import EnvBase
from rl_specs import NestedKey, ShapeError, message

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.vector import VectorEnv


def to_gymnasium(
    env: EnvBase,
    *,
    reward_key: NestedKey | None = None,
    info_keys: Sequence[NestedKey] = (),
    sum_rewards: bool = False,
    render_mode: Literal["rgb_array"] | None = None,
) -> "gymnasium.Env[Any, Any]":
    """A `gymnasium.Env` that runs `env`, for libraries that train on Gymnasium's interface.

    Observations and actions are numpy arrays: the entry itself where there is one, else a (nested) dict. One-hot
    actions are offered as `Discrete` or `MultiDiscrete`, a single category of shape `(1,)` as `Discrete`, text as
    `Text`. Objects that are no text can only go into the info. An episode
    ends where any of the outermost flags says so. `reset(seed=...)` is `env.set_seed(...)` and a reset.

    Args:
        env: an environment of batch size `()`; the export owns it and closes it.
        reward_key: the entry that is the reward; None: the only one. Others are in the info.
        info_keys: observations to put into the info instead.
        sum_rewards: add up a reward that has several members, such as agents; otherwise it is an error.
        render_mode: `"rgb_array"` for `render()`, where `env` (or the environment inside its transforms) has a method
            `render()` that returns a tensor uint8 `[*B, H, W, 3]`, as `GymEnv(..., render_mode="rgb_array")` has.
    Returns:
        The environment.
    Raises:
        TypeError: `env` is no environment.
        ShapeError: it has batch dimensions, the reward has members, or a spec leaves a size open.
        KeyError: the reward is not one entry, or a key names no entry.
        ValueError: a `render_mode` that the environment does not have.
    """
    from rl_envs.export._dynamics import ExportOptions
    from rl_envs.export._single import ExportedEnv

    _check_env("to_gymnasium", env)
    if env.batch_size != torch.Size(()):
        problem, fix = "an environment with batch dimensions", "Use to_gymnasium_vector"
        raise ShapeError(message("to_gymnasium", problem, expected=(), found=tuple(env.batch_size), fix=fix))
    options = ExportOptions(
        reward_key=reward_key, info_keys=info_keys, sum_rewards=sum_rewards, render_mode=render_mode
    )
    return ExportedEnv(env, options)


def to_gymnasium_vector(
    env: EnvBase,
    *,
    reward_key: NestedKey | None = None,
    info_keys: Sequence[NestedKey] = (),
    sum_rewards: bool = False,
    render_mode: Literal["rgb_array"] | None = None,
) -> "VectorEnv[Any, Any, Any]":
    """A `gymnasium.vector.VectorEnv` that runs a batch `[N]` of environments.

    Its autoreset mode is `SAME_STEP`: where an episode ends, the observation returned is the first of the next one, and
    the last is in `info["final_obs"]`, with the mask `info["_final_obs"]`.

    Args:
        env: an environment of batch size `(N,)`; the export owns it and closes it.
        reward_key: see `to_gymnasium`.
        info_keys: see `to_gymnasium`.
        sum_rewards: see `to_gymnasium`.
        render_mode: see `to_gymnasium`; `render()` returns a tuple of frames.
    Returns:
        The vector environment.
    Raises:
        TypeError: `env` is no environment.
        ShapeError: it has not exactly one batch dimension; see `to_gymnasium` for others.
        KeyError, ValueError: see `to_gymnasium`.
    """
    from rl_envs.export._dynamics import ExportOptions
    from rl_envs.export._vector import ExportedVectorEnv

    _check_env("to_gymnasium_vector", env)
    if len(env.batch_size) != 1:
        problem, fix = "not exactly one batch dimension", "Use to_gymnasium for a single environment"
        raise ShapeError(message("to_gymnasium_vector", problem, found=tuple(env.batch_size), fix=fix))
    options = ExportOptions(
        reward_key=reward_key, info_keys=info_keys, sum_rewards=sum_rewards, render_mode=render_mode
    )
    return ExportedVectorEnv(env, options)


def _check_env(component: str, env: object) -> None:
    if not isinstance(env, EnvBase):
        expected, found = "an rl_envs.EnvBase", type(env).__name__
        raise TypeError(message(component, "env is no environment", expected=expected, found=found))
