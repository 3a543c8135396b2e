"""What Gymnasium's registry calls to make an environment of this package."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from rl_envs._gym_registry import Registration
from rl_envs.export._to_gymnasium import to_gymnasium
from rl_envs.transforms import TransformedEnv

if TYPE_CHECKING:
    import gymnasium


def make_registered(
    registration: Registration, *, render_mode: Literal["rgb_array"] | None = None, **kwargs: Any
) -> "gymnasium.Env[Any, Any]":
    """The exported environment.

    Args:
        registration: what `register_gym` was given.
        render_mode: see `to_gymnasium`; the entry point is given it too, where it takes an argument of this name.
        kwargs: keywords of the registration and of `gymnasium.make`, for the entry point.
    """
    if render_mode is not None and _takes_render_mode(registration.entry_point):
        kwargs["render_mode"] = render_mode
    env = registration.entry_point(**kwargs)
    if registration.transform is not None:
        env = TransformedEnv(env, registration.transform.clone())
    return to_gymnasium(
        env,
        reward_key=registration.reward_key,
        info_keys=registration.info_keys,
        sum_rewards=registration.sum_rewards,
        render_mode=render_mode,
    )


def _takes_render_mode(make: Callable[..., Any]) -> bool:
    parameters = inspect.signature(make).parameters
    return "render_mode" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
