"""The part of a `ProcessBackend` that one worker does: some of the envs, in a loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from rl_envs._closing import closed_on_error
from rl_envs.gym._backend import Options
from rl_envs.gym._loop import LoopBackend
from rl_envs.gym._render import rendered
from rl_envs.parallel._apart import EXCHANGE, portable
from rl_envs.parallel._table import Table, is_apart
from rl_envs.parallel._wiring import RESET, STEP
from rl_envs.parallel._worker import Task
from rl_specs import FlatDict, NestedKey, message

ACTION, OBSERVED, OUTCOME, CONTROL = "action", "observed", "outcome", "control"
"""Sections of the table: what a step reads, the observations, the rewards and flags, and what steers the workers."""
MASK = "mask"
"""Rows of a reset, in `CONTROL`."""


@dataclass(frozen=True)
class LoopDescription:
    """What the parent needs to know of the envs of a worker: their spaces, a frame's shape, their id."""

    observation_space: Any
    action_space: Any
    frame_shape: tuple[int, ...] | None
    env_id: str


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
        self._has_begun = False
        self._apart: list[NestedKey] = []
        self._shown: list[FlatDict] = [{} for _ in makers]
        self._rows = slice(first, first + len(makers))

    def describe(self) -> LoopDescription:
        """See `Task`."""
        frame_shape = None
        if self._options.from_pixels:
            self._envs[0].reset()
            frame_shape = rendered(self._envs[0]).shape
        loop = self._loop
        return LoopDescription(loop.observation_space, loop.action_space, frame_shape, loop.env_id())

    def connect(self, table: Table) -> None:
        """See `Task`."""
        self._actions = {key: value[self._rows] for key, value in table[ACTION].items()}
        self._observed = [(key, value[self._rows]) for key, value in table[OBSERVED].items()]
        self._outcome = [(key, value[self._rows]) for key, value in table[OUTCOME].items()]
        self._mask = table[CONTROL][MASK].numpy()[self._rows]

    def step(self) -> None:
        """See `Task`; the codecs copy the actions."""
        entries = self._loop.step(self._actions)
        for key, target in self._observed:
            target.copy_(entries[key])
        for key, target in self._outcome:
            target.copy_(entries[key])

    def reset(self, *, is_partial: bool) -> None:
        """See `Task`."""
        self._has_begun = True
        rows = self._mask.copy() if is_partial else None
        entries = self._loop.reset(rows)
        for key, target in self._observed:
            target.copy_(entries[key])
        if self._apart:
            self._shown = self._rows_apart(entries)

    def _exchange(self, command: bytes) -> list[FlatDict]:
        """Step or reset; entries that have no place in the table go back."""
        if command != STEP:
            self.reset(is_partial=command == RESET)
            return self._shown
        entries = self._loop.step(self._actions)
        for key, target in (*self._observed, *self._outcome):
            target.copy_(entries[key])
        return self._rows_apart(entries)

    def _rows_apart(self, entries: FlatDict) -> list[FlatDict]:
        return [{key: portable(entries[key][row]) for key in self._apart} for row in range(len(self._envs))]

    def call(self, method: str, argument: Any) -> Any:
        """See `Task`."""
        if method == EXCHANGE:
            return self._exchange(argument[0])
        match method:
            case "shown":
                return self._shown
            case "seed":
                now, last = argument
                return self._loop.seed(now if self._has_begun else last)
            case "sample_infos":
                return self._loop.sample_infos() if argument else []
            case "set_infos":
                self._apart = [key for key, spec in argument.specs().items() if is_apart(spec)]
                return self._loop.set_infos(argument)
            case "frame":
                return self._loop.frame()
            case "missing_state":
                return self._loop.missing_state()
            case "states":
                return self._loop.states()
            case "set_states":
                self._loop.seed([None] * len(self._envs))  # the streams are part of the states
                return self._loop.set_states(argument)
        raise ValueError(message("LoopTask.call", "unknown method", found=method))

    def close(self) -> None:
        """See `Task`."""
        self._loop.close()
