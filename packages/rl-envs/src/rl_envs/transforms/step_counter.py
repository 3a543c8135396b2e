"""Steps of the episode so far, and a limit to them."""

from typing import ClassVar, final

import torch
from tensordict import TensorDictBase

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import already_there, missing_carried, no_forward
from rl_envs.transforms.transform import Transform
from rl_specs import Bounded, Composite, NestedKey, TensorMap, Unbounded, canonical_key, key_str, message


@final
class StepCounter(Transform):
    """Counts steps since the last reset and truncates an episode at `max_steps`.

    The count is int64 `[*B, 1]`: 0 after a reset, then 1 more in each `next`. Where it reaches `max_steps`, `truncated`
    becomes True, and `done` with it; `terminated` never changes.

    Args:
        max_steps: steps per episode; None: no limit.
        truncated_key: flag to set. `done` is looked for beside it.
        step_count_key: name of the count.
        update_done: set `done` together with `truncated`.
    Raises:
        ValueError: `max_steps` is not positive.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        max_steps: int | None = None,
        truncated_key: NestedKey = "truncated",
        *,
        step_count_key: NestedKey = "step_count",
        update_done: bool = True,
    ) -> None:
        super().__init__()
        if max_steps is not None and max_steps < 1:
            raise ValueError(message("StepCounter", "max_steps too small", expected=">= 1 or None", found=max_steps))
        self.max_steps = max_steps
        self.truncated_key = canonical_key(truncated_key)
        self.step_count_key = canonical_key(step_count_key)
        self.update_done = update_done
        path = (self.truncated_key,) if isinstance(self.truncated_key, str) else self.truncated_key
        self.done_key = canonical_key((*path[:-1], "done"))
        self._one = torch.ones((), dtype=torch.int64)
        self._shape = torch.Size((1,))
        self._device: torch.device | None = None

    def _bind(self, specs: EnvSpecs) -> list[str]:
        flags = dict(specs.done.flat_items())
        if self.done_key not in flags:
            names = ", ".join(key_str(key) for key in flags)
            return [f"truncated_key: no flag {key_str(self.done_key)} beside it (has: {names})"]
        self._shape, self._device = flags[self.done_key].shape, flags[self.done_key].device
        return already_there("step_count_key", [self.step_count_key], specs)

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return {self.step_count_key: True}

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        before = data.get(self.step_count_key, None)
        if before is None:
            raise missing_carried("StepCounter", self.step_count_key, data)
        count = before + self._one
        if count.dtype is not torch.int64:  # a later transform has cast it
            count = count.to(torch.int64)
        next_data[self.step_count_key] = count
        if self.max_steps is not None:
            at_limit = count >= self.max_steps
            truncated = next_data.get(self.truncated_key, None)
            next_data[self.truncated_key] = at_limit if truncated is None else truncated | at_limit
            if self.update_done:
                next_data[self.done_key] = next_data[self.done_key] | at_limit
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        reset_data[self.step_count_key] = torch.zeros(self._shape, dtype=torch.int64, device=self._device)
        return reset_data

    def _reads(self) -> list[NestedKey]:
        return [self.step_count_key, *self._writes()[1:]]

    def _writes(self) -> list[NestedKey]:
        if self.max_steps is None:
            return [self.step_count_key]
        return [self.step_count_key, self.truncated_key, *([self.done_key] if self.update_done else [])]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: counting needs the steps of an environment in their order."""
        raise no_forward("StepCounter")

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the count: int64 `[*B, 1]`, up to `max_steps` where episodes end there."""
        shape, device = self._shape, self._device
        if self.max_steps is None or not self.update_done:
            observation_spec[self.step_count_key] = Unbounded(shape=shape, dtype=torch.int64, device=device)
        else:
            bounds = Bounded(0, self.max_steps, shape=shape, dtype=torch.int64, device=device)
            observation_spec[self.step_count_key] = bounds
        return observation_spec

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """Adds the truncation flag where the environment has none of that name."""
        if self.max_steps is not None and self.truncated_key not in dict(done_spec.flat_items()):
            done_spec[self.truncated_key] = done_spec[self.done_key].clone()
        return done_spec

    def __repr__(self) -> str:
        limit = "" if self.max_steps is None else f"max_steps={self.max_steps}, "
        return f"StepCounter({limit}keys=[])"
