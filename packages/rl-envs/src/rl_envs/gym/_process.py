"""Gymnasium envs in worker processes, gathered in one batch."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from rl_envs._closing import closed_on_error
from rl_envs.gym._backend import Backend, Options
from rl_envs.gym._info_plan import InfoPlan
from rl_envs.gym._loop import LoopBackend
from rl_envs.gym._render import rendered
from rl_envs.gym.spaces import SpaceSpecs
from rl_envs.parallel._pool import PoolOptions, WorkerPool
from rl_envs.parallel._split import available_cores, split_rows
from rl_envs.parallel._table import Layout, Table, TensorForm, forms
from rl_envs.parallel._wiring import RESET, RESET_ALL, STEP
from rl_envs.parallel._worker import Task
from rl_specs import Composite, FlatDict, NestedKey, SpecError, TensorMap, message

_ACTION, _OBSERVED, _OUTCOME, _CONTROL = "action", "observed", "outcome", "control"
_FLAGS = ("done", "terminated", "truncated")
_MASK = "mask"


@dataclass(frozen=True)
class _Description:
    """What the parent needs to know of the envs of a worker: their spaces, a frame's shape, their id."""

    observation_space: Any
    action_space: Any
    frame_shape: tuple[int, ...] | None
    env_id: str


@final
class ProcessBackend(Backend):
    """Runs Gymnasium envs spread over worker processes; the data are those of a `LoopBackend`, however they are spread.

    Args:
        makers: for each env a callable that makes it, in its worker.
        options: how to run the envs.
        num_processes: number of workers; None: one for each available core, and no more than envs.
        pool: how to run the workers; None: the defaults.
    Raises:
        ValueError: no process, or more than there are envs.
        SpecError: the envs have different spaces, or such as have no tensors.
        MemoryError, TypeError, WorkerError: see `WorkerPool`.
    """

    def __init__(
        self,
        makers: Sequence[Callable[[], Any]],
        options: Options,
        *,
        num_processes: int | None = None,
        pool: PoolOptions | None = None,
    ) -> None:
        count = len(makers)
        processes = min(available_cores(), count) if num_processes is None else num_processes
        self._slices = split_rows("GymEnv", count, processes)
        tasks = [partial(LoopTask, makers[rows], rows.start, options) for rows in self._slices]
        self._pool = WorkerPool(tasks, pool or PoolOptions("GymEnv", preload=_preload()))
        try:
            self._connect(count, options)
        except BaseException:
            self._pool.close()
            raise

    def _connect(self, count: int, options: Options) -> None:
        descriptions: list[_Description] = self._pool.descriptions
        first = descriptions[0]
        super().__init__(count, name=first.env_id)
        for worker, each in enumerate(descriptions):
            if (each.observation_space, each.action_space) != (first.observation_space, first.action_space):
                raise SpecError(
                    message(
                        "GymEnv",
                        f"the spaces of the envs in worker {worker} differ from those in worker 0",
                        expected=f"{first.observation_space}, {first.action_space}",
                        found=f"{each.observation_space}, {each.action_space}",
                        fix="Make all of them the same",
                    )
                )
        self.batch_size = torch.Size((count,))
        self.observation_space = first.observation_space
        self.action_space = first.action_space
        self._layout = _layout(first, count, options)
        self._share(self._layout)

    def _share(self, layout: Layout) -> None:
        table = self._pool.share(layout)
        self._actions = list(table[_ACTION].items())
        self._observed = list(table[_OBSERVED].items())
        self._outcome = list(table[_OUTCOME].items())
        self._mask = table[_CONTROL][_MASK].numpy()

    def reset(self, rows: np.ndarray[Any, Any] | None) -> FlatDict:
        """See `Backend`. Rows that are not reset come back as they were last."""
        self._pool.check_usable()
        seeds = self.take_seeds(rows)
        if any(seed is not None for seed in seeds):
            self._pool.call("seed", [seeds[part] for part in self._slices])
        if rows is None:
            self._run(RESET_ALL)
        else:
            self._mask[:] = rows
            self._run(RESET, [worker for worker, part in enumerate(self._slices) if rows[part].any()])
        return {key: value.clone() for key, value in self._observed}

    def step(self, data: TensorMap) -> FlatDict:
        """See `Backend`."""
        self._pool.check_usable()
        for key, target in self._actions:
            target.copy_(data[key].detach())
        self._run(STEP)
        entries: FlatDict = {key: value.clone() for key, value in self._observed}
        for key, value in self._outcome:
            entries[key] = value.clone()
        return entries

    def sample_infos(self) -> list[dict[str, Any]]:
        """See `Backend`."""
        is_asked = [worker == 0 for worker in range(len(self._slices))]
        samples: list[dict[str, Any]] = self._pool.call("sample_infos", is_asked)[0]
        return samples

    def set_infos(self, plan: InfoPlan) -> None:
        """See `Backend`."""
        self._pool.call("set_infos", [plan] * len(self._slices))
        self._release()
        batch = self.batch_size
        specs = {key: spec.expand((*batch, *spec.shape)) for key, spec in plan.specs().items()}
        observed = {**self._layout[_OBSERVED], **forms("GymEnv", Composite(specs, shape=batch))}
        self._share({**self._layout, _OBSERVED: observed})

    def frame(self) -> Tensor:
        """See `Backend`."""
        return torch.cat(self._pool.call("frame", [None] * len(self._slices)))

    def envs(self) -> list[Any]:
        """See `Backend`; they are in other processes."""
        return []

    def missing_state(self) -> str | None:
        """See `Backend`."""
        parts = self._pool.call("missing_state", [None] * len(self._slices))
        return next((part for part in parts if part is not None), None)

    def states(self) -> list[Any]:
        """See `Backend`."""
        return [state for states in self._pool.call("states", [None] * len(self._slices)) for state in states]

    def set_states(self, states: Sequence[Any]) -> None:
        """See `Backend`."""
        self._pool.call("set_states", [states[rows] for rows in self._slices])

    def close(self) -> None:
        """See `Backend`."""
        self._release()
        self._pool.close()

    def _run(self, command: bytes, workers: Sequence[int] | None = None) -> None:
        try:
            self._pool.run(command, workers)
        except BaseException:
            self._release()  # the pool is closed; what raised may be held for long
            raise

    def _release(self) -> None:
        """Let go of the shared memory."""
        self._actions, self._observed, self._outcome = [], [], []
        self._mask = np.zeros(0, dtype=np.bool_)


@final
class LoopTask(Task):
    """Runs the envs of one worker in a `LoopBackend`.

    Args:
        makers: make the envs.
        first: row of the first one.
        options: how to run them.
    """

    def __init__(self, makers: Sequence[Callable[[], Any]], first: int, options: Options) -> None:
        self._envs: list[Any] = []
        with closed_on_error(self._envs):
            for make in makers:
                self._envs.append(make())
            self._loop = LoopBackend(self._envs, options)
        self._options = options
        self._rows = slice(first, first + len(makers))

    def describe(self) -> _Description:
        """See `Task`."""
        frame_shape = None
        if self._options.from_pixels:
            self._envs[0].reset()
            frame_shape = rendered(self._envs[0]).shape
        loop = self._loop
        return _Description(loop.observation_space, loop.action_space, frame_shape, loop.env_id())

    def connect(self, table: Table) -> None:
        """See `Task`."""
        self._actions = {key: value[self._rows] for key, value in table[_ACTION].items()}
        self._observed = [(key, value[self._rows]) for key, value in table[_OBSERVED].items()]
        self._outcome = [(key, value[self._rows]) for key, value in table[_OUTCOME].items()]
        self._mask = table[_CONTROL][_MASK].numpy()[self._rows]

    def step(self) -> None:
        """See `Task`; the codecs copy the actions."""
        entries = self._loop.step(self._actions)
        for key, target in self._observed:
            target.copy_(entries[key])
        for key, target in self._outcome:
            target.copy_(entries[key])

    def reset(self, *, is_partial: bool) -> None:
        """See `Task`."""
        rows = self._mask.copy() if is_partial else None
        entries = self._loop.reset(rows)
        for key, target in self._observed:
            target.copy_(entries[key])

    def call(self, method: str, argument: Any) -> Any:
        """See `Task`."""
        match method:
            case "seed":
                return self._loop.seed(argument)
            case "sample_infos":
                return self._loop.sample_infos() if argument else []
            case "set_infos":
                return self._loop.set_infos(argument)
            case "frame":
                return self._loop.frame()
            case "missing_state":
                return self._loop.missing_state()
            case "states":
                return self._loop.states()
            case "set_states":
                return self._loop.set_states(argument)
        raise ValueError(message("LoopTask.call", "unknown method", found=method))

    def close(self) -> None:
        """See `Task`."""
        self._loop.close()


def _layout(description: _Description, count: int, options: Options) -> Layout:
    batch = torch.Size((count,))
    specs = SpaceSpecs(device=None, categorical=options.categorical, limits=options.limits)
    observed = forms("GymEnv", specs.of_observation(description.observation_space, batch))
    if description.frame_shape is not None:
        observed = {} if options.pixels_only else observed
        observed["pixels"] = TensorForm((count, *description.frame_shape), torch.uint8)
    outcome: dict[NestedKey, TensorForm] = {"reward": TensorForm((count, 1), torch.float32)}
    outcome.update({flag: TensorForm((count, 1), torch.bool) for flag in _FLAGS})
    return {
        _ACTION: forms("GymEnv", Composite({"action": specs.of(description.action_space, batch)}, shape=batch)),
        _OBSERVED: observed,
        _OUTCOME: outcome,
        _CONTROL: {_MASK: TensorForm((count,), torch.bool)},
    }


def _preload() -> tuple[str, ...]:
    """Modules that the workers will need."""
    return ("gymnasium", *(name for name in ("mujoco", "ale_py") if name in sys.modules))


def portable_maker(name: str, make: Callable[[], Any]) -> Callable[[], Any]:
    """`make`, for a process in which the id that it asks for may not have been registered.

    Args:
        name: id of the env.
        make: calls `gymnasium.make` with it.
    """
    import gymnasium

    return partial(_register_and_make, gymnasium.registry.get(name), make)


def _register_and_make(spec: Any, make: Callable[[], Any]) -> Any:
    import gymnasium

    if spec is not None:
        gymnasium.registry.setdefault(spec.id, spec)
    return make()
