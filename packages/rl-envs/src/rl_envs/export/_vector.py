"""A batch of environments as a `gymnasium.vector.VectorEnv`."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rl_envs._env_base import EnvBase
from rl_envs.export._dynamics import Dynamics, ExportOptions
from rl_envs.export._frames import frames, render_metadata
from rl_specs import FlatDict, message


@final
class ExportedVectorEnv(VectorEnv[Any, Any, Any]):
    """See `to_gymnasium_vector`, which makes it."""

    def __init__(self, env: EnvBase, options: ExportOptions) -> None:
        self.metadata = {**render_metadata(env, options.render_mode), "autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode = options.render_mode
        self._dynamics = Dynamics(env, options)
        self.num_envs = env.batch_size[0]
        self.single_observation_space = self._dynamics.observation_space
        self.single_action_space = self._dynamics.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._root: FlatDict | None = None

    @property
    def base_env(self) -> EnvBase:
        """The environment inside."""
        return self._dynamics.env

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every environment.

        Args:
            seed: of the batch; environment `i` draws from the stream of `(seed, i)`.
            options: none are known.
        Raises:
            TypeError: one seed per environment.
        """
        if seed is not None and not isinstance(seed, int):
            fix = "Pass one integer; each environment has a stream of its own from it"
            raise TypeError(message("to_gymnasium_vector", "seed", expected="an integer", found=seed, fix=fix))
        super().reset(seed=seed)
        with torch.no_grad():
            self._root = self._dynamics.start(seed)
        return self._dynamics.observation(self._root), self._dynamics.info(self._root)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One step of every environment; those whose episode ends start the next one.

        Raises:
            RuntimeError: there has been no reset.
        """
        dynamics, root = self._dynamics, self._root
        if root is None:
            raise RuntimeError(message("to_gymnasium_vector", "step before the first reset", fix="Call reset()"))
        with torch.no_grad():
            following = dynamics.act(root, actions)
            self._root = dynamics.plan.advance(root, following)[0]
        terminated, truncated = dynamics.flags(following)
        info = dynamics.info({**following, **self._root})
        done = np.logical_or(terminated, truncated)
        if done.any():
            info |= {"final_obs": dynamics.observation(following), "_final_obs": done}
            info |= {"final_info": dynamics.info(following), "_final_info": done.copy()}
        return dynamics.observation(self._root), dynamics.reward(following), terminated, truncated, info

    def render(self) -> tuple[Any, ...]:
        """The frames of the present states, each uint8 `[H, W, 3]`.

        Raises:
            ValueError: the export was made without `render_mode`.
        """
        return tuple(frames(self._dynamics.env, self.render_mode))

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environment inside."""
        self._dynamics.env.close()
