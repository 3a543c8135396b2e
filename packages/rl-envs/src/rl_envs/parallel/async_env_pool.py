"""Environments that are stepped as they become ready."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import torch
from tensordict import LazyStackedTensorDict, TensorDictBase
from torch import Tensor

from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY
from rl_envs._env_specs import EnvSpecs
from rl_envs._errors import StateNotSupportedError
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs._input_checks import check_row_input, check_step_input
from rl_envs._many_envs import EnvKwargs, check_state_parts, stacked_resets, stacked_rows
from rl_envs._mixed_envs import joined_resets, stacked_env_specs
from rl_envs._ragged import joined_rows, row_entries
from rl_envs.parallel._async_options import (
    NAME,
    BackendName,
    StackName,
    check_choice,
    checked_makers,
    checked_min_get,
    start_backend,
)
from rl_envs.parallel._async_rows import INDEX_KEY, next_root, parcels_of, reset_entries, stepped_entries, with_rows
from rl_envs.parallel._async_traffic import Received, Sent, Traffic
from rl_envs.parallel._env_row import Request
from rl_envs.parallel._launch import StartMethod
from rl_specs import FlatDict, NestedKey, SpecError, TensorMap, canonical_key, message


class AsyncEnvPool(EnvBase):
    """Environments that are each stepped as soon as they are asked, `[N, *B]`, while the program does something else.

    ```
    pool = AsyncEnvPool([make] * 8, min_get=4)
    pool.async_reset_send()
    root = pool.async_reset_recv(min_get=8)
    while ...:
        pool.async_step_and_maybe_reset_send(policy(root))
        stepped, root = pool.async_step_and_maybe_reset_recv()  # of 4 environments or more, whichever are ready
    ```

    Data that are sent and received have the batch size `[n, *B]` of the environments that they are of, whose positions
    stand under `"env_index"`, int64 `[n, *B]`; what is received is in the order of these. Each environment does one
    thing at a time. As any environment, it can be stepped and reset as a whole too (`step`, `reset`, `rollout`), while
    nothing is under way. Each row is what its environment alone would give, so that under a seed the data are those of
    a `SerialEnv`, bit for bit, however many processes or threads there are and whichever are ready first. Gradients do
    not pass.

    When an environment fails, the error has its traceback, exit code or signal, and all of them are closed; or, with
    `restart_on_failure`, its worker is started anew. The episodes of that worker's environments then end with a step
    that repeats the last observation, with reward 0, `truncated` and `done`, in answer to what was asked for or to the
    next step that is; see `ParallelEnv`.

    Args:
        env_makers: callables that make the environments; one alone makes one. With threads, environments too.
        backend: `"threading"`: one thread for each; they share this process and its interpreter lock, which suits
            environments that wait or compute in native code. `"multiprocessing"`: worker processes over shared memory.
        stack: `"dense"`: results are stacked. `"lazy"`: they come as a lazy stack, for entries that not all of the
            environments were sent, or that differ. `"maybe_dense"`: stacked where all have an entry, in one shape; a
            lazy stack where one is not so.
        create_env_kwargs: keyword arguments for the callables: one mapping for all of them, or a list of `N`.
        min_get: how many results the methods that receive wait for.
        num_processes: with processes, how many there are; None: one for each environment.
        start_method: with processes, how they are started; see `ParallelEnv`.
        timeout_s: longest time from sending to a result, after which everything is closed; None: no limit.
        restart_on_failure: with processes, how many times each one that fails is started anew; 0: none is.
    Raises:
        ValueError: an option that makes no sense, or that the backend does not have.
        TypeError: something that is not a callable, not one that gives an environment, or that cannot be pickled.
        SpecError: see `SerialEnv`; environments that differ, and `stack="dense"`.
        MemoryError: there is no room for the shared memory.
        WorkerError: a worker ended while it made its environments.
    """

    accepts_mapping = True

    def __init__(
        self,
        env_makers: Callable[..., EnvBase] | EnvBase | Sequence[Callable[..., EnvBase] | EnvBase],
        *,
        backend: BackendName = "threading",
        stack: StackName = "dense",
        create_env_kwargs: EnvKwargs = None,
        min_get: int = 1,
        num_processes: int | None = None,
        start_method: StartMethod | None = None,
        timeout_s: float | None = None,
        restart_on_failure: int = 0,
    ) -> None:
        makers = checked_makers(env_makers, backend, create_env_kwargs)
        check_choice("stack", stack, get_args(StackName))
        self._stack_name = stack
        self._backend_name = backend
        self._min_get = checked_min_get(min_get, len(makers))
        self._backend = start_backend(
            makers,
            backend,
            num_processes=num_processes,
            start_method=start_method,
            timeout_s=timeout_s,
            restart_on_failure=restart_on_failure,
        )
        try:
            self._connect(len(makers), timeout_s)
        except BaseException:
            self._backend.close()
            raise

    def _connect(self, count: int, timeout_s: float | None) -> None:
        descriptions = self._backend.descriptions()
        specs = [each for description in descriptions for each in description.specs]
        first = descriptions[0]
        super().__init__(device=first.device, batch_size=(count, *first.batch_size))
        self._specs = stacked_env_specs(NAME, specs)
        self._row_specs = specs[0]
        if self._specs.rows and self._stack_name == "dense":
            problem, fix = "the environments differ", 'Pass stack="maybe_dense" or "lazy"'
            raise SpecError(message(NAME, problem, expected="stack='dense' and equal specs", fix=fix))
        self._joined = joined_rows if self._specs.rows else stacked_rows
        self._row_batch_size = first.batch_size
        self._representation = first.representation
        self._carried = {key: fixed for each in descriptions for key, fixed in each.carried.items()}
        self._has_exact_state = all(description.has_exact_state for description in descriptions)
        self.resets_members = all(description.resets_members for description in descriptions)
        self._specs_of: dict[int, EnvSpecs] = {count: self._specs}
        self._backend.connect(self._specs, has_member_masks=self.resets_members)
        self._traffic = Traffic(self._backend, timeout_s)
        self._not_carried = {canonical_key(key) for key in self.reward_keys}
        actions = {key for each in specs for key, _ in each.action.flat_items()}
        self._not_kept = self._not_carried | actions

    @property
    def num_envs(self) -> int:
        """Number of environments `N`."""
        return self._batch_size[0]

    @property
    def min_get(self) -> int:
        """How many results the methods that receive wait for when they are not told."""
        return self._min_get

    @property
    def backend(self) -> BackendName:
        """What the environments run in."""
        return self._backend_name

    # Sending and receiving.

    def async_step_send(self, tensordict: TensorDictBase) -> None:
        """Have environments step.

        Args:
            tensordict: root entries `[n, *B]` with the actions and `"env_index"`, or `[*B]` of one environment; without
                `"env_index"`, of all of them.
        Raises:
            RuntimeError: a result of one of them has not been received.
            MissingKeyError, ShapeError, DTypeError, DeviceError, SpecError: see `step`.
        """
        self._send_step("async_step_send", "step", tensordict)

    def async_step_recv(
        self, min_get: int | None = None, *, env_index: int | Sequence[int] | None = None
    ) -> TensorDictBase:
        """Results of `async_step_send`: what was sent, with what the steps returned under `"next"`.

        Args:
            min_get: how many to wait for; None: as given to the pool. What else is ready comes along.
            env_index: environments whose results are wanted instead, all of them.
        Returns:
            Steps `[n, *B]` with `"env_index"`.
        Raises:
            RuntimeError: fewer have been sent.
            WorkerError: an environment raised, its process ended, or it took longer than the limit.
        """
        received = self._receive("async_step_recv", "step", min_get, env_index)
        return self._packed_rows(received, [stepped_entries(each) for each in received])

    def async_reset_send(self, tensordict: TensorDictBase | None = None) -> None:
        """Have environments reset.

        Args:
            tensordict: `[n, *B]` with `"env_index"`, whose other entries come back too; with `"_reset"`, bool
                `[n, *B, 1]`, rows outside the mask keep the entries given. None: all environments.
        Raises:
            RuntimeError: a result of one of them has not been received.
            ShapeError: the mask has another shape.
        """
        where = self._open("async_reset_send")
        if tensordict is None:
            parcels = {index: Sent(None, {}) for index in range(self.num_envs)}
        else:
            rows = with_rows(where, tensordict, self._batch_size)
            parcels = parcels_of(where, rows, self._batch_size)
        self._traffic.send(where, "reset", parcels)

    def async_reset_recv(
        self, min_get: int | None = None, *, env_index: int | Sequence[int] | None = None
    ) -> TensorDictBase:
        """Results of `async_reset_send`: root entries `[n, *B]` with `"env_index"`; see `async_step_recv`."""
        received = self._receive("async_reset_recv", "reset", min_get, env_index)
        return self._packed_rows(received, [reset_entries(each, len(self._row_batch_size)) for each in received])

    def async_step_and_maybe_reset_send(self, tensordict: TensorDictBase) -> None:
        """Have environments step, and reset what is done then; see `async_step_send`."""
        self._send_step("async_step_and_maybe_reset_send", "step_and_maybe_reset", tensordict)

    def async_step_and_maybe_reset_recv(
        self, min_get: int | None = None, *, env_index: int | Sequence[int] | None = None
    ) -> tuple[TensorDictBase, TensorDictBase]:
        """Results of `async_step_and_maybe_reset_send`; see `async_step_recv`.

        Returns:
            Steps `[n, *B]`, whose observations under `"next"` are those before the reset; and the roots of the next
            steps. Both have `"env_index"`.
        """
        received = self._receive("async_step_and_maybe_reset_recv", "step_and_maybe_reset", min_get, env_index)
        roots = [next_root(each, not_carried=self._not_carried, not_kept=self._not_kept) for each in received]
        stepped = self._packed_rows(received, [stepped_entries(each) for each in received])
        return stepped, self._packed_rows(received, roots)

    def shutdown(self) -> None:
        """`close`."""
        self.close()

    def _open(self, method: str) -> str:
        """Make sure that the simulators can be moved; the method for messages."""
        self._check_open(method)
        self.drive(None)
        return f"{NAME}.{method}"

    def _send_step(self, method: str, request: Request, tensordict: TensorDictBase) -> None:
        where = self._open(method)
        rows = with_rows(where, tensordict, self._batch_size)
        count = rows.batch_size[0]
        if self._specs.rows:
            parcels = parcels_of(where, rows, self._batch_size)
            for row, index in zip(rows.unbind(0), parcels, strict=True):
                check_row_input(NAME, index, row, self._specs.rows[index])
        else:
            if count not in self._specs_of:
                self._specs_of[count] = self._row_specs.expand(rows.batch_size)
            check_step_input(NAME, rows, self._specs_of[count], rows.batch_size)
            parcels = parcels_of(where, rows, self._batch_size)
        self._traffic.send(where, request, parcels)

    def _receive(
        self, method: str, request: Request, min_get: int | None, env_index: int | Sequence[int] | None
    ) -> list[Received]:
        where = self._open(method)
        if env_index is None:
            wanted = self._min_get if min_get is None else checked_min_get(min_get, self.num_envs)
            return self._traffic.receive(where, request, wanted)
        if min_get is not None:
            raise ValueError(message(where, "min_get and env_index exclude each other", fix="Pass one of them"))
        wanted_rows = [env_index] if isinstance(env_index, int) else list(env_index)
        if not wanted_rows:
            raise ValueError(message(where, "env_index names no environment", fix="Leave it out, or name some"))
        return self._traffic.receive_from(where, request, wanted_rows)

    def _packed_rows(self, received: Sequence[Received], rows: Sequence[FlatDict]) -> TensorDictBase:
        batch, device = self._row_batch_size, self._device
        for each, row in zip(received, rows, strict=True):
            row[INDEX_KEY] = torch.full(batch, each.index, dtype=torch.int64)
        if self._stack_name == "lazy":
            return LazyStackedTensorDict(*(pack_flat(self._moved(row), batch, device) for row in rows))
        if self._stack_name == "maybe_dense":
            return pack_flat(self._moved(joined_rows(rows)), torch.Size((len(rows), *batch)), device)
        differing = sorted({str(key) for row in rows for key in row.keys() ^ rows[0].keys()})
        if differing:
            problem = f"results of environments that were sent different entries: {', '.join(differing)}"
            raise ValueError(message(NAME, problem, fix='Send the same entries to all, or pass stack="lazy"'))
        return pack_flat(self._moved(stacked_rows(rows)), torch.Size((len(rows), *batch)), device)

    def _moved(self, entries: FlatDict) -> FlatDict:
        if self._device is None:
            return entries
        return {key: value.to(self._device) for key, value in entries.items()}

    # As one environment.

    def _step(self, data: TensorMap) -> FlatDict:
        entries = unpack_flat(data)
        every = range(self.num_envs)
        parcels = {index: Sent(row_entries(entries, index), {}) for index in every}
        self._traffic.send(f"{NAME}.step", "step", parcels)
        steps = [each.answer.following for each in self._traffic.receive_from(f"{NAME}.step", "step", every)]
        return self._moved(self._joined([step for step in steps if step is not None]))

    def _reset(self, data: TensorMap | None) -> FlatDict:
        where = f"{NAME}.reset"
        every = list(range(self.num_envs))
        mask: Tensor | None = None if data is None else data.get(RESET_KEY, None)
        if data is None:
            parcels = {index: Sent(None, {}) for index in every}
        elif mask is None:
            entries = unpack_flat(data)
            parcels = {index: Sent(row_entries(entries, index), {}) for index in every}
        else:
            entries = unpack_flat(data)
            concerned = mask.detach().cpu().reshape(self.num_envs, -1).any(1).tolist()
            chosen = [index for index in every if concerned[index]]
            parcels = {index: Sent(row_entries(entries, index), {}) for index in chosen}
        self._traffic.send(where, "reset", parcels)
        received = {each.index: each.answer.fresh for each in self._traffic.receive_from(where, "reset", [*parcels])}
        rows = [received.get(index) for index in every]
        return self._moved(joined_resets(rows, self._specs) if self._specs.rows else stacked_resets(rows, self._specs))

    def _set_seed(self, seed: int) -> None:
        self._set_stream(seed, 0)

    def _set_stream(self, seed: int, first_index: int) -> None:
        rows = self._row_batch_size.numel()
        streams = [(seed, first_index + index * rows) for index in range(self.num_envs)]
        self._call("set_stream", streams, is_lasting=True)

    def _to(self, device: torch.device) -> None:
        self._traffic.check_free(f"{NAME}.to", range(self.num_envs))
        self._backend.to(device)
        self._row_specs = self._row_specs.to(device)
        self._specs_of = {self.num_envs: self._specs}

    def _set_training(self, mode: bool) -> None:
        self._call("train", [mode] * self.num_envs, is_lasting=True)

    def _close(self) -> None:
        self._backend.close()

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return self._carried

    def _repr_fields(self) -> dict[str, object]:
        return {"num_envs": self.num_envs, "backend": self._backend_name, "env": self._representation}

    @property
    def has_exact_state(self) -> bool:
        """Whether each environment has an exact state."""
        return self._has_exact_state

    def get_state(self) -> dict[str, Any]:
        """State of each environment, as that of a `SerialEnv`; see `EnvBase.get_state`."""
        if not self._has_exact_state:
            fix = "Restart it at an episode boundary with reset()"
            raise StateNotSupportedError(message(NAME, "an environment has no exact state", fix=fix))
        return {"envs": self._call("get_state", [None] * self.num_envs)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, here or in a `SerialEnv`."""
        self._scatter("set_state", state)

    def state_dict(self) -> dict[str, Any]:
        """`state_dict` of each environment, as that of a `SerialEnv`."""
        return {"envs": self._call("state_dict", [None] * self.num_envs)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned, here or in a `SerialEnv`."""
        self._scatter("load_state_dict", state)

    def _scatter(self, method: str, state: Mapping[str, Any]) -> None:
        parts = check_state_parts(f"{NAME}.{method}", state, self.num_envs)
        self._call(method, parts, is_lasting=True)
        self.drive(None)

    def _call(self, method: str, arguments: Sequence[Any], *, is_lasting: bool = False) -> list[Any]:
        self._check_open(method)
        self._traffic.check_free(f"{NAME}.{method}", range(self.num_envs))
        return self._backend.call(method, arguments, is_lasting=is_lasting)


class ThreadingAsyncEnvPool(AsyncEnvPool):
    """`AsyncEnvPool` whose environments run in threads of this process.

    Args:
        env_makers: see `AsyncEnvPool`.
        stack: see `AsyncEnvPool`.
        create_env_kwargs: see `AsyncEnvPool`.
        min_get: see `AsyncEnvPool`.
        timeout_s: see `AsyncEnvPool`.
    """

    def __init__(
        self,
        env_makers: Callable[..., EnvBase] | EnvBase | Sequence[Callable[..., EnvBase] | EnvBase],
        *,
        stack: StackName = "dense",
        create_env_kwargs: EnvKwargs = None,
        min_get: int = 1,
        timeout_s: float | None = None,
    ) -> None:
        super().__init__(
            env_makers,
            backend="threading",
            stack=stack,
            create_env_kwargs=create_env_kwargs,
            min_get=min_get,
            timeout_s=timeout_s,
        )


class ProcessorAsyncEnvPool(AsyncEnvPool):
    """`AsyncEnvPool` whose environments run in worker processes.

    Args:
        env_makers: see `AsyncEnvPool`.
        stack: see `AsyncEnvPool`.
        create_env_kwargs: see `AsyncEnvPool`.
        min_get: see `AsyncEnvPool`.
        num_processes: see `AsyncEnvPool`.
        start_method: see `AsyncEnvPool`.
        timeout_s: see `AsyncEnvPool`.
        restart_on_failure: see `AsyncEnvPool`.
    """

    def __init__(
        self,
        env_makers: Callable[..., EnvBase] | EnvBase | Sequence[Callable[..., EnvBase] | EnvBase],
        *,
        stack: StackName = "dense",
        create_env_kwargs: EnvKwargs = None,
        min_get: int = 1,
        num_processes: int | None = None,
        start_method: StartMethod = "forkserver",
        timeout_s: float | None = None,
        restart_on_failure: int = 0,
    ) -> None:
        super().__init__(
            env_makers,
            backend="multiprocessing",
            stack=stack,
            create_env_kwargs=create_env_kwargs,
            min_get=min_get,
            num_processes=num_processes,
            start_method=start_method,
            timeout_s=timeout_s,
            restart_on_failure=restart_on_failure,
        )
