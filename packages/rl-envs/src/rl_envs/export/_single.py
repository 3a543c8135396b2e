"""One environment as a `gymnasium.Env`."""

from collections.abc import Sequence
from typing import Any, final

import gymnasium
import torch

from rl_envs._env_base import EnvBase
from rl_envs.export._dynamics import Dynamics
from rl_specs import FlatDict, NestedKey, canonical_key, message


@final
class ExportedEnv(gymnasium.Env[Any, Any]):
    """See `to_gymnasium`, which makes it."""

    def __init__(self, env: EnvBase, *, reward_key: NestedKey | None, info_keys: Sequence[NestedKey]) -> None:
        self.metadata = {"render_modes": []}
        self._dynamics = Dynamics(env, reward_key=reward_key, info_keys=info_keys)
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

    def close(self) -> None:
        """Close the environment inside."""
        self._dynamics.env.close()
