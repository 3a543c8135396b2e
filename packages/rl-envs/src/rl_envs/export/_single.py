"""One environment as a `gymnasium.Env`."""

from typing import Any, final

import gymnasium
import torch

from rl_envs._env_base import EnvBase
from rl_envs.export._dynamics import Dynamics, ExportOptions
from rl_envs.export._frames import frames, render_metadata
from rl_specs import FlatDict, canonical_key, message


@final
class ExportedEnv(gymnasium.Env[Any, Any]):
    """See `to_gymnasium`, which makes it."""

    def __init__(self, env: EnvBase, options: ExportOptions) -> None:
        self.metadata = render_metadata(env, options.render_mode)
        self.render_mode = options.render_mode
        self._dynamics = Dynamics(env, options)
        self.observation_space = self._dynamics.observation_space
        self.action_space = self._dynamics.action_space
        self._not_carried = {canonical_key(key) for key in (*env.action_keys, *env.reward_keys)}
        self._root: FlatDict | None = None

    @property
    def base_env(self) -> EnvBase:
        """The environment inside."""
        return self._dynamics.env

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; no options are known."""
        super().reset(seed=seed)
        with torch.no_grad():
            self._root = self._dynamics.start(seed)
        return self._dynamics.observation(self._root), self._dynamics.info(self._root)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step.

        Raises:
            RuntimeError: there has been no reset.
        """
        dynamics, root = self._dynamics, self._root
        if root is None:
            raise RuntimeError(message("to_gymnasium", "step before the first reset", fix="Call reset()"))
        with torch.no_grad():
            following = dynamics.act(root, action)
        self._root = {key: value for key, value in {**root, **following}.items() if key not in self._not_carried}
        terminated, truncated = dynamics.flags(following)
        reward = float(dynamics.reward(following))
        info = dynamics.info(following)
        return dynamics.observation(following), reward, bool(terminated), bool(truncated), info

    def render(self) -> Any:
        """The frame of the present state, uint8 `[H, W, 3]`.

        Raises:
            ValueError: the export was made without `render_mode`.
        """
        return frames(self._dynamics.env, self.render_mode)

    def close(self) -> None:
        """Close the environment inside."""
        self._dynamics.env.close()
