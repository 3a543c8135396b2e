"""What buffers made of other buffers share: transforms of their own, and one checkpoint for all."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from rl_buffers._arguments import whole_number
from rl_buffers._buffer import BufferBase
from rl_buffers._folder import Saving, member_folder, save_members
from rl_buffers._manifest import read_manifest
from rl_buffers._pinned import assert_can_pin, pinned
from rl_buffers._prefetch import Lookahead, Steps
from rl_buffers._rows import FrozenRows
from rl_buffers._save import PendingSave
from rl_specs import SpecError, message

_FORMAT = 1


class CompositeBuffer(ABC):
    """Buffers that are sampled together; see `ReplayBufferEnsemble`."""

    def __init__(
        self,
        buffers: Sequence[BufferBase],
        *,
        batch_size: int | None,
        transform: Callable[[Any], Any] | None,
        generator: torch.Generator | None,
        pin_memory: bool,
    ) -> None:
        self._buffers = tuple(buffers)
        self._batch_size = batch_size
        if batch_size is not None:
            whole_number(self._name, "batch_size", batch_size, least=1)
        self._transforms: list[Callable[[Any], Any]] = []
        self._generator = generator
        self._lock = threading.RLock()
        self._ahead: Lookahead | None = None
        self._saving: PendingSave | None = None
        self._is_pinned = pin_memory
        if pin_memory:
            assert_can_pin(self._name)
        if transform is not None:
            self.append_transform(transform)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but locks and threads; what is written to the buffers meanwhile may or may not be part of it."""
        with self._lock:
            if self._ahead is not None:
                self._ahead.drop(self._rewind)
            state = self.__dict__.copy()
        depth = 0 if self._ahead is None else self._ahead.depth
        return {**state, "_lock": None, "_ahead": depth, "_saving": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on with copies of the buffers."""
        self.__dict__.update(state)
        self._lock, self._ahead = threading.RLock(), None
        if state["_ahead"]:
            self._look_ahead(state["_ahead"])

    def _look_ahead(self, depth: int) -> None:
        """Choose up to `depth` batches ahead.

        Raises:
            ValueError: members have batches chosen ahead of their own, or are in use elsewhere.
        """
        lock = threading.RLock()
        try:
            for buffer in self._buffers:
                buffer.join(lock, self._take_back)
        except ValueError:
            for buffer in self._buffers:
                buffer.leave()
            raise
        self._lock, self._ahead = lock, Lookahead(depth)

    @property
    def _name(self) -> str:
        return type(self).__name__

    @property
    def batch_size(self) -> int | None:
        """Rows in a batch when `sample` is not told."""
        return self._batch_size

    @property
    def write_count(self) -> int:
        """Rows written to all members so far."""
        return sum(buffer.write_count for buffer in self._buffers)

    def __len__(self) -> int:
        """Number of rows stored in all members."""
        return sum(len(buffer) for buffer in self._buffers)

    def sample(self, batch_size: int | None = None, return_info: bool = False) -> Any:
        """A batch of rows of the members; it is a copy and belongs to the caller.

        Args:
            batch_size: how many rows in all; None for the buffer's own.
            return_info: also return which rows they are, and what else the samplers say of them.
        Returns:
            The batch after `collate_fn` and transforms, or `(batch, info)`.
        """
        if batch_size is None:
            batch_size = self._batch_size
            if batch_size is None:
                problem = "the batch size is not known"
                fix = f"Give batch_size to {self._name}(...) or to sample(batch_size)"
                raise ValueError(message(f"{self._name}.sample", problem, fix=fix))
        batch, info = self._draw(whole_number(self._name, "batch_size", batch_size, least=1))
        return (batch, info) if return_info else batch

    def __iter__(self) -> Iterator[Any]:
        """Batches without end."""
        while True:
            yield self.sample()

    def next(self) -> Any:
        """The next batch, as `sample` gives it."""
        return self.sample()

    def append_transform(self, transform: Callable[[Any], Any]) -> Self:
        """Apply a callable to every batch from now on, after those appended before and those of the members."""
        return self.insert_transform(len(self._transforms), transform)

    def insert_transform(self, index: int, transform: Callable[[Any], Any]) -> Self:
        """As `append_transform`, at a place among the transforms."""
        if not callable(transform):
            raise TypeError(message(self._name, "transform", expected="a callable", found=repr(transform)))
        with self._lock:
            self._take_back()
            self._transforms = [*self._transforms[:index], transform, *self._transforms[index:]]
        return self

    def state_dict(self) -> dict[str, Any]:
        """The states of the members, and what decides how they are sampled. The members change one after the other."""
        with self._lock:
            self._take_back()
            return {**self._state_beside_members(), "buffers": [buffer.state_dict() for buffer in self._buffers]}

    def _state_beside_members(self) -> dict[str, Any]:
        """The state but for the members."""
        return {
            "format": _FORMAT,
            "class": self._name,
            "settings": self._settings(),
            "generator": None if self._generator is None else self._generator.get_state(),
            "transforms": [dict(module.state_dict()) for module in self._modules()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state: the next batches are those that the saved buffer would have given.

        Raises:
            SpecError: it does not fit; the differences are listed, and nothing was changed.
        """
        with self._lock:
            self._take_back()
            self._assert_fits(state)
            before = self.state_dict()["buffers"]
            try:
                for buffer, saved in zip(self._buffers, state["buffers"], strict=True):
                    buffer.load_state_dict(saved)
            except BaseException:
                for buffer, saved in zip(self._buffers, before, strict=True):
                    buffer.load_state_dict(saved)
                raise
            self._take_rest(state)

    def _take_rest(self, state: dict[str, Any]) -> None:
        """Take over what a state says besides the members."""
        if self._generator is not None:
            self._generator.set_state(state["generator"])
        for module, saved in zip(self._modules(), state["transforms"], strict=True):
            module.load_state_dict(saved)
        self._take_settings(state["settings"])

    def dumps(self, path: str | Path) -> None:
        """Save the state in the folder `path`; what was there stays whole until the new save is.

        The rows of each member are saved by the checkpointer of its storage, with its hooks, as `ReplayBuffer.dumps`
        does; a second save writes those that changed.

        Raises:
            OSError: the disk has no room for it; the earlier save is whole.
        """
        with self._lock:
            self._await_save()
            save, _ = self._begin_save(Path(path))
            save()

    def dumps_in_background(self, path: str | Path) -> PendingSave:
        """Save as `dumps` does while the program goes on. See `ReplayBuffer.dumps_in_background`."""
        with self._lock:
            self._await_save()
            save, rows = self._begin_save(Path(path))
            try:
                self._saving = PendingSave(save, lambda: sum(each.copied for each in rows))
            except BaseException:
                for each in rows:
                    each.release()
                raise
            return self._saving

    def loads(self, path: str | Path) -> None:
        """Load what `dumps` saved.

        Raises:
            FileNotFoundError: no save in the folder.
            SpecError: it does not fit, or its files are damaged or missing; nothing was changed.
            OSError: no room for the rows of a member in files; the members are empty.
        """
        folder = Path(path)
        with self._lock:
            self._await_save()
            self._take_back()
            state = read_manifest(self._name, folder)
            self._assert_fits(state)
            members = [
                (buffer, saved, member_folder(folder, number))
                for number, (buffer, saved) in enumerate(zip(self._buffers, state["buffers"], strict=True))
            ]
            for buffer, saved, place in members:
                buffer.assert_member_fits(saved, place)
            taken: list[BufferBase] = []
            try:
                for buffer, saved, place in members:
                    taken.append(buffer)
                    buffer.load_member(saved, place)
            except BaseException:
                for buffer in taken:
                    buffer.forget_member()
                raise
            self._take_rest(state)

    def _begin_save(self, folder: Path) -> tuple[Callable[[], None], list[FrozenRows]]:
        """What saves the state of now, and the rows that it saves."""
        self._take_back()
        members: list[tuple[Saving, FrozenRows]] = []
        rows: list[FrozenRows] = []

        def release() -> None:
            for each in rows:
                each.release()

        def save() -> None:
            try:
                save_members(self._name, folder, state, members)
            finally:
                release()

        state = self._state_beside_members()
        try:
            for number, buffer in enumerate(self._buffers):
                members.append(buffer.begin_member_save(member_folder(folder, number)))
                rows.append(members[-1][1])
        except BaseException:
            release()
            raise
        return save, rows

    dump = save = dumps
    load = loads

    def _await_save(self) -> None:
        """Wait for the end of a save in the background: saves of one folder follow one another."""
        if self._saving is not None:
            self._saving.join()
            self._saving = None

    def empty(self) -> None:
        """Forget the rows of all members; one whose data set is immutable refuses."""
        for buffer in self._buffers:
            buffer.empty()

    def close(self) -> None:
        """End the threads; the buffer can be used on, without them. May be called again."""
        with self._lock:
            self._take_back()
            ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.close()
            for buffer in self._buffers:
                buffer.leave()
        for buffer in self._buffers:
            buffer.close()

    def _draw(self, batch_size: int) -> tuple[Any, dict[str, Any]]:
        """A batch of the members, after the transforms; made ahead or now."""
        if self._ahead is None:
            return self._draw_now(batch_size)
        steps = Steps(self._lock, _asked, self._choose, _read, self._finish, self._mark, self._rewind)
        taken = self._ahead.take(batch_size, False, steps)
        assert taken is not None
        return taken

    @abstractmethod
    def _draw_now(self, batch_size: int) -> tuple[Any, dict[str, Any]]:
        """A batch of the members, after the transforms."""

    @abstractmethod
    def _choose(self, batch_size: int) -> tuple[Tensor, dict[str, Any]]:
        """See `Steps.draw`: the numbers of the members that a batch is made of, and as `"parts"` what each chose."""

    @abstractmethod
    def _finish(self, rows: list[Any], info: dict[str, Any]) -> Any:
        """See `Steps.finish`, from the rows of the parts; `info` then says what is known of the batch."""

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """What decides how the members are sampled, besides the generator."""

    @abstractmethod
    def _take_settings(self, settings: dict[str, Any]) -> None:
        """Take over those of a state that may differ."""

    @abstractmethod
    def _differences(self, settings: dict[str, Any]) -> list[str]:
        """What in the settings of a state does not fit."""

    def _transformed(self, batch: Any) -> Any:
        """A batch of the members after the transforms of the whole, where the user wants it."""
        for transform in self._transforms:
            batch = transform(batch)
        return pinned(batch) if self._is_pinned else batch

    def _take_back(self) -> None:
        """Take back the batches that were chosen ahead; called under the lock before anything changes."""
        if self._ahead is not None:
            self._ahead.drop(self._rewind)

    def _mark(self) -> list[Any]:
        """Where the members and the generator are."""
        state = None if self._generator is None else self._generator.get_state()
        return [state, *(buffer._mark() for buffer in self._buffers)]

    def _rewind(self, mark: list[Any]) -> None:
        """Take back the draws made since `mark`."""
        for buffer, place in zip(self._buffers, mark[1:], strict=True):
            buffer._rewind(place)
        if self._generator is not None:
            self._generator.set_state(mark[0])

    def _modules(self) -> list[nn.Module]:
        return [transform for transform in self._transforms if isinstance(transform, nn.Module)]

    def _assert_fits(self, state: dict[str, Any]) -> None:
        if state.get("format") != _FORMAT or state.get("class") != self._name:
            found = f"a state of {state.get('class', 'another kind of buffer')}, version {state.get('format')}"
            raise SpecError(message(self._name, "the state", expected=f"version {_FORMAT} of its own", found=found))
        pairs = [
            ("buffers", len(self._buffers), len(state["buffers"])),
            ("a generator", self._generator is not None, state["generator"] is not None),
            ("transforms that are modules", len(self._modules()), len(state["transforms"])),
        ]
        differences = [f"{name}: expected {here}, found {saved}" for name, here, saved in pairs if here != saved]
        differences += self._differences(state["settings"])
        if differences:
            problem = "the state does not fit: " + "; ".join(differences)
            raise SpecError(message(self._name, problem, fix="Nothing was loaded"))


def _asked(batch_size: int, is_pass: bool) -> int:
    """See `Steps.count`: there is no end."""
    return batch_size


def _read(numbers: Tensor, info: dict[str, Any]) -> list[Any]:
    """See `Steps.read`: the rows of each part."""
    info["numbers"] = numbers.tolist()
    return [buffer._read(index, known) for buffer, index, known in info["parts"]]
