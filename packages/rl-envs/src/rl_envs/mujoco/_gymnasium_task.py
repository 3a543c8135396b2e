"""What the tasks of Gymnasium have in common."""

from importlib import resources
from typing import ClassVar

import torch
from torch import Tensor

from rl_envs.mujoco._draws import Draws
from rl_envs.mujoco._env import MujocoEnv
from rl_envs.mujoco._simulation import Simulation


class GymnasiumTask(MujocoEnv):
    """A task of Gymnasium, version 5 with its default settings.

    From the same state and actions, observations, rewards and terminations are those of Gymnasium to 1e-9 in float64
    (Gymnasium adds up the squares of float32 actions in float32; here they are float64). The model is the file that
    Gymnasium ships.

    Args:
        num_envs: number of simulations.
        max_episode_steps: steps after which an episode is truncated; None: no limit.
        num_threads: threads of the pool; None: one per core at hand.
        seed: seed of the random streams; None: a random one.
        dtype: dtype of observations and rewards.
        device: device of the tensors that the env returns; the physics runs on the CPU.
    """

    asset: ClassVar[str]
    """File name of the model."""
    frame_skip: ClassVar[int]
    """Physics steps per action."""
    reads: ClassVar[tuple[str, ...]] = ()
    """See `Simulation.reads`."""
    remembers: ClassVar[tuple[str, ...]] = ()
    """See `Simulation.remembers`."""

    def __init__(
        self,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = 1000,
        num_threads: int | None = None,
        seed: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | int | None = None,
    ) -> None:
        assets = resources.files("gymnasium") / "envs" / "mujoco" / "assets"
        with resources.as_file(assets / self.asset) as path:
            super().__init__(
                Simulation(path, frame_skip=self.frame_skip, reads=self._fields(), remembers=self.remembers),
                num_envs,
                max_episode_steps=max_episode_steps,
                num_threads=num_threads,
                seed=seed,
                dtype=dtype,
                device=device,
            )

    def _fields(self) -> tuple[str, ...]:
        """Fields that this env reads."""
        return self.reads

    def _near_rest(self, draws: Draws, scale: float, *, normal_velocity: bool = False) -> tuple[Tensor, Tensor]:
        """The model's rest with noise: uniform in `[-scale, scale]`, or normal velocities of that deviation."""
        qpos, qvel = self._rest(draws.num_envs)
        qpos += draws.uniform(-scale, scale, qpos.shape[1])
        count = qvel.shape[1]
        qvel += draws.normal(scale, count) if normal_velocity else draws.uniform(-scale, scale, count)
        return qpos, qvel

    def _velocity(self, before: Tensor, now: Tensor) -> Tensor:
        """Mean velocity over the step."""
        return (now - before) / self._time_step


def squares(value: Tensor) -> Tensor:
    """Sum of the squares of each row."""
    return value.square().sum(-1)


def never(now: Tensor) -> Tensor:
    """False for each row."""
    return torch.zeros(len(now), dtype=torch.bool)
