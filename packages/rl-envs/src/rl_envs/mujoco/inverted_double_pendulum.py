"""The two poles on a cart of Gymnasium."""

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from rl_envs.mujoco._draws import Draws
from rl_envs.mujoco._gymnasium_task import GymnasiumTask


@final
class InvertedDoublePendulumEnv(GymnasiumTask):
    """`InvertedDoublePendulum-v5`, `num_envs` at once: keep two linked poles upright on a cart.

        reward = 10 [not terminated] - 0.01 x^2 - (y - 2)^2 - 0.001 v_1^2 - 0.005 v_2^2

    with the tip at `(x, y)` and the poles' speeds `v_1, v_2`; terminated when the tip is at 1 m or below.
    The arguments are those of `MujocoEnv` after `simulation`; an episode has 1,000 steps at most unless
    `max_episode_steps` says otherwise.

    Source: https://gymnasium.farama.org/environments/mujoco/inverted_double_pendulum/
    """

    asset: ClassVar[str] = "inverted_double_pendulum.xml"
    frame_skip: ClassVar[int] = 5
    reads: ClassVar[tuple[str, ...]] = ("site_xpos", "qfrc_constraint")

    def _observe(self, now: Mapping[str, Tensor]) -> Tensor:
        qpos, force = now["qpos"], now["qfrc_constraint"][:, :1]
        angles = qpos[:, 1:]
        speed, force = now["qvel"].clamp(-10.0, 10.0), force.clamp(-10.0, 10.0)
        return torch.cat((qpos[:, :1], angles.sin(), angles.cos(), speed, force), -1)

    def _reward(self, before: Mapping[str, Tensor], now: Mapping[str, Tensor], action: Tensor) -> Tensor:
        x, _, y = now["site_xpos"][:, 0].unbind(-1)
        _, first, second = now["qvel"].unbind(-1)
        alive = 10.0 * (y > 1.0)
        return alive - 0.01 * x**2 - (y - 2.0) ** 2 - 0.001 * first**2 - 0.005 * second**2

    def _terminated(self, now: Mapping[str, Tensor]) -> Tensor:
        return now["site_xpos"][:, 0, 2] <= 1.0

    def _initial(self, draws: Draws) -> tuple[Tensor, Tensor]:
        return self._near_rest(draws, 0.1, normal_velocity=True)
