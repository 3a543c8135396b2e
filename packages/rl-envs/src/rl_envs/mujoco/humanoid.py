"""The humanoid of Gymnasium."""

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar, final

import torch
from torch import Tensor

from rl_envs.mujoco._contact_task import ContactTask
from rl_envs.mujoco._draws import Draws
from rl_envs.mujoco._gymnasium_task import squares

_ROOT_SPEEDS = 6


@final
class HumanoidEnv(ContactTask):
    """`Humanoid-v5`, `num_envs` at once: walk in the direction of x without falling.

        reward = 1.25 velocity + 5 [healthy] - 0.1 |action|^2 - min(5e-7 |forces|^2, 10), terminated when not healthy

    with the velocity of the centre of mass and the contact forces of every body. Without `contact_forces` the
    observation has 270 numbers instead of 348, as with Gymnasium's `include_cfrc_ext_in_observation=False`, and the
    reward lacks its last part, as with `contact_cost_weight=0`. MuJoCo's batches do not compute these forces: they are
    computed for one env after the other, at about 9 µs each; without them all envs step in one call. The other
    arguments are those of `MujocoEnv` after `simulation`; an episode has 1,000 steps at most unless
    `max_episode_steps` says otherwise.

    Source: https://gymnasium.farama.org/environments/mujoco/humanoid/
    """

    asset: ClassVar[str] = "humanoid.xml"
    frame_skip: ClassVar[int] = 5
    reads: ClassVar[tuple[str, ...]] = ("xipos", "cinert", "cvel", "qfrc_actuator")
    remembers: ClassVar[tuple[str, ...]] = ("xipos",)

    def _observe(self, now: Mapping[str, Tensor]) -> Tensor:
        inertias, velocities = now["cinert"][:, 1:].flatten(1), now["cvel"][:, 1:].flatten(1)
        parts = [now["qpos"][:, 2:], now["qvel"], inertias, velocities, now["qfrc_actuator"][:, _ROOT_SPEEDS:]]
        if self._has_contact_forces:
            parts.append(now["cfrc_ext"][:, 1:].flatten(1))
        return torch.cat(parts, -1)

    def _reward(self, before: Mapping[str, Tensor], now: Mapping[str, Tensor], action: Tensor) -> Tensor:
        velocity = self._velocity(self._centre(before["xipos"]), self._centre(now["xipos"]))
        reward = 1.25 * velocity + 5.0 * _is_healthy(now) - 0.1 * squares(action)
        if self._has_contact_forces:
            reward -= (5e-7 * squares(now["cfrc_ext"].flatten(1))).clamp(max=10.0)
        return reward

    @cached_property
    def _mass_shares(self) -> Tensor:
        mass = torch.from_numpy(self.model.body_mass).to(torch.float64)
        return mass / mass.sum()

    def _centre(self, positions: Tensor) -> Tensor:
        """The centre of mass along x, in m."""
        return (positions[..., 0] * self._mass_shares).sum(-1)

    def _terminated(self, now: Mapping[str, Tensor]) -> Tensor:
        return ~_is_healthy(now)

    def _initial(self, draws: Draws) -> tuple[Tensor, Tensor]:
        return self._near_rest(draws, 0.01)


def _is_healthy(now: Mapping[str, Tensor]) -> Tensor:
    """Between 1 and 2 m high."""
    height = now["qpos"][:, 2]
    return (height > 1.0) & (height < 2.0)
