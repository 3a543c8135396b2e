"""Gymnasium environments by name."""

from typing import Any

import torch

from rl_envs.gym._wrapper import GymWrapper
from rl_specs import message, near_matches


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
        if num_envs is not None and num_envs < 1:
            raise ValueError(message(f"GymEnv({env_name})", "num_envs too small", expected=">= 1", found=num_envs))
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
        raise ValueError(
            message(
                "GymEnv",
                f'no environment is registered as "{name}"',
                fix=f"Check the name, or import the package that registers it.{near_matches(name, gymnasium.registry)}",
            )
        ) from exception
