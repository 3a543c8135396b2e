"""Steps of the episode so far, and a limit to them."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import torch
from tensordict import TensorDictBase

from rl_envs._env_plan import flag_groups, outermost
from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import already_there, beside_key, missing_carried, no_forward
from rl_envs.transforms.transform import Transform
from rl_specs import Bounded, Composite, LeafSpec, NestedKey, TensorMap, Unbounded, canonical_key, key_str, message


@dataclass(frozen=True)
class _Level:
    """Keys and form of the count of one level of flags."""

    count: NestedKey
    truncated: NestedKey
    done: NestedKey
    shape: torch.Size = field(default=torch.Size((1,)))
    device: torch.device | None = None


@final
class StepCounter(Transform):
    """Counts steps since the last reset and truncates an episode at `max_steps`.

    The count is int64, of the shape of the `done` flag, `[*B, 1]`: 0 after a reset, then 1 more in each `next`. Where
    it reaches `max_steps`, `truncated` becomes True, and `done` with it; `terminated` never changes. Names stand for
    entries beside each `done` flag of the environment, those of agents too, so that there may be several.

    Args:
        max_steps: steps per episode; None: no limit.
        truncated_key: flag to set, beside each `done`; a nested key is that one flag, beside one `done`.
        step_count_key: name of the count, beside each `done`; a nested key, or one with a nested `truncated_key`, is
            that one entry.
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
        done = beside_key(self.truncated_key, "done")
        self._levels = [_Level(self.step_count_key, self.truncated_key, done)]
        self._one = torch.ones((), dtype=torch.int64)

    def _bind(self, specs: EnvSpecs) -> list[str]:
        flags = dict(specs.done.flat_items())
        levels = [_Level(self.step_count_key, self.truncated_key, beside_key(self.truncated_key, "done"))]
        groups = [group[0] for group in flag_groups(list(flags))]
        if isinstance(self.truncated_key, str) and groups:
            truncated = self.truncated_key
            if isinstance(self.step_count_key, str):
                count = self.step_count_key
                levels = [_Level(beside_key(key, count), beside_key(key, truncated), key) for key in groups]
            else:
                done = outermost(flag_groups(list(flags)))[0][0]
                levels = [_Level(self.step_count_key, beside_key(done, truncated), done)]
        absent = [level.done for level in levels if level.done not in flags]
        if absent:
            names = ", ".join(key_str(key) for key in flags)
            return [f"truncated_key: no flag {key_str(absent[0])} beside it (has: {names})"]
        found = [(level, flags[level.done]) for level in levels]
        self._levels = [replace(level, shape=flag.shape, device=flag.device) for level, flag in found]
        return already_there("step_count_key", [level.count for level in levels], specs)

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return {level.count: True for level in self._levels}

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        for level in self._levels:
            before = data.get(level.count, None)
            if before is None:
                raise missing_carried("StepCounter", level.count, data)
            count = before + self._one
            if count.dtype is not torch.int64:  # a later transform has cast it
                count = count.to(torch.int64)
            next_data[level.count] = count
            if self.max_steps is not None:
                at_limit = count >= self.max_steps
                truncated = next_data.get(level.truncated, None)
                next_data[level.truncated] = at_limit if truncated is None else truncated | at_limit
                if self.update_done:
                    next_data[level.done] = next_data[level.done] | at_limit
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        for level in self._levels:
            reset_data[level.count] = torch.zeros(level.shape, dtype=torch.int64, device=level.device)
        return reset_data

    def _reads(self) -> list[NestedKey]:
        return self._writes()

    def _writes(self) -> list[NestedKey]:
        keys = [level.count for level in self._levels]
        if self.max_steps is not None:
            keys += [level.truncated for level in self._levels]
            keys += [level.done for level in self._levels] if self.update_done else []
        return keys

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: counting needs the steps of an environment in their order."""
        raise no_forward("StepCounter")

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the counts: int64 `[*B, 1]`, up to `max_steps` where episodes end there."""
        for level in self._levels:
            if self.max_steps is None or not self.update_done:
                leaf: LeafSpec = Unbounded(shape=level.shape, dtype=torch.int64, device=level.device)
            else:
                leaf = Bounded(0, self.max_steps, shape=level.shape, dtype=torch.int64, device=level.device)
            observation_spec[level.count] = leaf
        return observation_spec

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """Adds the truncation flags where the environment has none of that name."""
        if self.max_steps is not None:
            there = dict(done_spec.flat_items())
            for level in self._levels:
                if level.truncated not in there:
                    done_spec[level.truncated] = done_spec[level.done].clone()
        return done_spec

    def __repr__(self) -> str:
        limit = "" if self.max_steps is None else f"max_steps={self.max_steps}, "
        return f"StepCounter({limit}keys=[])"
