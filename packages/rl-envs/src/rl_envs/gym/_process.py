"""Gymnasium envs in worker processes, gathered in one batch."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs._many_envs import stacked_rows
from rl_envs.gym._backend import Backend, Options
from rl_envs.gym._info_plan import InfoPlan
from rl_envs.gym._loop_task import ACTION, CONTROL, MASK, OBSERVED, OUTCOME, LoopDescription, LoopTask
from rl_envs.gym.spaces import SpaceSpecs
from rl_envs.parallel._apart import Exchange, Leaves, apart_entries
from rl_envs.parallel._broken_episodes import BrokenEpisodes
from rl_envs.parallel._pool import PoolOptions, WorkerPool
from rl_envs.parallel._split import available_cores, split_rows
from rl_envs.parallel._table import Layout, TensorForm, forms
from rl_envs.parallel._wiring import RESET, RESET_ALL, STEP
from rl_specs import Composite, FlatDict, NestedKey, SpecError, TensorMap, Unbounded, message

_FLAGS = ("done", "terminated", "truncated")


@final
class ProcessBackend(Backend):
    """Runs Gymnasium envs spread over worker processes; the data are those of a `LoopBackend`, however they are spread.

    Workers that fail may be started anew, as those of a `ParallelEnv` may.

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
        pool = pool or PoolOptions("GymEnv", preload=preloaded())
        self._can_restart = pool.restart_on_failure > 0
        self._broken: BrokenEpisodes | None = None
        self._taken: list[int | None] = [None] * count
        tasks = [partial(LoopTask, makers[rows], rows.start, options) for rows in self._slices]
        self._pool = WorkerPool(tasks, pool)
        try:
            self._connect(count, options)
        except BaseException:
            self._pool.close()
            raise

    def _connect(self, count: int, options: Options) -> None:
        descriptions: list[LoopDescription] = self._pool.descriptions
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
        self._share(self._layout, {})

    def _share(self, layout: Layout, apart: Leaves) -> None:
        """Connect to the workers.

        Args:
            layout: what travels through shared memory.
            apart: what has no place there, for one env.
        """
        if self._can_restart:
            self._broken = BrokenEpisodes(_episode_specs(layout, apart, self.batch_size), self._slices)
        table = self._pool.share(layout)
        self._exchange: Exchange | None = None
        if apart:
            zeros = {key: leaf.zero() for key, leaf in apart.items()}
            self._exchange = Exchange(self._pool, self._slices, [zeros] * len(self._taken))
        self._runner = self._exchange or self._pool
        self._actions = list(table[ACTION].items())
        self._observed = list(table[OBSERVED].items())
        self._returned = [*self._observed, *table[OUTCOME].items()]
        self._mask = table[CONTROL][MASK].numpy()

    def reset(self, rows: np.ndarray[Any, Any] | None) -> FlatDict:
        """See `Backend`. Rows that are not reset come back as they were last."""
        self._pool.check_usable()
        self._hand_on_seeds(self.take_seeds(rows))
        replaced: Sequence[int]
        if rows is None:
            replaced = self._run(RESET_ALL)
        else:
            self._mask[:] = rows
            replaced = self._run(RESET, [worker for worker, part in enumerate(self._slices) if rows[part].any()])
        fresh = {key: value.clone() for key, value in self._observed}
        if self._exchange is not None:
            fresh.update(stacked_rows(self._exchange.rows))
        if self._broken is not None:
            self._broken.after_reset(fresh, None if rows is None else torch.from_numpy(rows).unsqueeze(-1), replaced)
        return fresh

    def step(self, data: TensorMap) -> FlatDict:
        """See `Backend`."""
        self._pool.check_usable()
        for key, target in self._actions:
            target.copy_(data[key].detach())
        replaced = self._run(STEP)
        entries: FlatDict = {key: value.clone() for key, value in self._returned}
        if self._exchange is not None:
            entries.update(stacked_rows(self._exchange.rows))
        return entries if self._broken is None else self._broken.after_step(entries, replaced)

    def _hand_on_seeds(self, seeds: Sequence[int | None]) -> None:
        """Seed the envs that have one waiting; a worker that is started anew takes the last of each of its own."""
        if all(seed is None for seed in seeds):
            return
        self._taken = [old if seed is None else seed for seed, old in zip(seeds, self._taken, strict=True)]
        self._call("seed", [(seeds[part], self._taken[part]) for part in self._slices], is_lasting=True)

    def sample_infos(self) -> list[dict[str, Any]]:
        """See `Backend`."""
        is_asked = [worker == 0 for worker in range(len(self._slices))]
        samples: list[dict[str, Any]] = self._call("sample_infos", is_asked)[0]
        return samples

    def set_infos(self, plan: InfoPlan) -> None:
        """See `Backend`."""
        self._call("set_infos", [plan] * len(self._slices), is_lasting=True)
        self._release()
        batch = self.batch_size
        specs = {key: spec.expand((*batch, *spec.shape)) for key, spec in plan.specs().items()}
        observed = {**self._layout[OBSERVED], **forms(Composite(specs, shape=batch))}
        self._share({**self._layout, OBSERVED: observed}, apart_entries(Composite(plan.specs())))

    def frame(self) -> Tensor:
        """See `Backend`."""
        return torch.cat(self._call("frame", [None] * len(self._slices)))

    def envs(self) -> list[Any]:
        """See `Backend`; they are in other processes."""
        return []

    def missing_state(self) -> str | None:
        """See `Backend`."""
        parts = self._call("missing_state", [None] * len(self._slices))
        return next((part for part in parts if part is not None), None)

    def states(self) -> list[Any]:
        """See `Backend`."""
        return [state for states in self._call("states", [None] * len(self._slices)) for state in states]

    def set_states(self, states: Sequence[Any]) -> None:
        """See `Backend`."""
        self._call("set_states", [states[rows] for rows in self._slices], is_lasting=True)
        if self._broken is not None:
            self._broken.forget()

    def close(self) -> None:
        """See `Backend`."""
        self._release()
        self._pool.close()

    def _call(self, method: str, arguments: Sequence[Any], *, is_lasting: bool = False) -> list[Any]:
        answers = self._pool.call(method, arguments, is_lasting=is_lasting)
        if self._broken is not None:
            self._broken.lose(self._pool.mend())
        return answers

    def _run(self, command: bytes, workers: Sequence[int] | None = None) -> Sequence[int]:
        try:
            return self._runner.run(command, workers)
        except BaseException:
            self._release()  # the pool is closed; what raised may be held for long
            raise

    def _release(self) -> None:
        """Let go of the shared memory."""
        self._actions, self._observed, self._returned = [], [], []
        self._mask = np.zeros(0, dtype=np.bool_)


def _layout(description: LoopDescription, count: int, options: Options) -> Layout:
    batch = torch.Size((count,))
    specs = SpaceSpecs(device=None, categorical=options.categorical, limits=options.limits)
    observed = forms(specs.of_observation(description.observation_space, batch))
    if description.frame_shape is not None:
        observed = {} if options.pixels_only else observed
        observed["pixels"] = TensorForm((count, *description.frame_shape), torch.uint8)
    outcome: dict[NestedKey, TensorForm] = {"reward": TensorForm((count, 1), torch.float32)}
    outcome.update({flag: TensorForm((count, 1), torch.bool) for flag in _FLAGS})
    return {
        ACTION: forms(Composite({"action": specs.of(description.action_space, batch)}, shape=batch)),
        OBSERVED: observed,
        OUTCOME: outcome,
        CONTROL: {MASK: TensorForm((count,), torch.bool)},
    }


def _episode_specs(layout: Layout, apart: Leaves, batch: torch.Size) -> EnvSpecs:
    """The entries of resets and steps, of which the shapes and dtypes alone are of interest."""
    observed, outcome = (
        {key: Unbounded(form.shape, dtype=form.dtype) for key, form in layout[name].items()}
        for name in (OBSERVED, OUTCOME)
    )
    others = {key: leaf.expand((*batch, *leaf.shape)) for key, leaf in apart.items()}
    reward = {"reward": outcome.pop("reward")}
    nothing = Composite({}, shape=batch)
    return EnvSpecs(
        observation=Composite({**observed, **others}, shape=batch),
        action=nothing,
        reward=Composite(reward, shape=batch),
        done=Composite(outcome, shape=batch),
        state=nothing,
    )


def preloaded() -> tuple[str, ...]:
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
