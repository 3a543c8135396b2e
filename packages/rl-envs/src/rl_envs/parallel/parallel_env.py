"""Several environments in worker processes, as one batch."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY
from rl_envs._env_specs import EnvSpecs
from rl_envs._errors import StateNotSupportedError
from rl_envs._flat import unpack_flat
from rl_envs._many_envs import EnvKwargs, check_state_parts, env_makers
from rl_envs._mixed_envs import stacked_env_specs
from rl_envs.parallel._apart import ApartEntries
from rl_envs.parallel._broken_episodes import BrokenEpisodes
from rl_envs.parallel._env_task import Description, EnvTask, portable_rows
from rl_envs.parallel._launch import StartMethod
from rl_envs.parallel._pool import PoolOptions, WorkerPool
from rl_envs.parallel._row_wise import RowWise
from rl_envs.parallel._sections import (
    CONTROL,
    FRESH,
    GIVEN,
    KEPT,
    NEXT,
    ROOT,
    SOURCES,
    is_mixed,
    table_layout,
)
from rl_envs.parallel._split import split_rows
from rl_envs.parallel._wiring import RESET, RESET_ALL, STEP
from rl_specs import FlatDict, NestedKey, TensorMap, message

_PRELOAD = ("gymnasium", "mujoco")


@final
class ParallelEnv(EnvBase):
    """Environments in worker processes, stepped at the same time, `[N, *B]`; the data are those of a `SerialEnv`.

    Actions and what comes back travel through shared memory; nothing is pickled in a step, but for text, objects, and
    tensors of sizes that the specs leave open, where environments have such. A worker is handed those root entries that
    are in the specs of its environment: other entries, such as what a policy writes besides the action, stay here. A
    reset of everything is handed all entries that it is given. Tensors are copies: gradients do not pass. Each worker
    computes with one torch thread. Draws from the global generators of torch, numpy and `random` differ between workers
    and follow this process's torch seed.

    The environments may differ as those of a `SerialEnv` may.

    The workers end with `close()`, with this object, and with this process, however it ends, and so does what they have
    started themselves. When one fails, the error has its index and its traceback, exit code or signal, and all of them
    are closed; or, with `restart_on_failure`, it is started anew. The episodes of its environments then end with a step
    that repeats the last observation, with reward 0, `truncated` and `done`; all other rows are what they would have
    been. What has been started anew begins its random streams from their start, in the mode and from the state that was
    set last; what transforms in the worker had gathered since, such as the statistics of `VecNorm`, is lost: keep those
    around this environment. Each restart is told to the logger `"rl_envs.parallel"`, with the failure.

    Args:
        num_workers: number of environments `N`.
        create_env_fn: makes an environment, or a list of `N` such callables. They run in the workers; lambdas and local
            functions can be sent there too (with cloudpickle).
        create_env_kwargs: keyword arguments for `create_env_fn`: one mapping for all environments, or a list of `N`.
        num_processes: number of processes over which the environments are spread; None: one for each. Environments that
            compute all the time are faster with as many as there are cores, those that wait with one each. The data do
            not depend on it.
        start_method: `"forkserver"`: one fresh interpreter, from which the workers are forked: safe beside threads and
            CUDA, and scripts need no `if __name__ == "__main__"`. `"spawn"`: a fresh interpreter each. `"fork"`: copies
            of this process, which start in milliseconds and need nothing to be pickled, but can lock up when other
            threads run here.
        timeout_s: longest time for a step or a reset, after which the workers are killed; None: no limit.
        restart_on_failure: how many times each worker that fails is started anew; 0: none is.
    Raises:
        ValueError: a number, a start method or a limit that makes no sense; another number of callables.
        TypeError: something that is not a callable, not one that gives an environment, or that cannot be pickled.
        SpecError: see `SerialEnv`.
        MemoryError: there is no room for the shared memory.
        WorkerError: a worker ended while it made its environments.
    """

    accepts_mapping = True

    def __init__(
        self,
        num_workers: int,
        create_env_fn: Callable[..., EnvBase] | Sequence[Callable[..., EnvBase]],
        *,
        create_env_kwargs: EnvKwargs = None,
        num_processes: int | None = None,
        start_method: StartMethod = "forkserver",
        timeout_s: float | None = None,
        restart_on_failure: int = 0,
    ) -> None:
        makers = env_makers("ParallelEnv", num_workers, create_env_fn, create_env_kwargs)
        preload = tuple(name for name in _PRELOAD if name in sys.modules)
        options = PoolOptions("ParallelEnv", start_method, timeout_s, preload, restart_on_failure)
        self._can_restart = restart_on_failure > 0
        processes = num_workers if num_processes is None else num_processes
        self._slices = split_rows("ParallelEnv", num_workers, processes)
        self._pool = WorkerPool([partial(EnvTask, makers[part], part.start) for part in self._slices], options)
        try:
            self._connect(num_workers)
        except BaseException:
            self._pool.close()
            raise

    def _connect(self, count: int) -> None:
        descriptions: list[Description] = self._pool.descriptions
        specs = [each for description in descriptions for each in description.specs]
        first = descriptions[0]
        super().__init__(device=first.device, batch_size=(count, *first.batch_size))
        self._representation = first.representation
        self._carried = {key: fixed for each in descriptions for key, fixed in each.carried.items()}
        self._has_exact_state = all(description.has_exact_state for description in descriptions)
        self.resets_members = all(description.resets_members for description in descriptions)
        self._specs: EnvSpecs = stacked_env_specs("ParallelEnv", specs)
        self._broken = BrokenEpisodes(self._specs, self._slices) if self._can_restart else None
        self._share(specs)

    def _share(self, specs: Sequence[EnvSpecs]) -> None:
        table = self._pool.share(table_layout(self._specs, has_member_masks=self.resets_members))
        self._moves = self._device is not None and self._device.type != "cpu"
        is_plain = not is_mixed(table) and not any(ApartEntries(each) for each in specs)
        self._row_wise = None if is_plain else RowWise(self._pool, table, specs, self._slices)
        self._runner = self._row_wise or self._pool
        self._inputs = list(table[ROOT].items()) if is_plain else []
        self._outputs = list(table[NEXT].items()) if is_plain else []
        self._fresh = list(table[FRESH].items()) if is_plain else []
        self._mask = table[CONTROL][RESET_KEY]
        self._sources = table[CONTROL][SOURCES].numpy()
        self._written = b""
        self._returned: dict[NestedKey, tuple[Tensor, int]] = {}

    @property
    def num_processes(self) -> int:
        """Number of worker processes."""
        return len(self._slices)

    def _step(self, data: TensorMap) -> FlatDict:
        self._pool.check_usable()
        if self._row_wise is not None:
            return self._step_rows(self._row_wise, data)
        self._hand_over(data)
        replaced = self._run(STEP)
        entries = {key: value.clone() for key, value in self._outputs}
        following = entries if self._broken is None else self._broken.after_step(entries, replaced)
        is_known = following is entries and not torch.is_inference_mode_enabled()
        if self._moves:
            following = self._moved(following)
        self._returned = {}
        if is_known:  # tensors of inference mode do not tell whether they were changed
            self._returned = {key: (value, value._version) for key, value in following.items()}
        return following

    def _step_rows(self, row_wise: RowWise, data: TensorMap) -> FlatDict:
        self._hand_over_rows(row_wise, data)
        replaced = self._run(STEP)
        following = row_wise.following()
        if self._broken is not None:
            following = self._broken.after_step(following, replaced)
        return self._moved(following) if self._moves else following

    def _reset(self, data: TensorMap | None) -> FlatDict:
        self._pool.check_usable()
        mask = None if data is None else data.get(RESET_KEY, None)
        rows: Tensor | None = None
        replaced: Sequence[int] = ()
        if data is None or mask is None:
            if data is not None:
                self._hand_on(data)
            replaced = self._run(RESET_ALL)
        else:
            rows = mask.detach().cpu().reshape(self._mask.shape)
            concerned = rows.flatten(1).any(1).tolist()
            workers = [worker for worker, part in enumerate(self._slices) if any(concerned[part])]
            if workers:
                self._mask.copy_(rows)
                if self._row_wise is None:
                    self._hand_over(data)
                else:
                    self._hand_over_rows(self._row_wise, data)
                replaced = self._run(RESET, workers)
        fresh = {key: value.clone() for key, value in self._fresh} if self._row_wise is None else self._row_wise.fresh()
        if self._broken is not None:
            self._broken.after_reset(fresh, rows, replaced)
        return self._moved(fresh) if self._moves else fresh

    def _hand_on(self, data: TensorMap) -> None:
        """Send entries to a reset of everything, which is rare: all of them, whether specs have them or not."""
        entries = unpack_flat(data)
        self._pool.call("hand_on", [portable_rows(entries, part) for part in self._slices])
        self._note_replaced()

    def _run(self, command: bytes, workers: Sequence[int] | None = None) -> Sequence[int]:
        try:
            replaced = self._runner.run(command, workers)
        except BaseException:
            self._release()  # the pool is closed; what raised may be held for long
            raise
        if replaced:  # those do not have what their predecessors returned
            self._returned = {}
        return replaced

    def _release(self) -> None:
        """Let go of the shared memory."""
        self._inputs, self._outputs, self._fresh, self._returned = [], [], [], {}
        if self._row_wise is not None:
            self._row_wise.release()
        self._mask, self._sources = torch.empty(0, dtype=torch.bool), np.empty(0, dtype=np.uint8)

    def _hand_over(self, data: TensorMap) -> None:
        """Write the root entries where the workers read them.

        What comes back as the last step returned it, the workers have themselves. An entry of another form than its
        spec's is one that transforms around this environment have made, and not one that it can read.
        """
        sources = bytearray(len(self._inputs))
        for position, (key, target) in enumerate(self._inputs):
            value = data.get(key, None)
            returned = self._returned.get(key)
            if returned is not None and returned[0] is value and value._version == returned[1]:
                sources[position] = KEPT
            elif value is not None and value.dtype is target.dtype and value.shape == target.shape:
                target.copy_(value.detach() if value.requires_grad else value)
                sources[position] = GIVEN
        if sources != self._written:
            self._written = bytes(sources)
            self._sources[:] = list(sources)

    def _hand_over_rows(self, row_wise: RowWise, data: TensorMap) -> None:
        """`_hand_over`, environment by environment."""
        self._sources[:] = list(row_wise.hand_over(unpack_flat(data)))

    def _moved(self, entries: FlatDict) -> FlatDict:
        return {key: value.to(self._device) for key, value in entries.items()}

    def _set_seed(self, seed: int) -> None:
        self._set_stream(seed, 0)

    def _set_stream(self, seed: int, first_index: int) -> None:
        self._call("set_stream", (seed, first_index), is_lasting=True)

    def _set_training(self, mode: bool) -> None:
        self._call("train", mode, is_lasting=True)

    def _to(self, device: torch.device) -> None:
        self._moves = device.type != "cpu"

    def _close(self) -> None:
        self._release()
        self._pool.close()

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return self._carried

    def _repr_fields(self) -> dict[str, object]:
        count = self._batch_size[0]
        return {"num_workers": count, "num_processes": self.num_processes, "env": self._representation}

    @property
    def has_exact_state(self) -> bool:
        """Whether each environment has an exact state."""
        return self._has_exact_state

    def get_state(self) -> dict[str, Any]:
        """State of each environment, as that of a `SerialEnv`; see `EnvBase.get_state`."""
        if not self._has_exact_state:
            fix = "Restart it at an episode boundary with reset()"
            raise StateNotSupportedError(message("ParallelEnv", "an environment has no exact state", fix=fix))
        return self._gather("get_state")

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, here or in a `SerialEnv`."""
        self._scatter("set_state", state)

    def state_dict(self) -> dict[str, Any]:
        """`state_dict` of each environment, as that of a `SerialEnv`."""
        return self._gather("state_dict")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned, here or in a `SerialEnv`."""
        self._scatter("load_state_dict", state)

    def _call(self, method: str, argument: Any, *, is_lasting: bool = False) -> list[Any]:
        self._check_open(method)
        answers = self._pool.call(method, [argument] * len(self._slices), is_lasting=is_lasting)
        self._note_replaced()
        return answers

    def _note_replaced(self) -> None:
        """Take note of workers that were started anew outside of steps and resets."""
        if self._broken is not None and (replaced := self._pool.mend()):
            self._returned = {}
            self._broken.lose(replaced)

    def _gather(self, method: str) -> dict[str, Any]:
        return {"envs": [state for states in self._call(method, None) for state in states]}

    def _scatter(self, method: str, state: Mapping[str, Any]) -> None:
        self._check_open(method)
        parts = check_state_parts(f"ParallelEnv.{method}", state, self._batch_size[0])
        self.drive(None)
        self._pool.call(method, [parts[rows] for rows in self._slices], is_lasting=True)
        self._note_replaced()
        if self._broken is not None:
            self._broken.forget()
