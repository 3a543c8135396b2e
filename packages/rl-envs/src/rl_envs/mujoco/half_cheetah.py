"""The two-legged runner of Gymnasium."""

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from rl_envs.mujoco._draws import Draws
from rl_envs.mujoco._gymnasium_task import GymnasiumTask, never, squares


@final
class HalfCheetahEnv(GymnasiumTask):
    """`HalfCheetah-v5`, `num_envs` at once: run as fast as possible.

        reward = velocity - 0.1 |action|^2, never terminated

    The arguments are those of `MujocoEnv` after `simulation`; an episode has 1,000 steps at most unless
    `max_episode_steps` says otherwise.

    Source: https://gymnasium.farama.org/environments/mujoco/half_cheetah/
    """

    asset: ClassVar[str] = "half_cheetah.xml"
    frame_skip: ClassVar[int] = 5
    remembers: ClassVar[tuple[str, ...]] = ("qpos",)

    def _observe(self, now: Mapping[str, Tensor]) -> Tensor:
        return torch.cat((now["qpos"][:, 1:], now["qvel"]), -1)

    def _reward(self, before: Mapping[str, Tensor], now: Mapping[str, Tensor], action: Tensor) -> Tensor:
        return self._velocity(before["qpos"][:, 0], now["qpos"][:, 0]) - 0.1 * squares(action)

    def _terminated(self, now: Mapping[str, Tensor]) -> Tensor:
        return never(now["qpos"])

    def _initial(self, draws: Draws) -> tuple[Tensor, Tensor]:
        return self._near_rest(draws, 0.1, normal_velocity=True)
