"""The one-legged hopper of Gymnasium."""

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from rl_envs.mujoco._draws import Draws
from rl_envs.mujoco._gymnasium_task import GymnasiumTask, squares


@final
class HopperEnv(GymnasiumTask):
    """`Hopper-v5`, `num_envs` at once: hop forward without falling.

        reward = velocity + [healthy] - 0.001 |action|^2, terminated when not healthy

    The arguments are those of `MujocoEnv` after `simulation`; an episode has 1,000 steps at most unless
    `max_episode_steps` says otherwise.

    Source: https://gymnasium.farama.org/environments/mujoco/hopper/
    """

    asset: ClassVar[str] = "hopper.xml"
    frame_skip: ClassVar[int] = 4
    remembers: ClassVar[tuple[str, ...]] = ("qpos",)

    def _observe(self, now: Mapping[str, Tensor]) -> Tensor:
        return torch.cat((now["qpos"][:, 1:], now["qvel"].clamp(-10.0, 10.0)), -1)

    def _reward(self, before: Mapping[str, Tensor], now: Mapping[str, Tensor], action: Tensor) -> Tensor:
        velocity = self._velocity(before["qpos"][:, 0], now["qpos"][:, 0])
        return velocity + _is_healthy(now) - 0.001 * squares(action)

    def _terminated(self, now: Mapping[str, Tensor]) -> Tensor:
        return ~_is_healthy(now)

    def _initial(self, draws: Draws) -> tuple[Tensor, Tensor]:
        return self._near_rest(draws, 0.005)


def _is_healthy(now: Mapping[str, Tensor]) -> Tensor:
    """Above 0.7 m, within 0.2 rad of upright, and nothing beyond 100."""
    qpos = now["qpos"]
    is_bounded = (torch.cat((qpos[:, 2:], now["qvel"]), -1).abs() < 100.0).all(-1)
    return is_bounded & (qpos[:, 1] > 0.7) & (qpos[:, 2].abs() < 0.2)
