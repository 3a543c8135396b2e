"""Environments of the protocol that came before Gymnasium's."""

from typing import Any, ClassVar, Protocol, final, runtime_checkable

from rl_envs.gym._adapted import AdaptedEnv
from rl_specs import SpecError, message

_LARGEST_SEED = 2**31


class LegacyProtocol(Protocol):
    """What `LegacyGymEnv` asks of an object."""

    observation_space: Any
    action_space: Any

    def reset(self) -> Any:
        """The first observation, alone."""

    def step(self, action: Any, /) -> tuple[Any, float, bool, dict[str, Any]]:
        """Observation, reward, done, info."""

    def seed(self, seed: int, /) -> Any:
        """Restart the random stream."""

    def render(self, mode: str) -> Any:
        """The frame in mode `"rgb_array"`."""

    def close(self) -> None:
        """Release what the env holds."""


@runtime_checkable
class _HasSpaces(Protocol):
    observation_space: Any
    action_space: Any


@final
class LegacyGymEnv(AdaptedEnv):
    """An env with the methods of OpenAI Gym up to 0.25, for `GymWrapper`.

    `reset()` returns the observation alone, `step(action)` returns `(observation, reward, done, info)`, and `seed(n)`
    seeds. A step that is done with `info["TimeLimit.truncated"]` is `truncated`; without it, `terminated`. Seeds are
    reduced to 31 bits, which every such env takes.

    ```
    env = GymWrapper([LegacyGymEnv(make_old_env()) for _ in range(4)])
    ```

    Args:
        env: the object; its spaces are Gymnasium's, or have the names and attributes of Gym's.
    Raises:
        SpecError: a space of a kind that Gymnasium does not have.
        TypeError: the object has no spaces.
    """

    fixed: ClassVar[tuple[str, ...]] = ("_env",)

    def __init__(self, env: LegacyProtocol) -> None:
        _check_is_env(env)
        super().__init__(modern_space(env.observation_space), modern_space(env.action_space))
        self._env = env

    @property
    def unwrapped(self) -> Any:
        """The object that was given."""
        return self._env

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """See `AdaptedEnv`.

        Raises:
            TypeError: the env returned an `info` too, as Gymnasium's do.
        """
        from gymnasium import spaces

        if seed is not None:
            self._env.seed(seed % _LARGEST_SEED)
        observation = self._env.reset()
        if isinstance(observation, tuple) and not isinstance(self.observation_space, spaces.Tuple):
            raise self._other_protocol("reset", "the observation alone", f"{len(observation)} values")
        return observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """See `AdaptedEnv`.

        Raises:
            TypeError: the env returned five values, as Gymnasium's do.
        """
        result = self._env.step(action)
        if len(result) != 4:
            raise self._other_protocol("step", "(observation, reward, done, info)", f"{len(result)} values")
        observation, reward, done, info = result
        is_over = bool(done)
        is_cut = is_over and bool(info.get("TimeLimit.truncated", False))
        return observation, reward, is_over and not is_cut, is_cut, info

    def render(self) -> Any:
        """See `AdaptedEnv`."""
        return self._env.render(mode="rgb_array")

    def close(self) -> None:
        """See `AdaptedEnv`."""
        self._env.close()

    def with_state(self) -> list[Any]:
        """See `AdaptedEnv`."""
        return [self._env]

    def _other_protocol(self, method: str, expected: str, found: str) -> TypeError:
        where = f"LegacyGymEnv({type(self._env).__name__}).{method}"
        fix = "Give the env to GymWrapper as it is; of Gym 0.26, through shimmy"
        return TypeError(message(where, "the env has another protocol", expected=expected, found=found, fix=fix))


def modern_space(space: Any) -> Any:
    """The Gymnasium space of a space of Gym, known by the name of its class; Gymnasium's own as they are.

    Raises:
        SpecError: a kind that Gymnasium does not have.
    """
    from gymnasium import Space, spaces

    if isinstance(space, Space):
        return space
    fields = vars(space)
    match type(space).__name__:
        case "Box":
            return spaces.Box(space.low, space.high, tuple(space.low.shape), space.dtype)
        case "Discrete":
            return spaces.Discrete(int(space.n), start=int(fields.get("start", 0)))
        case "MultiDiscrete":
            return spaces.MultiDiscrete(space.nvec)
        case "MultiBinary":
            return spaces.MultiBinary(space.n)
        case "Dict":
            return spaces.Dict({name: modern_space(inner) for name, inner in space.spaces.items()})
        case "Tuple":
            return spaces.Tuple([modern_space(inner) for inner in space.spaces])
    expected = "a space of Gymnasium, or Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple of Gym"
    found, fix = f"{type(space).__name__} {space}", "Set observation_space and action_space to spaces of Gymnasium"
    raise SpecError(message("LegacyGymEnv", "a space of another kind", expected=expected, found=found, fix=fix))


def _check_is_env(env: object) -> None:
    if not isinstance(env, _HasSpaces):
        expected = "an object with observation_space, action_space, reset() and step(action)"
        raise TypeError(message("LegacyGymEnv", "env is no environment", expected=expected, found=type(env).__name__))
