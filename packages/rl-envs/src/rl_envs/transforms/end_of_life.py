"""Lost lives as ends of episodes for value estimates."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_base import EnvBase
from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import unpack_flat
from rl_envs.gym import GymWrapper
from rl_envs.serial import SerialEnv
from rl_envs.transforms._carried import already_there, missing_carried, no_forward
from rl_envs.transforms._wiring import absent_keys, leaf_keys
from rl_envs.transforms.transform import ResetCall, StepCall, Transform
from rl_specs import (
    Categorical,
    Composite,
    FlatDict,
    NestedKey,
    SpecError,
    TensorMap,
    Unbounded,
    canonical_key,
    message,
)

if TYPE_CHECKING:
    from rl_envs.transforms.transformed_env import TransformedEnv


@final
class EndOfLifeTransform(Transform):
    """Writes how many lives are left, and whether a step has cost one.

    The flag is also True where the episode is done. Episodes go on when a life is lost; a value estimate that is to
    stop there reads the flag: `loss.set_keys(done="end-of-life", terminated="end-of-life")`. Lives are int64; both
    entries have the shape of the `done` flag, and after a reset the flag is False.

    Args:
        eol_key: name of the flag.
        lives_key: name of the number of lives.
        done_key: the flag of the end of an episode.
        eol_attribute: where the Gymnasium environment keeps its lives, from attribute to attribute: an integer, or what
            gives one when called. Of another environment: one attribute of its own, with a number per row.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        eol_key: NestedKey = "end-of-life",
        lives_key: NestedKey = "lives",
        *,
        done_key: NestedKey = "done",
        eol_attribute: str = "unwrapped.ale.lives",
    ) -> None:
        super().__init__()
        self.eol_key = canonical_key(eol_key)
        self.lives_key = canonical_key(lives_key)
        self.done_key = canonical_key(done_key)
        self.eol_attribute = eol_attribute
        self._shape = torch.Size((1,))
        self._device: torch.device | None = None

    def _bind(self, specs: EnvSpecs) -> list[str]:
        flags = dict(specs.done.flat_items())
        problems = absent_keys([self.done_key], leaf_keys(specs.done), "done_key", "the environment writes")
        if problems:
            return problems
        self._shape, self._device = flags[self.done_key].shape, flags[self.done_key].device
        if self._shape.numel() != specs.done.shape.numel():
            return [f"done_key: shape {tuple(self._shape)} has more than one flag per row"]
        return already_there("eol_key, lives_key", [self.eol_key, self.lives_key], specs)

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return {self.lives_key: True}

    def _wrap(self, env: "TransformedEnv") -> tuple[StepCall, ResetCall]:
        counted = _Counted(self, env)
        return counted.step, counted.reset

    def _reads(self) -> list[NestedKey]:
        return [self.lives_key, self.done_key]

    def _writes(self) -> list[NestedKey]:
        return [self.eol_key, self.lives_key]

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        before = data.get(self.lives_key, None)
        if before is None:
            raise missing_carried("EndOfLifeTransform", self.lives_key, data)
        next_data[self.eol_key] = (next_data[self.lives_key] < before) | next_data[self.done_key]
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        reset_data[self.eol_key] = torch.zeros(self._shape, dtype=torch.bool, device=self._device)
        return reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: lives are read from an environment."""
        raise no_forward("EndOfLifeTransform")

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the flag and the lives."""
        observation_spec[self.eol_key] = Categorical(2, self._shape, self._device, torch.bool)
        observation_spec[self.lives_key] = Unbounded(self._shape, self._device, torch.int64)
        return observation_spec

    def __repr__(self) -> str:
        return f"EndOfLifeTransform(eol_key={self.eol_key!r}, lives_key={self.lives_key!r}, done_key={self.done_key!r})"


@final
class _Counted:
    """Step and reset of an environment, with the lives that are left after them."""

    def __init__(self, transform: EndOfLifeTransform, env: "TransformedEnv") -> None:
        self._env_step, self._env_reset = env._step, env._reset
        self._key = transform.lives_key
        self._shape, self._device = transform._shape, transform._device
        self._path = transform.eol_attribute.split(".")
        self._holders = _holders(env.base_env)
        self._lives()

    def step(self, data: TensorMap) -> FlatDict:
        """One step."""
        return {**unpack_flat(self._env_step(data)), self._key: self._lives()}

    def reset(self, data: TensorMap | None) -> FlatDict:
        """A reset."""
        return {**unpack_flat(self._env_reset(data)), self._key: self._lives()}

    def _lives(self) -> Tensor:
        counts: list[Tensor] = []
        for holder in self._holders:
            found = holder
            for name in self._path:
                try:
                    found = getattr(found, name)
                except AttributeError:
                    fix = "Give the place of the lives as eol_attribute"
                    problem = f"{type(holder).__name__} has no {'.'.join(self._path)}"
                    raise SpecError(message("EndOfLifeTransform", problem, fix=fix)) from None
            counts.append(torch.as_tensor(found() if callable(found) else found, dtype=torch.int64).reshape(-1))
        lives = torch.cat(counts)
        return (lives.clone() if len(counts) == 1 else lives).reshape(self._shape).to(self._device)


def _holders(env: EnvBase) -> Sequence[Any]:
    """What has the lives of the rows, in their order."""
    inner = env._simulator()
    if isinstance(inner, SerialEnv):
        return [holder for each in inner.envs for holder in _holders(each)]
    if not isinstance(inner, GymWrapper):
        return [inner]
    envs = inner.unwrapped_envs
    if not envs:
        problem = "the environments are in other processes, or in a VectorEnv, and their lives cannot be read"
        fix = 'Use GymEnv(..., backend="serial"), or put the transform into each environment of a ParallelEnv'
        raise SpecError(message("EndOfLifeTransform", problem, fix=fix))
    return envs
