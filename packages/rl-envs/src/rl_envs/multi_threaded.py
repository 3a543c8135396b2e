"""Environments of EnvPool by name, stepped by native threads."""

from collections.abc import Mapping
from typing import Any

import torch

from rl_envs.gym import GymEnv, GymWrapper
from rl_envs.gym._request import EnvRequest


class MultiThreadedEnv(GymEnv):
    """`GymEnv(env_name, num_envs=num_workers, backend="envpool")`: environments in C++, with their own random streams.

    Args:
        num_workers: number of environments, stepped as one batch `[num_workers]`.
        env_name: EnvPool's name of the environment, one of `envpool.list_all_envs()`.
        create_env_kwargs: keyword arguments for `envpool.make`, such as its own `frame_skip`.
        categorical_action_encoding: discrete spaces as indices rather than one-hot.
        frame_skip: steps per action; EnvPool's environments have options of their own for more than 1.
        num_threads: native threads; None: one per core. The data do not depend on it.
        device: device of the tensors; the environments run on the CPU.
    Raises:
        ImportError: EnvPool is not installed.
        TypeError: a keyword that the environment does not take.
        ValueError: EnvPool has no environment of that name; a number that makes no sense.
    """

    def __init__(
        self,
        num_workers: int,
        env_name: str,
        *,
        create_env_kwargs: Mapping[str, Any] | None = None,
        categorical_action_encoding: bool = False,
        frame_skip: int = 1,
        num_threads: int | None = None,
        device: torch.device | str | int | None = None,
    ) -> None:
        request = EnvRequest(
            name=env_name,
            num_envs=num_workers,
            backend="envpool",
            num_processes=None,
            num_threads=num_threads,
            make_kwargs=dict(create_env_kwargs or {}),
            own_keywords=(),
        )
        GymWrapper.__init__(  # not that of GymEnv, among whose own names are options of EnvPool
            self,
            request,
            device=device,
            frame_skip=frame_skip,
            categorical_action_encoding=categorical_action_encoding,
        )
