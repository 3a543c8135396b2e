"""What an asynchronous pool is made of: its options, checked, and the backend that they ask for."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

from rl_envs._env_base import EnvBase
from rl_envs._many_envs import EnvKwargs, env_makers
from rl_envs.parallel._async_backend import AsyncBackend
from rl_envs.parallel._async_processes import ProcessesBackend
from rl_envs.parallel._async_threads import ThreadBackend
from rl_envs.parallel._launch import StartMethod
from rl_envs.parallel._pool import PoolOptions
from rl_specs import message

NAME = "AsyncEnvPool"
BackendName: TypeAlias = Literal["threading", "multiprocessing"]
StackName: TypeAlias = Literal["dense", "maybe_dense", "lazy"]


def check_choice(option: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse what is not among the choices.

    Raises:
        ValueError: it is not.
    """
    if value not in choices:
        expected = " or ".join(f'"{choice}"' for choice in choices)
        raise ValueError(message(NAME, option, expected=expected, found=repr(value)))


def checked_min_get(min_get: object, count: int) -> int:
    """A number of results to wait for, of `count` environments.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(min_get, int) or not 1 <= min_get <= count:
        expected = f"an integer from 1 to the number of environments, {count}"
        raise ValueError(message(NAME, "min_get", expected=expected, found=min_get))
    return min_get


def checked_makers(given: object, backend: str, create_env_kwargs: EnvKwargs) -> list[Callable[[], Any]]:
    """One callable per environment.

    Args:
        given: a callable, an environment, or a list of such.
        backend: what the environments will run in.
        create_env_kwargs: keyword arguments for the callables.
    Raises:
        TypeError: something is neither a callable nor an environment, or cannot go where it is to run.
        ValueError: there is none, or arguments for environments that have been made.
    """
    check_choice("backend", backend, get_args(BackendName))
    listed = list(given) if isinstance(given, list | tuple) else [given]
    if not listed:
        fix = 'Pass a list of callables, such as [lambda: GymEnv("CartPole-v1")] * 4'
        raise ValueError(message(NAME, "env_makers", expected="one environment or more", found="none", fix=fix))
    made = [each for each in listed if isinstance(each, EnvBase)]
    if made and backend == "multiprocessing":
        problem, fix = "an environment cannot move to another process", "Pass a callable that makes it there"
        raise TypeError(message(NAME, problem, found=type(made[0]).__name__, fix=fix))
    if made and create_env_kwargs is not None:
        raise ValueError(message(NAME, "create_env_kwargs are of no use to environments that have been made"))
    makers = [partial(_itself, each) if isinstance(each, EnvBase) else each for each in listed]
    return env_makers(NAME, len(makers), makers, create_env_kwargs)


def start_backend(
    makers: list[Callable[[], Any]],
    backend: BackendName,
    *,
    num_processes: int | None,
    start_method: StartMethod | None,
    timeout_s: float | None,
    restart_on_failure: int,
) -> AsyncBackend:
    """Start what runs the environments; see `AsyncEnvPool`.

    Raises:
        ValueError: threads are asked for something that only processes have.
    """
    options = PoolOptions(NAME, start_method or "forkserver", timeout_s, restart_on_failure=restart_on_failure)
    if backend == "multiprocessing":
        return ProcessesBackend(makers, len(makers) if num_processes is None else num_processes, options)
    restarts = restart_on_failure or None
    for name, value in (
        ("num_processes", num_processes),
        ("start_method", start_method),
        ("restart_on_failure", restarts),
    ):
        if value is not None:
            fix = 'Leave it out, or pass backend="multiprocessing"'
            raise ValueError(message(NAME, f"{name} is of no use to threads", found=repr(value), fix=fix))
    return ThreadBackend(NAME, makers, timeout_s)


def _itself(env: EnvBase) -> EnvBase:
    return env
