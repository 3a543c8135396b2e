"""The exact state of a Gymnasium env: its wrappers, its simulator and its random generators, as plain values.

Each object of the chain from the outermost wrapper to the env is read attribute by attribute: numbers, strings, arrays,
containers of such and numpy generators are recorded; spaces, models, renderers and functions are what the env is made
of, not its state. Anything else is out of reach, and the env is said to have no exact state. So are the consoles of
Atari games: the states that ALE saves lack the action that a sticky action repeats, and more in some games (Qbert).
"""

from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from rl_envs.gym._adapted import AdaptedEnv
from rl_envs.gym._mujoco_state import is_mujoco_data, read_mujoco, write_mujoco
from rl_envs.gym._plain import decode, encode, is_plain
from rl_specs import message

_CODE = (FunctionType, BuiltinFunctionType, MethodType, ModuleType, type)
_APPARATUS = (
    "pygame",
    "mujoco",
    "glfw",
    "OpenGL",
    "moviepy",
    "gymnasium.envs.mujoco.mujoco_rendering",
    "gym.spaces",
    "gym.envs.registration",
)


def unsupported_part(env: Any) -> str | None:
    """The first attribute in the chain that cannot be read out, or None."""
    for layer in _layers(env):
        part = _unsupported_attribute(layer)
        if part is not None:
            return part
    return None


def snapshot(env: Any) -> list[dict[str, Any]]:
    """State of each object of the chain, the outermost wrapper first; loadable with `weights_only=True`."""
    return [_read(layer) for layer in _layers(env)]


def restore(env: Any, state: list[dict[str, Any]]) -> None:
    """Put an env made the same way into the state of a `snapshot`.

    Raises:
        ValueError: the chain consists of other objects.
    """
    layers = _layers(env)
    expected = [layer["class"] for layer in state]
    found = [type(layer).__name__ for layer in layers]
    if expected != found:
        raise ValueError(
            message("GymWrapper.set_state", "the env is made of other parts", expected=expected, found=found)
        )
    for layer, values in zip(layers, state, strict=True):
        _write(layer, values)


def _layers(env: Any) -> list[Any]:
    import gymnasium

    layers = [env]
    while isinstance(layers[-1], gymnasium.Wrapper):
        layers.append(layers[-1].env)
    return layers + layers[-1].with_state() if isinstance(layers[-1], AdaptedEnv) else layers


def _attributes(layer: Any) -> list[tuple[str, Any]]:
    """Attributes that may be state."""
    fixed = layer.fixed if isinstance(layer, AdaptedEnv) else ()
    return [(name, value) for name, value in vars(layer).items() if name not in fixed]


def _is_apparatus(value: Any) -> bool:
    """Whether `value` is what an env is made of rather than its state."""
    import gymnasium
    from gymnasium.envs.registration import EnvSpec

    if is_mujoco_data(value):
        return False
    made_of = (gymnasium.Space, gymnasium.Env, EnvSpec)
    return isinstance(value, (*made_of, *_CODE)) or _module(value).startswith(_APPARATUS)


def _module(value: Any) -> str:
    """Where the class of a value was defined; empty for those of SWIG, which do not say."""
    return str(getattr(type(value), "__module__", ""))


def _is_helper(value: Any) -> bool:
    """Whether `value` is one of Gymnasium's own small objects, such as running statistics: read like a layer."""
    return _module(value).startswith("gymnasium.") and not _is_apparatus(value)


def _unsupported_attribute(layer: Any) -> str | None:
    for name, value in _attributes(layer):
        if is_plain(value) or is_mujoco_data(value) or _is_apparatus(value):
            continue
        if not _is_helper(value):
            return f"{type(layer).__name__}.{name} ({type(value).__name__})"
        inner = _unsupported_attribute(value)
        if inner is not None:
            return inner
    return None


def _read(layer: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    simulators: dict[str, Any] = {}
    helpers: dict[str, Any] = {}
    for name, value in _attributes(layer):
        if is_mujoco_data(value):
            simulators[name] = read_mujoco(layer.model, value)
        elif is_plain(value):
            plain[name] = encode(value)
        elif _is_helper(value):
            helpers[name] = _read(value)
    return {"class": type(layer).__name__, "plain": plain, "simulators": simulators, "helpers": helpers}


def _write(layer: Any, state: dict[str, Any]) -> None:
    present = vars(layer)
    for name, value in state["plain"].items():
        if isinstance(present.get(name), np.random.Generator):
            present[name].bit_generator.state = decode(value).bit_generator.state
        else:
            setattr(layer, name, decode(value))
    for name, value in state["simulators"].items():
        write_mujoco(layer.model, present[name], value)
    for name, value in state["helpers"].items():
        _write(present[name], value)
