"""Functional environments: the rules alone, which are handed the state at every call."""

from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from rl_envs.gym._adapted import AdaptedEnv
from rl_specs import message

if TYPE_CHECKING:
    from gymnasium.experimental.functional import FuncEnv


@final
class FuncEnvAdapter(AdaptedEnv):
    """A `gymnasium.experimental.functional.FuncEnv` with a state of its own, for `GymWrapper`.

    The functions are handed a `numpy.random.Generator`, seeded by the env's seed. One `FuncEnv` serves any number of
    adapters: `GymWrapper([FuncEnvAdapter(rules) for _ in range(8)])`. A state of numbers, arrays, tuples, lists and
    dicts of such is exact state: it travels with `get_state` and `set_state`. For functions written in JAX, which take
    keys rather than generators, Gymnasium's `FunctionalJaxEnv` goes into `GymWrapper` as it is.

    Args:
        func_env: the rules.
        params: handed to every function; None: those of `func_env.default_params`.
        max_episode_steps: steps after which an episode is truncated; None: no limit.
    Raises:
        ValueError: `max_episode_steps` below 1.
    """

    fixed: ClassVar[tuple[str, ...]] = ("_rules", "_params", "_canvas")

    def __init__(
        self,
        func_env: "FuncEnv[Any, Any, Any, Any, Any, Any, Any]",
        *,
        params: Any = None,
        max_episode_steps: int | None = None,
    ) -> None:
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ValueError(message("FuncEnvAdapter", "max_episode_steps", expected=">= 1", found=max_episode_steps))
        super().__init__(func_env.observation_space, func_env.action_space)
        self._rules = func_env
        self._params = func_env.default_params if params is None else params
        self._limit = max_episode_steps
        self._rng = np.random.default_rng()
        self._state: Any = None
        self._steps = 0
        self._canvas: Any = None

    @property
    def unwrapped(self) -> Any:
        """The rules."""
        return self._rules

    @property
    def state(self) -> Any:
        """The state that the rules are handed; None before the first reset."""
        return self._state

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """See `AdaptedEnv`."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        rules, params = self._rules, self._params
        self._state = rules.initial(self._rng, params=params)
        self._steps = 0
        info = rules.state_info(self._state, params=params)
        return rules.observation(self._state, self._rng, params=params), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """See `AdaptedEnv`."""
        rules, params, rng, state = self._rules, self._params, self._rng, self._state
        following = rules.transition(state, action, rng, params=params)
        observation = rules.observation(following, rng, params=params)
        reward = float(rules.reward(state, action, following, rng, params=params))
        terminated = bool(rules.terminal(following, rng, params=params))
        info = rules.transition_info(state, action, following, params=params)
        self._state = following
        self._steps += 1
        return observation, reward, terminated, self._steps == self._limit, info

    def render(self) -> Any:
        """See `AdaptedEnv`."""
        if self._canvas is None:
            self._canvas = self._rules.render_init(params=self._params)
        self._canvas, frame = self._rules.render_image(self._state, self._canvas, params=self._params)
        return frame

    def close(self) -> None:
        """See `AdaptedEnv`."""
        if self._canvas is not None:
            self._rules.render_close(self._canvas, params=self._params)
            self._canvas = None
