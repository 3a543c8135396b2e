"""The planar arm of Gymnasium that reaches for a target."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar, final

import torch
from torch import Tensor

from rl_envs.mujoco._draws import Draws
from rl_envs.mujoco._gymnasium_task import GymnasiumTask, never, squares

_REACH = 0.2


@final
class ReacherEnv(GymnasiumTask):
    """`Reacher-v5`, `num_envs` at once: bring the tip of an arm of two links to a target.

        reward = -|tip - target| - |action|^2, never terminated

    Targets are uniform in a disc of 0.2 m. The arguments are those of `MujocoEnv` after `simulation`; an episode has 50
    steps unless `max_episode_steps` says otherwise.

    Source: https://gymnasium.farama.org/environments/mujoco/reacher/
    """

    asset: ClassVar[str] = "reacher.xml"
    frame_skip: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("xpos",)

    def __init__(
        self,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = 50,
        num_threads: int | None = None,
        seed: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__(
            num_envs,
            max_episode_steps=max_episode_steps,
            num_threads=num_threads,
            seed=seed,
            dtype=dtype,
            device=device,
        )

    @cached_property
    def _bodies(self) -> tuple[int, int]:
        return int(self.model.body("fingertip").id), int(self.model.body("target").id)

    def _offset(self, now: Mapping[str, Tensor]) -> Tensor:
        """From the target to the tip, in m."""
        tip, target = self._bodies
        return now["xpos"][:, tip] - now["xpos"][:, target]

    def _observe(self, now: Mapping[str, Tensor]) -> Tensor:
        qpos, qvel = now["qpos"], now["qvel"]
        angles = qpos[:, :2]
        return torch.cat((angles.cos(), angles.sin(), qpos[:, 2:], qvel[:, :2], self._offset(now)[:, :2]), -1)

    def _reward(self, before: Mapping[str, Tensor], now: Mapping[str, Tensor], action: Tensor) -> Tensor:
        return -squares(self._offset(now)).sqrt() - squares(action)

    def _terminated(self, now: Mapping[str, Tensor]) -> Tensor:
        return never(now["qpos"])

    def _initial(self, draws: Draws) -> tuple[Tensor, Tensor]:
        qpos, qvel = self._rest(draws.num_envs)
        qpos += draws.uniform(-0.1, 0.1, qpos.shape[1])
        qvel += draws.uniform(-0.005, 0.005, qvel.shape[1])
        radius = _REACH * draws.uniform(0.0, 1.0, 1).sqrt()
        angle = draws.uniform(-math.pi, math.pi, 1)
        qpos[:, -2:] = torch.cat((radius * angle.cos(), radius * angle.sin()), -1)
        qvel[:, -2:] = 0.0
        return qpos, qvel
