"""Gymnasium environments by name."""

import inspect
from typing import Any

import torch

from rl_envs.gym._request import BackendName, EnvRequest
from rl_envs.gym._wrapper import GymWrapper
from rl_specs import NestedKey


class GymEnv(GymWrapper):
    """`GymWrapper` over environments by name: those of `gymnasium.make`, or EnvPool's.

    Args:
        env_name: id of a registered env, e.g. `"HalfCheetah-v5"`; with `backend="envpool"`, EnvPool's name of one.
        num_envs: number of envs, stepped as one batch `[num_envs]`; None: one env, no batch dimension. The stream of
            env `i` depends on the seed and `i` alone.
        backend: `"serial"`: in this process, one after the other. `"process"`: spread over worker processes, with the
            same data, bit for bit. `"envpool"`: EnvPool's own environments in C++, stepped by native threads, with
            random streams of their own, without exact state. None: the faster one of the first two, which is
            `"process"` for 16 or more MuJoCo, Box2D or Atari environments that do not render, on two cores or more.
        num_processes: worker processes of `"process"`; None: one per core. The data do not depend on it.
        num_threads: native threads of `"envpool"`; None: one per core. The data do not depend on it.
        timeout_s: with `"process"`, the longest time for a step or a reset, after which the workers are killed; None:
            no limit.
        restart_on_failure: with `"process"`, how many times each worker that fails is started anew; see `ParallelEnv`,
            which says what becomes of the episodes of its environments.
        device: see `GymWrapper`.
        frame_skip: see `GymWrapper`.
        from_pixels: see `GymWrapper`; sets `render_mode="rgb_array"`.
        pixels_only: see `GymWrapper`.
        categorical_action_encoding: see `GymWrapper`.
        action_mask: see `GymWrapper`.
        max_sequence_length: see `GymWrapper`.
        max_graph_nodes: see `GymWrapper`.
        max_graph_edges: see `GymWrapper`.
        **make_kwargs: handed on to `gymnasium.make`, or to `envpool.make`.
    Raises:
        ImportError: EnvPool is asked for and not installed.
        TypeError: a keyword that neither this class nor the environment takes.
        ValueError: the name is not registered (the message lists near matches); the backend does not take an option.
        WorkerError: a worker process ended.
    """

    def __init__(
        self,
        env_name: str,
        *,
        num_envs: int | None = None,
        backend: BackendName | None = None,
        num_processes: int | None = None,
        num_threads: int | None = None,
        timeout_s: float | None = None,
        restart_on_failure: int = 0,
        device: torch.device | str | int | None = None,
        frame_skip: int = 1,
        from_pixels: bool = False,
        pixels_only: bool = True,
        categorical_action_encoding: bool = False,
        action_mask: NestedKey | None = None,
        max_sequence_length: int | None = None,
        max_graph_nodes: int | None = None,
        max_graph_edges: int | None = None,
        **make_kwargs: Any,
    ) -> None:
        request = EnvRequest(
            name=env_name,
            num_envs=num_envs,
            backend=backend,
            num_processes=num_processes,
            num_threads=num_threads,
            timeout_s=timeout_s,
            restart_on_failure=restart_on_failure,
            make_kwargs=make_kwargs,
            own_keywords=tuple(inspect.signature(GymEnv).parameters),
        )
        super().__init__(
            request,
            device=device,
            frame_skip=frame_skip,
            from_pixels=from_pixels,
            pixels_only=pixels_only,
            categorical_action_encoding=categorical_action_encoding,
            action_mask=action_mask,
            max_sequence_length=max_sequence_length,
            max_graph_nodes=max_graph_nodes,
            max_graph_edges=max_graph_edges,
        )

    @property
    def env_name(self) -> str:
        """Id of the env."""
        return self._backend.env_id()
