"""Tasks of Gymnasium that use the contact forces of every body."""

import torch

from rl_envs.mujoco._gymnasium_task import GymnasiumTask


class ContactTask(GymnasiumTask):
    """A task that observes and punishes contact forces (`cfrc_ext` of MuJoCo).

    MuJoCo's batches do not compute these: with them, each env is copied out after each step and they are computed for
    one env after the other, at about 9 µs each and on one thread. Without them the envs step in one call.

    Args:
        num_envs: number of simulations.
        contact_forces: observe and punish them, as Gymnasium does by default.
        max_episode_steps: steps after which an episode is truncated; None: no limit.
        num_threads: threads of the pool; None: one per core at hand.
        seed: seed of the random streams; None: a random one.
        dtype: dtype of observations and rewards.
        device: device of the tensors that the env returns; the physics runs on the CPU.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        contact_forces: bool = True,
        max_episode_steps: int | None = 1000,
        num_threads: int | None = None,
        seed: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | int | None = None,
    ) -> None:
        self._has_contact_forces = contact_forces
        super().__init__(
            num_envs,
            max_episode_steps=max_episode_steps,
            num_threads=num_threads,
            seed=seed,
            dtype=dtype,
            device=device,
        )

    def _fields(self) -> tuple[str, ...]:
        return (*self.reads, "cfrc_ext") if self._has_contact_forces else self.reads
