"""The whole buffer against a model: a Python list used as a ring, or as the list of the rows that rank highest."""

import itertools
import tempfile
from typing import Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tensordict import TensorDict

from rl_buffers import (
    CompressedListStorage,
    ConsumingSampler,
    LazyMemmapStorage,
    LazyStackStorage,
    LazyTensorStorage,
    ListStorage,
    PrioritizedSampler,
    PrioritizedSliceSampler,
    RandomSampler,
    RankPrioritizedSampler,
    RoundRobinWriter,
    Sampler,
    SamplerWithoutReplacement,
    SliceSampler,
    SliceSamplerWithoutReplacement,
    StalenessAwareSampler,
    Storage,
    StreamingSliceSampler,
    TensorDictMaxValueWriter,
    TensorDictReplayBuffer,
    TensorDictRoundRobinWriter,
    Writer,
)

END = ("next", "done")
STORAGES: dict[str, Any] = {
    "compressed": CompressedListStorage,
    "list": ListStorage,
    "memmap": LazyMemmapStorage,
    "stack": LazyStackStorage,
    "tensor": LazyTensorStorage,
}
SAMPLERS: dict[str, Any] = {
    "random": lambda size: RandomSampler(),
    "pass": lambda size: SamplerWithoutReplacement(),
    "ordered": lambda size: SamplerWithoutReplacement(shuffle=False),
    "full batches": lambda size: SamplerWithoutReplacement(drop_last=True),
    "prioritized": lambda size: PrioritizedSampler(size, 0.7, 0.5),
    "ranked": lambda size: RankPrioritizedSampler(size, 0.7, 0.5),
    "stale": lambda size: StalenessAwareSampler(version_key="a"),
    "consuming": lambda size: ConsumingSampler(),
    "slices": lambda size: SliceSampler(slice_len=2, end_key=END),
    "slice passes": lambda size: SliceSamplerWithoutReplacement(slice_len=2, end_key=END),
    "prioritized slices": lambda size: PrioritizedSliceSampler(size, 0.7, 0.5, slice_len=2, end_key=END),
    "streaming": lambda size: StreamingSliceSampler(slice_len=2, end_key=END),
}
PASSES = ("pass", "ordered", "full batches")
SLICES = ("slices", "slice passes", "prioritized slices", "streaming")
WITH_REPLACEMENT = ("random", "prioritized", "ranked", "stale")
WRITERS: dict[str, Any] = {
    "ring": RoundRobinWriter,
    "numbered": TensorDictRoundRobinWriter,
    "highest": lambda: TensorDictMaxValueWriter("rank"),
}


def _rank(value: int) -> int:
    return value * 7 % 5


def _rows(first: int, count: int) -> TensorDict:
    numbers = torch.arange(first, first + count)
    wide = numbers.float().view(-1, 1).expand(-1, 2)
    after = {"done": numbers.view(-1, 1) % 4 == 0, "truncated": torch.zeros(count, 1, dtype=torch.bool)}
    inner = {"b": wide, "c": numbers.view(-1, 1) % 2 == 0}
    return TensorDict({"a": numbers, "in": inner, "rank": numbers * 7 % 5, "next": after}, batch_size=[count])


class Ring(RuleBasedStateMachine):
    """Rules that do the same to a buffer and to a list."""

    storage_name = "tensor"
    sampler_name = "random"
    writer_name = "ring"

    @initialize(size=st.integers(1, 9), prefetch=st.sampled_from([None, 2]))
    def build(self, size: int, prefetch: int | None) -> None:
        """Both start empty."""
        self.size = size
        self.prefetch = prefetch
        self.buffer = self.fresh(0)
        self.model: list[int] = []
        self.arrivals: list[int] = []
        self.cursor = 0
        self.counter = 0
        self.left: list[int] | None = None
        self.unread: set[int] = set()
        self.reused: set[int] = set()

    def fresh(self, seed: int) -> TensorDictReplayBuffer:
        """A new buffer of the kind under test."""
        storage: Storage = STORAGES[self.storage_name](self.size)
        sampler: Sampler = SAMPLERS[self.sampler_name](self.size)
        writer: Writer = WRITERS[self.writer_name]()
        generator = torch.Generator().manual_seed(seed)
        return TensorDictReplayBuffer(
            storage=storage,
            sampler=sampler,
            writer=writer,
            generator=generator,
            batch_size=4 if self.sampler_name in SLICES else 3,
            prefetch=self.prefetch,
        )

    def teardown(self) -> None:
        """No thread is left."""
        self.buffer.close()

    def free_places(self, places: list[int | None], count: int) -> list[int | None]:
        """Which places of a write of `count` rows are those of consumed rows, which a ring takes first."""
        if self.sampler_name != "consuming":
            return []
        free = set(range(len(self.model))) - self.unread
        if self.writer_name == "highest":
            return []
        reused = places[: len(free)] if count < self.size else []
        assert set(reused) <= free
        self.reused = {place for place in reused if place is not None}
        return reused[::-1]

    def rank(self, place: int) -> int:
        """By what the writer that ranks keeps rows: those that are consumed last."""
        return -1 if self.sampler_name == "consuming" and place not in self.unread else _rank(self.model[place])

    def put(self, value: int, free: list[int | None]) -> int | None:
        """Write one row to the model, to a place of `free` if there is one."""
        self.left = None
        if free:
            place = free.pop()
            assert place is not None
            self.model[place] = self.arrivals[place] = value
            self.unread.add(place)
            return place
        place = self.cursor
        while place in self.reused:
            place = (place + 1) % self.size
        if self.writer_name == "highest" and len(self.model) == self.size:
            place = min(range(self.size), key=lambda i: (self.rank(i), -self.arrivals[i]))
            if _rank(value) <= self.rank(place):
                return None
        self.model[place : place + 1] = [value]
        self.arrivals[place : place + 1] = [value]
        self.cursor = (place + 1) % self.size if self.writer_name != "highest" else len(self.model)
        self.unread.add(place)
        return place

    @rule(count=st.integers(0, 20))
    def extend(self, count: int) -> None:
        """Write a batch."""
        left = self.left
        index = self.buffer.extend(_rows(self.counter, count))
        free = self.free_places(index.tolist(), count)
        places = [self.put(value, free) for value in range(self.counter, self.counter + count)]
        last = {place: number for number, place in enumerate(places) if place is not None}
        assert index.tolist() == sorted(last, key=lambda place: last[place])
        self.counter += count
        if not last:
            self.left = left

    @rule()
    def add(self) -> None:
        """Write a row."""
        left = self.left
        found = self.buffer.add(_rows(self.counter, 1)[0])
        place = self.put(self.counter, self.free_places([found], 1))
        assert found == place
        self.counter += 1
        if place is None:
            self.left = left

    @precondition(lambda self: self.model)
    @rule(place=st.integers(-9, 8))
    def overwrite(self, place: int) -> None:
        """Write a row at a place."""
        place = place % len(self.model)
        self.buffer[place] = _rows(self.counter, 1)[0]
        self.model[place] = self.counter
        self.counter += 1

    def check_rows(self, batch: TensorDict) -> list[int]:
        """The rows of a batch are whole, and those of the model; returns their places."""
        index: list[int] = batch["index"].tolist()
        assert batch["a"].tolist() == [self.model[place] for place in index]
        assert torch.equal(batch["in", "b"][:, 1], batch["a"].float())
        assert torch.equal(batch["in", "c"][:, 0], batch["a"] % 2 == 0)
        return index

    @precondition(lambda self: self.model and self.sampler_name in WITH_REPLACEMENT)
    @rule(count=st.integers(1, 9))
    def sample(self, count: int) -> None:
        """Draw a batch; give its rows new priorities where there are any."""
        batch = self.buffer.sample(count)
        assert len(self.check_rows(batch)) == count
        if self.sampler_name in ("prioritized", "ranked"):
            assert batch["_weight"].shape == (count,)
            batch["td_error"] = batch["a"].double() + 0.5
            self.buffer.update_tensordict_priority(batch)

    @precondition(lambda self: self.model and self.sampler_name in PASSES)
    @rule(count=st.integers(1, 9))
    def sample_of_a_pass(self, count: int) -> None:
        """Draw a batch: within a pass no row twice."""
        count = min(count, len(self.model))
        index = self.check_rows(self.buffer.sample(count))
        has_room = self.left is not None and (len(self.left) >= count if self.drop_last else bool(self.left))
        left = self.left if self.left is not None and has_room else list(range(len(self.model)))
        assert len(index) == min(count, len(left))
        assert len(set(index)) == len(index)
        assert set(index) <= set(left)
        if self.sampler_name == "ordered":
            assert index == left[:count]
        self.left = [place for place in left if place not in index]

    @property
    def drop_last(self) -> bool:
        """Whether passes have full batches only."""
        return self.sampler_name == "full batches"

    @precondition(lambda self: self.model and self.sampler_name in PASSES)
    @rule()
    def iterate(self) -> None:
        """Go through a pass: each row once."""
        index = [place for batch in self.buffer for place in batch["index"].tolist()]
        expected = len(self.model) - len(self.model) % 3 if self.drop_last else len(self.model)
        assert len(index) == len(set(index)) == expected
        self.left = [place for place in range(len(self.model)) if place not in index] if index else None

    @precondition(lambda self: self.model and self.sampler_name == "consuming")
    @rule(count=st.integers(1, 9))
    def consume(self, count: int) -> None:
        """Draw a batch: no row twice until it is written again."""
        if count > len(self.unread):
            with pytest.raises(ValueError, match="not consumed"):
                self.buffer.sample(count)
            return
        index = self.check_rows(self.buffer.sample(count))
        assert len(set(index)) == count
        assert set(index) <= self.unread
        self.unread -= set(index)

    @precondition(lambda self: self.model and self.sampler_name in SLICES)
    @rule()
    def sample_slices(self) -> None:
        """Draw two slices of two steps: neighbours in time, no end of an episode between them."""
        oldest = self.cursor if len(self.model) == self.size else 0
        order = [(oldest + number) % len(self.model) for number in range(len(self.model))]
        pairs = {(x, y) for x, y in itertools.pairwise(order) if self.model[x] % 4}
        if not pairs:
            with pytest.raises(RuntimeError, match="as long as a slice"):
                self.buffer.sample()
            return
        index = self.check_rows(self.buffer.sample())
        assert set(zip(index[::2], index[1::2], strict=True)) <= pairs

    @rule(seed=st.integers(0, 5), in_file=st.booleans())
    def save_and_load(self, seed: int, in_file: bool) -> None:
        """Go on with another buffer that loaded the state of this one; both give the same batch."""
        other = self.fresh(seed)
        if in_file:
            with tempfile.TemporaryDirectory() as folder:
                self.buffer.dumps(folder)
                other.loads(folder)
        else:
            other.load_state_dict(self.buffer.state_dict())
        if self.model and self.sampler_name not in SLICES and (self.sampler_name != "consuming" or self.unread):
            again = self.fresh(seed + 1)
            again.load_state_dict(self.buffer.state_dict())
            assert torch.equal(again.sample(1)["index"], self.buffer.sample(1)["index"])
            again.close()
        self.buffer.close()
        self.buffer = other

    @rule()
    def empty(self) -> None:
        """Forget everything."""
        self.buffer.empty()
        self.model, self.arrivals, self.cursor, self.left, self.unread = [], [], 0, None, set()

    @invariant()
    def same_rows(self) -> None:
        """Length and rows are those of the model."""
        assert len(self.buffer.storage) == len(self.model)
        assert len(self.buffer) == (len(self.unread) if self.sampler_name == "consuming" else len(self.model))
        if self.model:
            assert self.buffer[:]["a"].tolist() == self.model
            if self.writer_name == "numbered":
                assert self.buffer[len(self.model) - 1]["index"].item() == len(self.model) - 1


def _run(storage: str, sampler: str, writer: str, examples: int) -> None:
    class Case(Ring):
        """The ring with these parts."""

    Case.storage_name, Case.sampler_name, Case.writer_name = storage, sampler, writer
    limits = settings(max_examples=examples, stateful_step_count=25, deadline=None)
    run_state_machine_as_test(Case, settings=limits)


COMBINATIONS = [
    (storage, sampler, writer)
    for storage in STORAGES
    for sampler in SAMPLERS
    for writer in WRITERS
    if not (writer == "highest" and sampler in SLICES)  # whose rows are not in the order of time
]
FEW = [
    (storage, sampler, writer)
    for storage, sampler, writer in COMBINATIONS
    if (storage == "tensor" and writer == "ring") or (sampler == "pass" and writer == "ring")
] + [("tensor", "prioritized", "highest"), ("list", "consuming", "highest"), ("memmap", "slices", "numbered")]


@pytest.mark.parametrize(
    ("storage", "sampler", "writer"),
    [*FEW, *((storage, "random", writer) for storage in STORAGES for writer in WRITERS)],
)
def test_buffer_is_its_model(storage: str, sampler: str, writer: str) -> None:
    """Any sequence of writes, draws, passes, saves and loads does to the buffer what it does to a list."""
    _run(storage, sampler, writer, 6)


@pytest.mark.slow
@pytest.mark.parametrize(("storage", "sampler", "writer"), COMBINATIONS)
def test_every_combination_is_its_model(storage: str, sampler: str, writer: str) -> None:
    """The same for every storage with every sampler and writer, for longer."""
    _run(storage, sampler, writer, 60)
