"""The state of a MuJoCo simulation.

The integration state decides how the simulation goes on, but environments also read derived quantities (positions of
bodies, contact forces) before the next step has computed them anew, so these are recorded as well. What lives in the
arena (constraints, contacts) is computed anew by every step and is left to it.
"""

from typing import Any

import numpy as np
import torch

from rl_specs import message

_ARENA = ("efc_", "iefc_", "efm_", "island_", "map_", "contact")


def is_mujoco_data(value: Any) -> bool:
    """Whether `value` is an `MjData`."""
    return type(value).__name__ == "MjData" and type(value).__module__.startswith("mujoco")


def read_mujoco(model: Any, data: Any) -> dict[str, Any]:
    """Integration state and derived arrays of a simulation, as tensors.

    Args:
        model: the `MjModel`.
        data: its `MjData`.
    Returns:
        A dict that `write_mujoco` takes.
    """
    import mujoco  # type: ignore[import-untyped]  # ships no types

    kind = int(mujoco.mjtState.mjSTATE_INTEGRATION)
    state = np.empty(mujoco.mj_stateSize(model, kind), dtype=np.float64)
    mujoco.mj_getState(model, data, state, kind)
    derived = {name: torch.from_numpy(_movable(array)) for name, array in _arrays(data).items()}
    return {"integration": torch.from_numpy(state), "derived": derived}


def write_mujoco(model: Any, data: Any, state: dict[str, Any]) -> None:
    """Put a simulation of the same model into a state that `read_mujoco` returned.

    Raises:
        ValueError: the state is of another model.
    """
    import mujoco

    kind = int(mujoco.mjtState.mjSTATE_INTEGRATION)
    integration = state["integration"].numpy()
    size = mujoco.mj_stateSize(model, kind)
    if integration.shape != (size,):
        raise ValueError(
            message("GymWrapper.set_state", "a MuJoCo state of another model", expected=size, found=integration.shape)
        )
    mujoco.mj_setState(model, data, integration, kind)
    mujoco.mj_forward(model, data)
    mujoco.mj_setState(model, data, integration, kind)
    for name, array in _arrays(data).items():
        saved = state["derived"].get(name)
        if saved is not None and tuple(saved.shape) == array.shape:
            array[...] = saved.numpy().astype(array.dtype)


def _arrays(data: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Writable arrays of an `MjData` that are not in its arena."""
    arrays = {}
    for name in dir(data):
        if name.startswith(("_", *_ARENA)):
            continue
        value = getattr(data, name)
        if isinstance(value, np.ndarray) and value.size and value.flags.writeable and value.dtype.kind in "bif":
            arrays[name] = value
    return arrays


def _movable(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.array(array)
