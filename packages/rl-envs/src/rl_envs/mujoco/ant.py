"""The four-legged ant of Gymnasium."""

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from rl_envs.mujoco._contact_task import ContactTask
from rl_envs.mujoco._draws import Draws
from rl_envs.mujoco._gymnasium_task import squares

_TORSO = 1


@final
class AntEnv(ContactTask):
    """`Ant-v5`, `num_envs` at once: run in the direction of x.

        reward = velocity + [healthy] - 0.5 |action|^2 - 0.0005 |forces|^2, terminated when not healthy

    with the contact forces of every body within [-1, 1]. Without `contact_forces` the observation has 27 numbers
    instead of 105, as with Gymnasium's `include_cfrc_ext_in_observation=False`, and the reward lacks its last part, as
    with `contact_cost_weight=0`. MuJoCo's batches do not compute these forces: they are computed for one env after the
    other, at about 9 µs each; without them all envs step in one call. The other arguments are those of `MujocoEnv`
    after `simulation`; an episode has 1,000 steps at most unless `max_episode_steps` says otherwise.

    Source: https://gymnasium.farama.org/environments/mujoco/ant/
    """

    asset: ClassVar[str] = "ant.xml"
    frame_skip: ClassVar[int] = 5
    reads: ClassVar[tuple[str, ...]] = ("xpos",)
    remembers: ClassVar[tuple[str, ...]] = ("xpos",)

    def _observe(self, now: Mapping[str, Tensor]) -> Tensor:
        parts = [now["qpos"][:, 2:], now["qvel"]]
        if self._has_contact_forces:
            parts.append(now["cfrc_ext"][:, 1:].clamp(-1.0, 1.0).flatten(1))
        return torch.cat(parts, -1)

    def _reward(self, before: Mapping[str, Tensor], now: Mapping[str, Tensor], action: Tensor) -> Tensor:
        velocity = self._velocity(before["xpos"][:, _TORSO, 0], now["xpos"][:, _TORSO, 0])
        reward = velocity + _is_healthy(now) - 0.5 * squares(action)
        if self._has_contact_forces:
            reward -= 0.0005 * squares(now["cfrc_ext"].clamp(-1.0, 1.0).flatten(1))
        return reward

    def _terminated(self, now: Mapping[str, Tensor]) -> Tensor:
        return ~_is_healthy(now)

    def _initial(self, draws: Draws) -> tuple[Tensor, Tensor]:
        return self._near_rest(draws, 0.1, normal_velocity=True)


def _is_healthy(now: Mapping[str, Tensor]) -> Tensor:
    """Finite, and between 0.2 and 1 m high."""
    qpos, qvel = now["qpos"], now["qvel"]
    height = qpos[:, 2]
    return (height >= 0.2) & (height <= 1.0) & qpos.isfinite().all(-1) & qvel.isfinite().all(-1)
