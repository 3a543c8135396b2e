"""A number for each trajectory."""

from typing import ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_plan import RESET_KEY
from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import already_there, missing_carried, no_forward
from rl_envs.transforms.transform import Transform
from rl_specs import Composite, NestedKey, TensorMap, Unbounded, canonical_key, key_str, message


@final
class TrajCounter(Transform):
    """Numbers trajectories in the order of their resets, rows of one reset in the order of the batch.

    The number is int64, 0 for the first trajectory, of the shape of the `done` flag at its level, or `[*B, 1]`. The
    count goes on over resets, seeds and batches, and is part of `state_dict`. It counts the rows that it sees: around a
    `ParallelEnv` it numbers the trajectories of all workers, each once.

    Args:
        out_key: name of the number.
        repeats: trajectories that share a number, one after the other; default 1.
    Raises:
        ValueError: `repeats` is not positive.
    """

    accepts_mapping: ClassVar[bool] = True
    count: Tensor

    def __init__(self, out_key: NestedKey = "traj_count", *, repeats: int | None = None) -> None:
        super().__init__()
        if repeats is not None and repeats < 1:
            raise ValueError(message("TrajCounter", "repeats too small", expected=">= 1 or None", found=repeats))
        self.out_key = canonical_key(out_key)
        self.repeats = 1 if repeats is None else repeats
        path = (self.out_key,) if isinstance(self.out_key, str) else self.out_key
        self._done_key = canonical_key((*path[:-1], "done"))
        self._shape = torch.Size((1,))
        self._batch_size = torch.Size(())
        self._device: torch.device | None = None
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def _bind(self, specs: EnvSpecs) -> list[str]:
        flags = dict(specs.done.flat_items())
        if isinstance(self._done_key, str) and self._done_key not in flags:  # agents alone have flags
            self._shape, self._device = torch.Size((*specs.done.shape, 1)), specs.done.device
            self._batch_size = specs.done.shape
            return already_there("out_key", [self.out_key], specs)
        if self._done_key not in flags:
            names = ", ".join(key_str(key) for key in flags)
            return [f"out_key: no flag {key_str(self._done_key)} beside it (has: {names})"]
        self._shape, self._device = flags[self._done_key].shape, flags[self._done_key].device
        self._batch_size = specs.done.shape
        return already_there("out_key", [self.out_key], specs)

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return {self.out_key: True}

    def _reads(self) -> list[NestedKey]:
        return [self.out_key]

    def _writes(self) -> list[NestedKey]:
        return [self.out_key]

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        before = data.get(self.out_key, None)
        if before is None:
            raise missing_carried("TrajCounter", self.out_key, data)
        next_data[self.out_key] = before.to(torch.int64)  # a later transform may have cast it
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        mask = data.get(RESET_KEY, None)
        rows = torch.ones(self._batch_size.numel(), dtype=torch.int64, device=self._device)
        if mask is not None:
            rows = mask.reshape(len(rows), -1).any(-1).to(torch.int64)
        count = self.count.to(rows.device)
        number = (count + rows.cumsum(0) - rows) // self.repeats
        self.count = count + rows.sum()
        extra = len(self._shape) - len(self._batch_size)
        reset_data[self.out_key] = number.reshape(self._batch_size + (1,) * extra).expand(self._shape).clone()
        return reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: only an environment knows when a trajectory starts."""
        raise no_forward("TrajCounter")

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the number."""
        observation_spec[self.out_key] = Unbounded(shape=self._shape, dtype=torch.int64, device=self._device)
        return observation_spec

    def __repr__(self) -> str:
        return f"TrajCounter(out_key={self.out_key!r}, repeats={self.repeats})"
