"""What Gymnasium's registry calls to make an environment of this package."""

from typing import TYPE_CHECKING, Any

from rl_envs._gym_registry import Registration
from rl_envs.export._to_gymnasium import to_gymnasium
from rl_envs.transforms import TransformedEnv

if TYPE_CHECKING:
    import gymnasium


def make_registered(registration: Registration, **kwargs: Any) -> "gymnasium.Env[Any, Any]":
    """The exported environment.

    Args:
        registration: what `register_gym` was given.
        kwargs: keywords of the registration and of `gymnasium.make`, for the entry point.
    """
    env = registration.entry_point(**kwargs)
    if registration.transform is not None:
        env = TransformedEnv(env, registration.transform.clone())
    return to_gymnasium(env, reward_key=registration.reward_key, info_keys=registration.info_keys)
