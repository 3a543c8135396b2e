"""Gymnasium environments by name."""

import inspect
import re
from typing import Any

import torch

from rl_envs.gym._wrapper import GymWrapper
from rl_specs import message, near_matches

_UNKNOWN_KEYWORD = re.compile(r"unexpected keyword argument '(\w+)'")


class GymEnv(GymWrapper):
    """`GymWrapper` over `gymnasium.make`.

    Args:
        env_name: id of a registered env, e.g. `"HalfCheetah-v5"`.
        num_envs: number of envs, stepped in this process as one batch `[num_envs]`; None: one env, no batch dimension.
            The stream of env `i` depends on the seed and `i` alone.
        device: see `GymWrapper`.
        frame_skip: see `GymWrapper`.
        from_pixels: see `GymWrapper`; sets `render_mode="rgb_array"`.
        pixels_only: see `GymWrapper`.
        categorical_action_encoding: see `GymWrapper`.
        **make_kwargs: handed on to `gymnasium.make`.
    Raises:
        TypeError: a keyword that neither this class nor the environment takes.
        ValueError: the name is not registered; the message lists near matches.
    """

    def __init__(
        self,
        env_name: str,
        *,
        num_envs: int | None = None,
        device: torch.device | str | int | None = None,
        frame_skip: int = 1,
        from_pixels: bool = False,
        pixels_only: bool = True,
        categorical_action_encoding: bool = False,
        **make_kwargs: Any,
    ) -> None:
        if num_envs is not None and (not isinstance(num_envs, int) or num_envs < 1):
            raise ValueError(message(f"GymEnv({env_name})", "num_envs", expected="an integer >= 1", found=num_envs))
        if from_pixels:
            make_kwargs.setdefault("render_mode", "rgb_array")
        envs = [_make(env_name, make_kwargs) for _ in range(num_envs or 1)]
        super().__init__(
            envs[0] if num_envs is None else envs,
            device=device,
            frame_skip=frame_skip,
            from_pixels=from_pixels,
            pixels_only=pixels_only,
            categorical_action_encoding=categorical_action_encoding,
        )

    @property
    def env_name(self) -> str:
        """Id of the env."""
        return str(self._backend.envs()[0].spec.id)


def _make(name: str, kwargs: dict[str, Any]) -> Any:
    import gymnasium
    from gymnasium import error

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
        taken = _keywords(gymnasium.spec(name))
        raise TypeError(
            message(
                f"GymEnv({name})",
                f'unknown keyword "{unknown[1]}"',
                expected=f"one of {', '.join(taken)}",
                found=", ".join(kwargs),
                fix=f"Rename or drop it.{near_matches(unknown[1], taken)}",
            )
        ) from exception


def _keywords(spec: Any) -> list[str]:
    """Keywords that `GymEnv` and the environment of a registered id take, as far as its signature tells."""
    from gymnasium.envs.registration import load_env_creator

    creator = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    own = (*inspect.signature(GymEnv).parameters, *inspect.signature(creator).parameters)
    return sorted({name for name in own if name not in ("self", "args", "kwargs", "make_kwargs", "env_name")})
