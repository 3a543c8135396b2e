"""What `GymEnv` is asked for, and the backend that runs it."""

import os
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

from rl_envs.gym._backend import Backend, Options
from rl_envs.gym._envpool import EnvPoolBackend
from rl_envs.gym._envpool_make import pool_recipe
from rl_envs.gym._loop import LoopBackend
from rl_envs.gym._make import make_env
from rl_envs.gym._single import SingleBackend
from rl_specs import message

BackendName: TypeAlias = Literal["serial", "process", "envpool"]


@dataclass(frozen=True)
class EnvRequest:
    """Environments by name.

    Args:
        name: id of the environment.
        num_envs: how many; None: one, without a batch dimension.
        backend: how they are run.
        num_threads: native threads of backend `"envpool"`; None: as many as there are cores.
        make_kwargs: options of the environment.
        own_keywords: further names that the caller takes, for messages.
    """

    name: str
    num_envs: int | None
    backend: BackendName
    num_threads: int | None
    make_kwargs: dict[str, Any]
    own_keywords: tuple[str, ...]

    def start(self, options: Options) -> Backend:
        """Make the environments.

        Raises:
            ImportError, TypeError, ValueError: see `GymEnv`.
        """
        where = f'GymEnv({self.name}, backend="{self.backend}")'
        if self.backend not in get_args(BackendName):
            expected = " or ".join(f'"{name}"' for name in get_args(BackendName))
            raise ValueError(message(where, "unknown backend", expected=expected, found=f'"{self.backend}"'))
        if self.num_envs is not None and (not isinstance(self.num_envs, int) or self.num_envs < 1):
            expected = "an integer >= 1"
            raise ValueError(message(f"GymEnv({self.name})", "num_envs", expected=expected, found=self.num_envs))
        if self.num_threads is not None and (self.backend != "envpool" or self.num_threads < 1):
            fix = 'num_threads >= 1 belongs to backend="envpool"; leave it out elsewhere'
            raise ValueError(message(where, "num_threads", found=self.num_threads, fix=fix))
        if self.backend == "serial":
            return self._serial(options)
        if self.num_envs is None:
            raise ValueError(message(where, "runs batches of environments", fix="Pass num_envs=..., which may be 1"))
        threads = self.num_threads or min(available_cores(), self.num_envs)
        return EnvPoolBackend(pool_recipe(self.name, self.num_envs, threads, options, self.make_kwargs), options)

    def _serial(self, options: Options) -> Backend:
        make = partial(make_env, self.name, self._kwargs(options), self.own_keywords)
        if self.num_envs is None:
            return SingleBackend(make(), options)
        return LoopBackend([make() for _ in range(self.num_envs)], options)

    def _kwargs(self, options: Options) -> dict[str, Any]:
        return {"render_mode": "rgb_array", **self.make_kwargs} if options.from_pixels else self.make_kwargs


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
