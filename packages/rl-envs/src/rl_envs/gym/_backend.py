"""What the adapter asks of one env, a list of envs, or a `VectorEnv`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rl_envs.gym._info_plan import InfoPlan
from rl_envs.gym._limits import NO_LIMITS, SpaceLimits
from rl_envs.gym._space_codec import SpaceCodec
from rl_envs.gym._state import restore, snapshot, unsupported_part
from rl_specs import FlatDict, TensorMap, message


@dataclass(frozen=True)
class Options:
    """How an adapter runs its env.

    Args:
        frame_skip: env steps per action; their rewards are added up.
        from_pixels: add the rendered frame under `"pixels"`.
        pixels_only: leave the other observations out, with `from_pixels`.
        categorical: discrete values as indices rather than one-hot.
        limits: how large values without a bound of their own get.
    """

    frame_skip: int
    from_pixels: bool
    pixels_only: bool
    categorical: bool
    limits: SpaceLimits = NO_LIMITS


class Backend(ABC):
    """Runs Gymnasium envs; everything in and out is a tensor on the CPU.

    Args:
        count: number of envs.
        name: id of the env, where `envs` is empty.
        out_of_reach: what cannot be read out, where `envs` is empty.
    """

    batch_size: torch.Size
    observation_space: Any
    action_space: Any
    _infos: InfoPlan | None = None

    def __init__(
        self, count: int, *, name: str = "VectorEnv", out_of_reach: str = "the state of envs in other processes"
    ) -> None:
        self._seeds: list[int | None] = [None] * count
        self._all_taken = True
        self._name = name
        self.out_of_reach = out_of_reach

    def env_id(self) -> str:
        """Id of the env that is run."""
        envs = self.envs()
        if not envs:
            return self._name
        return str(envs[0].spec.id) if envs[0].spec is not None else type(envs[0].unwrapped).__name__

    def seed(self, seeds: Sequence[int | None]) -> None:
        """Seeds that the next reset of each env hands on; None: the env's stream goes on."""
        self._seeds = list(seeds)
        self._all_taken = False

    def pending_seeds(self) -> list[int | None]:
        """Seeds that have not been handed on yet."""
        return list(self._seeds)

    def take_seeds(self, rows: np.ndarray[Any, Any] | None) -> list[int | None]:
        """The pending seeds of the rows that are being reset, which are pending no more."""
        if self._all_taken:
            return self._seeds.copy()
        taken = [seed if rows is None or rows[row] else None for row, seed in enumerate(self._seeds)]
        self._seeds = [None if rows is None or rows[row] else seed for row, seed in enumerate(self._seeds)]
        self._all_taken = all(seed is None for seed in self._seeds)
        return taken

    @abstractmethod
    def reset(self, rows: np.ndarray[Any, Any] | None) -> FlatDict:
        """Start episodes: all, or those where `rows`, bool `[N]`, is True. Observations of the whole batch."""

    @abstractmethod
    def step(self, data: TensorMap) -> FlatDict:
        """One step: observations, `reward`, and the three flags."""

    @abstractmethod
    def sample_infos(self) -> list[dict[str, Any]]:
        """`info` dictionaries of one env, from a reset and a random step; the episode is to be started anew."""

    @abstractmethod
    def set_infos(self, plan: InfoPlan) -> None:
        """Add the entries of `plan` to what resets and steps return, in place of those of the plan before."""

    @abstractmethod
    def frame(self) -> Tensor:
        """The rendered frame, uint8 `[*B, H, W, 3]`."""

    @abstractmethod
    def envs(self) -> list[Any]:
        """The env of each row, for reading and writing simulator states; empty when out of reach."""

    def missing_state(self) -> str | None:
        """What `states` would leave out of how the envs go on; None: nothing."""
        envs = self.envs()
        if not envs:
            return self.out_of_reach
        return next((part for part in map(unsupported_part, envs) if part is not None), None)

    def states(self) -> list[Any]:
        """Exact state of each env."""
        return [snapshot(env) for env in self.envs()]

    def set_states(self, states: Sequence[Any]) -> None:
        """Put each env into a state that `states` returned."""
        for env, state in zip(self.envs(), states, strict=True):
            restore(env, state)

    @abstractmethod
    def close(self) -> None:
        """Close the envs."""


def codecs(backend: Backend, options: Options) -> tuple[SpaceCodec, SpaceCodec]:
    """Codecs of the observations and of the actions."""
    kind, limits = options.categorical, options.limits
    observations = SpaceCodec(backend.observation_space, key=None, categorical=kind, limits=limits)
    return observations, SpaceCodec(backend.action_space, key="action", categorical=kind, limits=limits)


def begun(env: Any, seed: int | None) -> tuple[Any, Any]:
    """What a reset of an env returned: an observation and an info.

    Raises:
        TypeError: it returned something else.
    """
    found = env.reset(seed=seed)
    if not isinstance(found, tuple) or len(found) != 2:
        raise other_protocol(env, "reset", "(observation, info)", found)
    return found


def stepped(env: Any, found: Any) -> tuple[Any, Any, Any, Any, Any]:
    """What a step of an env returned, which has to be an observation, a reward, two flags and an info.

    Raises:
        TypeError: it is not.
    """
    try:
        observation, reward, terminated, truncated, info = found
    except (TypeError, ValueError):
        expected = "(observation, reward, terminated, truncated, info)"
        raise other_protocol(env, "step", expected, found) from None
    return observation, reward, terminated, truncated, info


def other_protocol(env: Any, method: str, expected: str, found: object) -> TypeError:
    """Error for an env whose methods return something else than Gymnasium's."""
    told = f"{len(found)} values" if isinstance(found, tuple) else type(found).__name__
    fix = "Return that, or wrap an env of Gym's older protocol: GymWrapper(LegacyGymEnv(env))"
    where = f"{type(env.unwrapped).__name__}.{method}"
    return TypeError(message(where, "another protocol", expected=expected, found=told, fix=fix))


def skipped_step(env: Any, action: Any, frame_skip: int) -> tuple[Any, float, bool, bool, Any]:
    """`frame_skip` steps with one action, rewards added up, stopped at the end of an episode; what `step` returns."""
    observation, reward, terminated, truncated, info = stepped(env, env.step(action))
    total = float(reward)
    for _ in range(frame_skip - 1):
        if terminated or truncated:
            break
        observation, reward, terminated, truncated, info = stepped(env, env.step(action))
        total += float(reward)
    return observation, total, bool(terminated), bool(truncated), info


def sampled_infos(env: Any) -> list[dict[str, Any]]:
    """`info` dictionaries of an env, from a reset and a random step."""
    return [env.reset()[1], env.step(env.action_space.sample())[-1]]
