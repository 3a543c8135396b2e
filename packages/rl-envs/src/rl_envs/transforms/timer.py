"""How long steps, policies and resets take."""

import time
from collections.abc import Callable
from typing import ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Size

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import already_there, beside, no_forward
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Bounded, Composite, NestedKey, TensorMap, canonical_key, message


@final
class Timer(Transform):
    """Writes durations, in seconds, `[*B, 1]` in torch's default dtype; all rows of a batch have the same.

    - `time_step`: of the step, in the environment and the transforms before this one.
    - `time_policy`: since the step, or the reset, before: what the policy and the loop around it took.
    - `time_reset`: of the reset, at the root; zero under `"next"`.

    After a reset `time_step` and `time_policy` are zero. The host's clock is read: work that an accelerator has not
    finished by then is not counted.

    Args:
        out_keys: three names, default `time_key` with `_step`, `_policy` and `_reset` behind it.
        time_key: what the default names start with.
        clock: tells the time in seconds.
    Raises:
        ValueError: there are other than three names.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        out_keys: Keys | None = None,
        time_key: NestedKey = "time",
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        names = [beside(canonical_key(time_key), name) for name in ("step", "policy", "reset")]
        super().__init__(None, names if out_keys is None else out_keys)
        if len(self.out_keys) != 3:
            expected = "three names: of the step, of the policy and of the reset"
            raise ValueError(message("Timer", "another number of out_keys", expected=expected, found=self.out_keys))
        self._clock = clock
        self._mark = clock()
        self._policy_s = 0.0
        self._shape = Size((1,))
        self._device: torch.device | None = None

    def _bind(self, specs: EnvSpecs) -> list[str]:
        self._shape = Size((*specs.observation.shape, 1))
        self._device = next((leaf.device for _, leaf in specs.done.flat_items()), None)
        return already_there("out_keys", self.out_keys, specs)

    def _inv_call(self, data: TensorMap) -> TensorMap:
        self._policy_s = self._elapsed()
        return data

    def _before_reset(self, data: TensorMap | None) -> TensorMap | None:
        self._mark = self._clock()
        return data

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        self._write(next_data, self._elapsed(), self._policy_s, 0.0)
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        self._write(reset_data, 0.0, 0.0, self._elapsed())
        return reset_data

    def _elapsed(self) -> float:
        """Seconds since the last mark; the present is the next one."""
        now = self._clock()
        elapsed, self._mark = now - self._mark, now
        return elapsed

    def _write(self, data: TensorMap, *durations_s: float) -> None:
        for key, duration_s in zip(self.out_keys, durations_s, strict=True):
            data[key] = torch.full(self._shape, duration_s, device=self._device)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: stored data take no time."""
        raise no_forward("Timer")

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the durations, none negative."""
        for key in self.out_keys:
            observation_spec[key] = Bounded(0.0, torch.inf, shape=self._shape, device=self._device)
        return observation_spec

    def __repr__(self) -> str:
        return f"Timer(out_keys={self.out_keys})"
