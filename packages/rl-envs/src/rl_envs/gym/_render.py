"""Frames that Gymnasium environments render."""

from typing import Any

import numpy as np

from rl_specs import message

_GL_FIX = (
    "Without a display, set the environment variable MUJOCO_GL to egl or osmesa before Python starts, and install the "
    "library of that name (libegl1 or libosmesa6)"
)
_MODE_FIX = 'Make the environment with render_mode="rgb_array"; GymEnv(name, from_pixels=True) does'


def rendered(env: Any) -> np.ndarray[Any, Any]:
    """The frame that `env` renders, uint8 `[H, W, 3]`, the caller's own.

    Raises:
        RuntimeError: it cannot render here; the message says what to do about it.
        ValueError: it returns no frame, as it does in other render modes.
    """
    name = type(env.unwrapped).__name__
    try:
        frame = env.render()
    except Exception as error:
        is_mujoco = "mujoco" in type(env.unwrapped).__module__
        fix = _GL_FIX if is_mujoco else None
        raise RuntimeError(
            message(f"{name}.render()", f"failed with {type(error).__name__}: {error}", fix=fix)
        ) from error
    array = None if frame is None else np.array(frame)
    if array is None or array.ndim != 3 or array.dtype != np.uint8:
        found = type(frame).__name__ if array is None else f"{array.dtype} {array.shape}"
        raise ValueError(
            message(f"{name}.render()", "returned no frame", expected="uint8 [H, W, 3]", found=found, fix=_MODE_FIX)
        )
    return array
