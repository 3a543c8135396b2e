"""What `GymEnv` is asked for, and the backend that runs it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import cloudpickle  # type: ignore[import-untyped]  # ships no types

from rl_envs._closing import closed_on_error
from rl_envs.gym._backend import Backend, Options
from rl_envs.gym._choice import default_backend
from rl_envs.gym._envpool import EnvPoolBackend
from rl_envs.gym._envpool_make import pool_recipe
from rl_envs.gym._loop import LoopBackend
from rl_envs.gym._make import make_env
from rl_envs.gym._process import ProcessBackend, portable_maker, preloaded
from rl_envs.gym._single import SingleBackend
from rl_envs.parallel._pool import PoolOptions
from rl_envs.parallel._split import available_cores
from rl_specs import message

BackendName: TypeAlias = Literal["serial", "process", "envpool"]


@dataclass(frozen=True)
class EnvRequest:
    """Environments by name.

    Args:
        name: id of the environment.
        num_envs: how many; None: one, without a batch dimension.
        backend: how they are run; None: see `default_backend`.
        num_processes: worker processes of backend `"process"`; None: as many as there are cores.
        num_threads: native threads of backend `"envpool"`; None: as many as there are cores.
        timeout_s: of backend `"process"`: longest time for a step or a reset; None: no limit.
        restart_on_failure: of backend `"process"`: how many times a worker that fails is started anew.
        make_kwargs: options of the environment.
        own_keywords: further names that the caller takes, for messages.
    """

    name: str
    num_envs: int | None
    backend: BackendName | None
    num_processes: int | None
    num_threads: int | None
    make_kwargs: dict[str, Any]
    own_keywords: tuple[str, ...]
    timeout_s: float | None = None
    restart_on_failure: int = 0

    def start(self, options: Options) -> Backend:
        """Make the environments.

        Raises:
            ImportError, TypeError, ValueError, WorkerError: see `GymEnv`.
        """
        backend = self._chosen(options)
        self._check(backend)
        if backend == "serial":
            return self._serial(options)
        if self.num_envs is None:
            fix = "Pass num_envs=..., which may be 1"
            raise ValueError(message(self._where(backend), "runs batches of environments", fix=fix))
        if backend == "process":
            maker = self._maker(options)
            maker().close()  # a wrong name or keyword is told here rather than by a worker
            make = portable_maker(self.name, maker)
            pool = PoolOptions(
                "GymEnv",
                timeout_s=self.timeout_s,
                preload=preloaded(),
                restart_on_failure=self.restart_on_failure,
            )
            return ProcessBackend([make] * self.num_envs, options, num_processes=self.num_processes, pool=pool)
        threads = self.num_threads or min(available_cores(), self.num_envs)
        return EnvPoolBackend(pool_recipe(self.name, self.num_envs, threads, options, self.make_kwargs), options)

    def _chosen(self, options: Options) -> BackendName:
        if self.backend is not None:
            return self.backend
        is_rendered = options.from_pixels or "render_mode" in self.make_kwargs
        chosen = default_backend(self.name, self.num_envs, is_rendered=is_rendered)
        return chosen if chosen == "serial" or _can_travel(self.make_kwargs) else "serial"

    def _check(self, backend: str) -> None:
        where = self._where(backend)
        if backend not in get_args(BackendName):
            expected = " or ".join(f'"{name}"' for name in get_args(BackendName))
            raise ValueError(message(where, "unknown backend", expected=expected, found=repr(backend)))
        counts = {"num_envs": self.num_envs, "num_processes": self.num_processes, "num_threads": self.num_threads}
        for name, count in counts.items():
            if count is not None and (not isinstance(count, int) or count < 1):
                raise ValueError(message(where, name, expected="an integer >= 1", found=count))
        asked: list[tuple[str, str, object]] = [
            ("num_processes", "process", self.num_processes),
            ("num_threads", "envpool", self.num_threads),
            ("timeout_s", "process", self.timeout_s),
            ("restart_on_failure", "process", self.restart_on_failure or None),
        ]
        for name, owner, found in asked:
            if found is not None and backend != owner:
                fix = f'Leave it out, or use backend="{owner}"'
                raise ValueError(message(where, f"{name} is of no use here", found=found, fix=fix))

    def _where(self, backend: str) -> str:
        return f'GymEnv({self.name}, backend="{backend}")'

    def _serial(self, options: Options) -> Backend:
        make = self._maker(options)
        if self.num_envs is None:
            return SingleBackend(make(), options)
        envs: list[Any] = []
        with closed_on_error(envs):
            for _ in range(self.num_envs):
                envs.append(make())
            return LoopBackend(envs, options)

    def _maker(self, options: Options) -> Callable[[], Any]:
        kwargs = {"render_mode": "rgb_array", **self.make_kwargs} if options.from_pixels else self.make_kwargs
        return partial(make_env, self.name, kwargs, self.own_keywords)


def _can_travel(value: object) -> bool:
    """Whether `value` can be sent to a worker."""
    try:
        cloudpickle.dumps(value)
    except Exception:  # whatever an object raises that does not want to be pickled
        return False
    return True
