"""The state of an emulated Atari console, the random generator of its sticky actions included."""

from typing import Any

import torch

from rl_specs import message


def is_console(value: Any) -> bool:
    """Whether `value` is an `ALEInterface`."""
    return type(value).__name__ == "ALEInterface"


def read_console(console: Any) -> dict[str, Any]:
    """State of a console, as bytes in a tensor: a dict that `write_console` takes."""
    raw = bytearray(console.cloneState(include_rng=True).serialize())
    return {"console": torch.frombuffer(raw, dtype=torch.uint8)}


def write_console(console: Any, state: dict[str, Any]) -> None:
    """Put a console with the same game into a state that `read_console` returned.

    Raises:
        ValueError: the state is of something else.
    """
    import ale_py

    if "console" not in state:
        found = ", ".join(state)
        raise ValueError(message("GymWrapper.set_state", "a state of another simulator", expected="ALE", found=found))
    console.restoreState(ale_py.ALEState(state["console"].numpy().tobytes()))
