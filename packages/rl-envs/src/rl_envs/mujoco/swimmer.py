"""The swimmer of Gymnasium."""

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from rl_envs.mujoco._draws import Draws
from rl_envs.mujoco._gymnasium_task import GymnasiumTask, never, squares


@final
class SwimmerEnv(GymnasiumTask):
    """`Swimmer-v5`, `num_envs` at once: three links in a viscous fluid, to swim as fast as possible.

        reward = velocity - 0.0001 |action|^2, never terminated

    The arguments are those of `MujocoEnv` after `simulation`; an episode has 1,000 steps at most unless
    `max_episode_steps` says otherwise.

    Source: https://gymnasium.farama.org/environments/mujoco/swimmer/
    """

    asset: ClassVar[str] = "swimmer.xml"
    frame_skip: ClassVar[int] = 4
    remembers: ClassVar[tuple[str, ...]] = ("qpos",)

    def _observe(self, now: Mapping[str, Tensor]) -> Tensor:
        return torch.cat((now["qpos"][:, 2:], now["qvel"]), -1)

    def _reward(self, before: Mapping[str, Tensor], now: Mapping[str, Tensor], action: Tensor) -> Tensor:
        return self._velocity(before["qpos"][:, 0], now["qpos"][:, 0]) - 0.0001 * squares(action)

    def _terminated(self, now: Mapping[str, Tensor]) -> Tensor:
        return never(now["qpos"])

    def _initial(self, draws: Draws) -> tuple[Tensor, Tensor]:
        return self._near_rest(draws, 0.1)
