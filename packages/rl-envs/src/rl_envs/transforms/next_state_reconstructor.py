"""Next observations that were not stored, from the observations of the steps that follow."""

import math
from collections.abc import Iterable
from typing import final

import torch
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._stored import as_trajectories, beside, frame_flags, read_stored, stored_only, under_next
from rl_envs.transforms.transform import Transform
from rl_specs import DTypeError, NestedKey, TensorMap, canonical_key, canonical_keys, key_str, message


@final
class NextStateReconstructor(Transform):
    """Writes `("next", key)` of each step of a batch `[*B, T]` from `key` of the step after it.

    For data that were stored without their next observations, drawn in slices or whole trajectories; time is the last
    dimension. A step whose successor is not in the batch gets `fill_value`: the last one of each row, one with which
    an episode ends, and one beside a step of another trajectory. Draws of single steps have hardly any successor, and
    come back full of NaN rather than wrong.

    Args:
        keys: root entries whose next values are wanted.
        traj_key: entry with trajectory ids, `[*B, T]`: a successor has the same. None: not looked at.
        done_key: entry that says that an episode ended with a step; ignored where there is none. None: not looked at.
        step_count_key: entry that is 1 larger in a successor, for samplers that may put two slices of one trajectory
            side by side. None: not looked at.
        fill_value: what a step without successor gets.
        strict: a batch without `traj_key` is an error; otherwise it is ignored.
    """

    def __init__(
        self,
        keys: Iterable[NestedKey] | NestedKey = ("observation",),
        *,
        traj_key: NestedKey | None = ("collector", "traj_ids"),
        done_key: NestedKey | None = ("next", "done"),
        step_count_key: NestedKey | None = None,
        fill_value: float = math.nan,
        strict: bool = True,
    ) -> None:
        names = canonical_keys(keys)
        super().__init__(names, [under_next(key) for key in names])
        self.traj_key = None if traj_key is None else canonical_key(traj_key)
        self.done_key = None if done_key is None else canonical_key(done_key)
        self.step_count_key = None if step_count_key is None else canonical_key(step_count_key)
        self.fill_value = fill_value
        self.strict = strict

    def _call(self, data: TensorMap) -> TensorMap:
        batch = as_trajectories("NextStateReconstructor", data, least=1)
        shape, time = batch.batch_size, batch.ndim - 1
        fix = "Store it, or give keys=[...]"
        values = [read_stored("NextStateReconstructor", batch, key, fix) for key in self.in_keys]
        follows = torch.ones((*shape[:-1], shape[-1] - 1), dtype=torch.bool, device=values[0].device)
        if self.traj_key is not None:
            ids = batch.get(self.traj_key, None)
            if ids is None and self.strict:
                fix = "Store it, or pass traj_key=None or strict=False"
                ids = read_stored("NextStateReconstructor", batch, self.traj_key, fix)
            if ids is not None:
                ids = ids.reshape(shape)
                follows = follows & (ids[..., 1:] == ids[..., :-1])
        done = None if self.done_key is None else batch.get(self.done_key, None)
        if done is not None and self.done_key is not None:
            follows = follows & ~frame_flags("NextStateReconstructor", self.done_key, done, shape)[..., :-1]
        if self.step_count_key is not None:
            fix = "Add a StepCounter to the environment, or give step_count_key"
            count = read_stored("NextStateReconstructor", batch, self.step_count_key, fix).reshape(shape)
            follows = follows & (count[..., 1:] == count[..., :-1] + 1)
        for (key, next_key), value in zip(self._pairs, values, strict=True):
            batch[next_key] = self._shifted(key, value, follows, time)
        return batch

    def _shifted(self, key: NestedKey, value: Tensor, follows: Tensor, time: int) -> Tensor:
        if not value.is_floating_point() and not math.isfinite(self.fill_value):
            problem = f"{key_str(key)} is {value.dtype}, which cannot be {self.fill_value}"
            fix = "Give a fill_value that it can be, such as 0"
            raise DTypeError(message("NextStateReconstructor", problem, fix=fix))
        later = value.narrow(time, 1, value.shape[time] - 1)
        filled = torch.full_like(value, self.fill_value)
        start = filled.narrow(time, 0, later.shape[time])
        start.copy_(torch.where(beside(follows, later), later, start))
        return filled

    def _bind(self, specs: EnvSpecs) -> list[str]:
        return stored_only()
