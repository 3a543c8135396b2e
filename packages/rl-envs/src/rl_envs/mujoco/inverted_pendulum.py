"""The pole on a cart of Gymnasium."""

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from rl_envs.mujoco._draws import Draws
from rl_envs.mujoco._gymnasium_task import GymnasiumTask


@final
class InvertedPendulumEnv(GymnasiumTask):
    """`InvertedPendulum-v5`, `num_envs` at once: keep a pole upright on a cart.

        reward = [not terminated], terminated when the pole is more than 0.2 rad off

    The arguments are those of `MujocoEnv` after `simulation`; an episode has 1,000 steps at most unless
    `max_episode_steps` says otherwise.

    Source: https://gymnasium.farama.org/environments/mujoco/inverted_pendulum/
    """

    asset: ClassVar[str] = "inverted_pendulum.xml"
    frame_skip: ClassVar[int] = 2

    def _observe(self, now: Mapping[str, Tensor]) -> Tensor:
        return torch.cat((now["qpos"], now["qvel"]), -1)

    def _reward(self, before: Mapping[str, Tensor], now: Mapping[str, Tensor], action: Tensor) -> Tensor:
        return (~self._terminated(now)).to(torch.float64)

    def _terminated(self, now: Mapping[str, Tensor]) -> Tensor:
        is_finite = self._observe(now).isfinite().all(-1)
        return ~is_finite | (now["qpos"][:, 1].abs() > 0.2)

    def _initial(self, draws: Draws) -> tuple[Tensor, Tensor]:
        return self._near_rest(draws, 0.01)
