"""One Gymnasium env."""

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from rl_envs.gym._backend import Backend, Options, begun, codecs, sampled_infos, skipped_step, stepped
from rl_envs.gym._info_plan import InfoPlan
from rl_envs.gym._render import rendered
from rl_specs import FlatDict, TensorMap


@final
class SingleBackend(Backend):
    """Runs one env.

    Args:
        env: a `gymnasium.Env`.
        options: how to run it.
    """

    def __init__(self, env: Any, options: Options) -> None:
        super().__init__(1)
        self.batch_size = torch.Size(())
        self.observation_space = env.observation_space
        self.action_space = env.action_space
        self._env = env
        self._options = options
        self._frame_skip = options.frame_skip
        self._pixels = options.from_pixels
        self._observations, self._actions = codecs(self, options)

    def reset(self, rows: np.ndarray[Any, Any] | None) -> FlatDict:
        """See `Backend`."""
        observation, info = begun(self._env, self.take_seeds(None)[0])
        entries = self._observed(observation)
        if self._infos is not None:
            entries.update(self._infos.read(info))
        return entries

    def step(self, data: TensorMap) -> FlatDict:
        """See `Backend`."""
        action = self._actions.decode(data)
        skip = self._frame_skip
        result = self._env.step(action) if skip == 1 else skipped_step(self._env, action, skip)
        try:
            observation, reward, terminated, truncated, info = result
        except (TypeError, ValueError):
            stepped(self._env, result)  # says what it should be
            raise
        entries = self._observed(observation)
        if self._infos is not None:
            entries.update(self._infos.read(info))
        rewards = np.array((reward,), dtype=np.float32)
        entries["reward"] = torch.from_numpy(rewards if rewards.ndim == 1 else rewards.reshape(-1))
        entries["done"] = torch.from_numpy(np.array((terminated or truncated,), dtype=np.bool_))
        entries["terminated"] = torch.from_numpy(np.array((terminated,), dtype=np.bool_))
        entries["truncated"] = torch.from_numpy(np.array((truncated,), dtype=np.bool_))
        return entries

    def sample_infos(self) -> list[dict[str, Any]]:
        """See `Backend`."""
        return sampled_infos(self._env)

    def set_infos(self, plan: InfoPlan) -> None:
        """See `Backend`."""
        self._infos = plan

    def frame(self) -> Tensor:
        """See `Backend`."""
        return torch.from_numpy(rendered(self._env))

    def envs(self) -> list[Any]:
        """See `Backend`."""
        return [self._env]

    def close(self) -> None:
        """See `Backend`."""
        self._env.close()

    def _observed(self, observation: Any) -> FlatDict:
        if not self._pixels:
            return self._observations.encode(observation)
        entries: FlatDict = {} if self._options.pixels_only else self._observations.encode(observation)
        entries["pixels"] = self.frame()
        return entries
