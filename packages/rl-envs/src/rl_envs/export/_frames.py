"""Frames of an environment that is exported."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from rl_envs._env_base import EnvBase
from rl_envs.gym import GymWrapper
from rl_specs import message

_USUAL_FPS = 30


@runtime_checkable
class Renders(Protocol):
    """An environment with frames."""

    def render(self) -> Any:
        """The frames of the present state, a tensor uint8 `[*B, H, W, 3]`."""


def render_metadata(env: EnvBase, render_mode: str | None) -> dict[str, Any]:
    """Gymnasium's `metadata` on rendering.

    Raises:
        ValueError: frames are asked for, and the environment has none, or in another mode.
    """
    renderer = env._simulator()
    if not isinstance(renderer, Renders):
        if render_mode is not None:
            fix = "Pass render_mode=None, or write render() -> Tensor [*B, H, W, 3] for it"
            problem = f"{type(renderer).__name__} has no method render()"
            raise ValueError(message("to_gymnasium: render_mode", problem, found=render_mode, fix=fix))
        return {"render_modes": []}
    if render_mode not in (None, "rgb_array"):
        expected = 'None or "rgb_array"'
        raise ValueError(message("to_gymnasium", "render_mode", expected=expected, found=render_mode))
    return {"render_modes": ["rgb_array"], "render_fps": _fps(renderer)}


def frames(env: EnvBase, render_mode: str | None) -> np.ndarray[Any, Any]:
    """What the environment shows now, uint8 `[*B, H, W, 3]`.

    Raises:
        ValueError: the export was made without `render_mode`.
    """
    renderer = env._simulator()
    if render_mode is None or not isinstance(renderer, Renders):
        fix = 'Export it with render_mode="rgb_array"'
        raise ValueError(message("to_gymnasium", "render() without a render_mode", fix=fix))
    return np.asarray(renderer.render().cpu().numpy())


def _fps(renderer: object) -> float:
    """Frames a second, from the Gymnasium environment inside if there is one."""
    import gymnasium

    inner = renderer.unwrapped_envs[0] if isinstance(renderer, GymWrapper) and renderer.unwrapped_envs else None
    metadata = inner.metadata if isinstance(inner, gymnasium.Env) else {}
    return float(metadata.get("render_fps", _USUAL_FPS))
