"""The whole buffer against a model: a Python list used as a ring."""

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
    LazyMemmapStorage,
    LazyStackStorage,
    LazyTensorStorage,
    ListStorage,
    RandomSampler,
    Sampler,
    SamplerWithoutReplacement,
    Storage,
    TensorDictReplayBuffer,
)

STORAGES: dict[str, Any] = {
    "compressed": CompressedListStorage,
    "list": ListStorage,
    "memmap": LazyMemmapStorage,
    "stack": LazyStackStorage,
    "tensor": LazyTensorStorage,
}
SAMPLERS: dict[str, Any] = {
    "random": RandomSampler,
    "pass": SamplerWithoutReplacement,
    "ordered": lambda: SamplerWithoutReplacement(shuffle=False),
    "full batches": lambda: SamplerWithoutReplacement(drop_last=True),
}


def _rows(first: int, count: int) -> TensorDict:
    numbers = torch.arange(first, first + count)
    wide = numbers.float().view(-1, 1).expand(-1, 2)
    return TensorDict({"a": numbers, "in": {"b": wide, "c": numbers.view(-1, 1) % 2 == 0}}, batch_size=[count])


class Ring(RuleBasedStateMachine):
    """Rules that do the same to a buffer and to a list."""

    storage_name = "tensor"
    sampler_name = "random"

    @initialize(size=st.integers(1, 9))
    def build(self, size: int) -> None:
        """Both start empty."""
        self.size = size
        self.buffer = self.fresh(0)
        self.model: list[int] = []
        self.cursor = 0
        self.counter = 0
        self.left: list[int] | None = None

    def fresh(self, seed: int) -> TensorDictReplayBuffer:
        """A new buffer of the kind under test."""
        storage: Storage = STORAGES[self.storage_name](self.size)
        sampler: Sampler = SAMPLERS[self.sampler_name]()
        generator = torch.Generator().manual_seed(seed)
        return TensorDictReplayBuffer(storage=storage, sampler=sampler, generator=generator, batch_size=3)

    def put(self, value: int) -> int:
        """Write one row to the model."""
        place = self.cursor
        self.model[place : place + 1] = [value]
        self.cursor = (place + 1) % self.size
        self.left = None
        return place

    @rule(count=st.integers(0, 20))
    def extend(self, count: int) -> None:
        """Write a batch."""
        index = self.buffer.extend(_rows(self.counter, count))
        places = [self.put(value) for value in range(self.counter, self.counter + count)]
        assert index.tolist() == places[-self.size :]
        self.counter += count

    @rule()
    def add(self) -> None:
        """Write a row."""
        assert self.buffer.add(_rows(self.counter, 1)[0]) == self.put(self.counter)
        self.counter += 1

    @precondition(lambda self: self.model)
    @rule(place=st.integers(-9, 8))
    def overwrite(self, place: int) -> None:
        """Write a row at a place."""
        place = place % len(self.model)
        self.buffer[place] = _rows(self.counter, 1)[0]
        self.model[place] = self.counter
        self.counter += 1

    @precondition(lambda self: self.model)
    @rule(count=st.integers(1, 9))
    def sample(self, count: int) -> None:
        """Draw a batch: whole rows, and within a pass no row twice."""
        if self.sampler_name != "random":
            count = min(count, len(self.model))
        batch = self.buffer.sample(count)
        index = batch["index"].tolist()
        assert batch["a"].tolist() == [self.model[place] for place in index]
        assert torch.equal(batch["in", "b"][:, 1], batch["a"].float())
        assert torch.equal(batch["in", "c"][:, 0], batch["a"] % 2 == 0)
        if self.sampler_name == "random":
            assert len(index) == count
            return
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

    @precondition(lambda self: self.model and self.sampler_name != "random")
    @rule()
    def iterate(self) -> None:
        """Go through a pass: each row once."""
        index = [place for batch in self.buffer for place in batch["index"].tolist()]
        expected = len(self.model) - len(self.model) % 3 if self.drop_last else len(self.model)
        assert len(index) == len(set(index)) == expected
        self.left = [place for place in range(len(self.model)) if place not in index] if index else None

    @rule(seed=st.integers(0, 5))
    def save_and_load(self, seed: int) -> None:
        """Go on with another buffer that loaded the state of this one; both give the same batch."""
        other = self.fresh(seed)
        other.load_state_dict(self.buffer.state_dict())
        if self.model:
            again = self.fresh(seed + 1)
            again.load_state_dict(self.buffer.state_dict())
            assert torch.equal(again.sample(1)["index"], self.buffer.sample(1)["index"])
        self.buffer = other

    @rule()
    def empty(self) -> None:
        """Forget everything."""
        self.buffer.empty()
        self.model, self.cursor, self.left = [], 0, None

    @invariant()
    def same_rows(self) -> None:
        """Length and rows are those of the model."""
        assert len(self.buffer) == len(self.model)
        if self.model:
            assert self.buffer[:]["a"].tolist() == self.model


@pytest.mark.parametrize("storage_name", sorted(STORAGES))
@pytest.mark.parametrize("sampler_name", sorted(SAMPLERS))
def test_buffer_is_a_ring(storage_name: str, sampler_name: str) -> None:
    """Any sequence of writes, draws, passes, saves and loads does to the buffer what it does to a list."""

    class Case(Ring):
        """The ring with one storage and one sampler."""

    Case.storage_name, Case.sampler_name = storage_name, sampler_name
    run_state_machine_as_test(Case, settings=settings(max_examples=20, stateful_step_count=25, deadline=None))
