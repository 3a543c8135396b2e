"""The index of trajectories against a model of the ring."""

from dataclasses import dataclass, field
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

from rl_buffers import BaseTensorStorage, LazyTensorStorage, ListStorage, SliceSampler, TensorDictReplayBuffer


class LanedStorage(BaseTensorStorage):
    """Tensors, three sequences side by side."""

    def __init__(self, max_size: int) -> None:
        super().__init__(max_size, torch.device("cpu"))

    def _allocate(self, number: int, width: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return torch.empty(self._max_size, width, dtype=dtype, device=device)

    @property
    def lanes(self) -> int:
        """Three."""
        return 3


def steps(numbers: list[int], done: list[bool], ids: list[int] | None = None) -> TensorDict:
    """Rows with a number, a flag and an id that changes after each flag."""
    count = len(numbers)
    ends = torch.tensor(done, dtype=torch.bool).view(count, 1)
    data = TensorDict({"number": torch.tensor(numbers), "next": {"done": ends}}, [count])
    return data if ids is None else data.set("id", torch.tensor(ids, dtype=torch.int32).view(count, 1))


@dataclass
class Model:
    """Rows of a ring: number, flag, id and time of writing of each."""

    size: int
    lanes: int = 1
    cursor: int = 0
    clock: int = 0
    number: dict[int, int] = field(default_factory=dict)
    done: dict[int, bool] = field(default_factory=dict)
    id: dict[int, int] = field(default_factory=dict)
    stamp: dict[int, int] = field(default_factory=dict)

    def put(self, number: int, done: bool, id: int) -> None:
        """Write the next row."""
        row = self.cursor
        self.number[row], self.done[row], self.id[row], self.stamp[row] = number, done, id, self.clock
        self.cursor, self.clock = (row + 1) % self.size, self.clock + 1

    def goes_on(self, row: int, by: str) -> bool:
        """Whether the trajectory of a row goes on in the row after it."""
        after = (row + self.lanes) % self.size
        if self.stamp.get(after) != self.stamp[row] + self.lanes:
            return False
        return not self.done[row] if by == "flag" else self.id[row] == self.id[after]

    def trajectories(self, by: str) -> list[list[int]]:
        """Rows of each stored trajectory, sorted."""
        followed = {(row + self.lanes) % self.size for row in self.stamp if self.goes_on(row, by)}
        found = []
        for first in self.stamp:
            if first in followed:
                continue
            rows = [first]
            while self.goes_on(rows[-1], by):
                rows.append((rows[-1] + self.lanes) % self.size)
            found.append(rows)
        return sorted(found)


STORAGES: dict[str, Any] = {"list": ListStorage, "tensor": LazyTensorStorage, "lanes": LanedStorage}
FLAGS = st.lists(st.booleans(), min_size=1, max_size=8)


class Ring(RuleBasedStateMachine):
    """Rules that do the same to a buffer and to the model."""

    storage_name = "tensor"
    by = "flag"

    @initialize(size=st.integers(1, 4), length=st.integers(1, 3), is_strict=st.booleans())
    def build(self, size: int, length: int, is_strict: bool) -> None:
        """Both start empty."""
        self.lanes = 3 if self.storage_name == "lanes" else 1
        self.size = size * 3
        self.length, self.is_strict = length, is_strict
        self.model = Model(self.size, self.lanes)
        self.buffer = self.fresh()
        self.next_number = self.next_id = 0
        self.ids = [0] * self.lanes

    def fresh(self) -> TensorDictReplayBuffer:
        """A new buffer of the kind under test."""
        key: dict[str, Any] = {"end_key": ("next", "done")} if self.by == "flag" else {"traj_key": "id"}
        sampler = SliceSampler(slice_len=self.length, strict_length=self.is_strict, uniform_over="starts", **key)
        generator = torch.Generator().manual_seed(0)
        storage = STORAGES[self.storage_name](self.size)
        return TensorDictReplayBuffer(storage=storage, sampler=sampler, generator=generator)

    @rule(flags=FLAGS, repeat=st.integers(1, 3))
    def extend(self, flags: list[bool], repeat: int) -> None:
        """Write a batch, as many rows in each lane."""
        done = [flag for flag in flags * repeat for _ in range(self.lanes)]
        ids = []
        for position, flag in enumerate(done):
            lane = position % self.lanes
            ids.append(self.ids[lane])
            self.model.put(self.next_number + position, flag, self.ids[lane])
            if flag:
                self.next_id += 1
                self.ids[lane] = self.next_id
        self.buffer.extend(steps(list(range(self.next_number, self.next_number + len(done))), done, ids))
        self.next_number += len(done)

    @precondition(lambda self: self.storage_name != "lanes")
    @rule(flag=st.booleans())
    def add(self, flag: bool) -> None:
        """Write a row."""
        self.model.put(self.next_number, flag, self.ids[0])
        self.buffer.add(steps([self.next_number], [flag], [self.ids[0]])[0])
        self.next_number += 1
        if flag:
            self.next_id += 1
            self.ids[0] = self.next_id

    @precondition(lambda self: self.model.stamp)
    @rule(place=st.integers(0, 11), flag=st.booleans(), other=st.integers(0, 3))
    def overwrite(self, place: int, flag: bool, other: int) -> None:
        """Replace a row by one with another flag and id."""
        row = place % len(self.model.stamp)
        self.model.number[row], self.model.done[row], self.model.id[row] = self.next_number, flag, other
        data = steps([self.next_number], [flag], [other])
        if place % 2:
            self.buffer[row] = data[0]
        else:
            self.buffer[torch.tensor([row])] = data
        self.next_number += 1

    @rule()
    def save_and_load(self) -> None:
        """Go on with another buffer that loaded the state of this one; both give the same batches."""
        other = self.fresh()
        other.load_state_dict(self.buffer.state_dict())
        if self.weights():
            again = self.fresh()
            again.load_state_dict(self.buffer.state_dict())
            for _ in range(2):
                assert torch.equal(again.sample(self.length * 4)["index"], self.buffer.sample(self.length * 4)["index"])
            other.load_state_dict(self.buffer.state_dict())
        self.buffer = other

    @rule()
    def empty(self) -> None:
        """Forget everything."""
        self.buffer.empty()
        self.model = Model(self.size, self.lanes)

    def slices(self) -> list[list[int]]:
        """All slices that may be drawn."""
        found = []
        for rows in self.model.trajectories(self.by):
            length = min(self.length, len(rows))
            if length == self.length or not self.is_strict:
                found += [rows[start : start + length] for start in range(len(rows) - length + 1)]
        return found

    def weights(self) -> int:
        """How many slices there are."""
        return len(self.slices())

    @precondition(lambda self: self.model.stamp)
    @rule(count=st.integers(1, 5))
    def sample(self, count: int) -> None:
        """Draw slices: each is one of those that may be drawn, and the batch tells where it ends."""
        if not self.slices():
            with pytest.raises(RuntimeError, match="no stored trajectory is as long as a slice"):
                self.buffer.sample(count * self.length)
            return
        batch = self.buffer.sample(count * self.length)
        rows = batch["index"].tolist()
        assert batch["number"].tolist() == [self.model.number[row] for row in rows]
        ends = (batch["next", "truncated"].squeeze(1).nonzero().squeeze(1) + 1).tolist()
        drawn = [rows[start:stop] for start, stop in zip([0, *ends[:-1]], ends, strict=True)]
        assert len(drawn) == count
        assert ends[-1] == len(rows)
        assert all(rows in self.slices() for rows in drawn)

    @invariant()
    def same_trajectories(self) -> None:
        """The index holds the trajectories of the model, and as many slices as there are."""
        if not self.model.stamp or self.next_number % 3 == 0:
            return
        sampler = self.buffer.sampler
        assert isinstance(sampler, SliceSampler)
        source = sampler._source
        tally = source.update(self.buffer.storage, source.cut(self.length))
        assert tally.total == self.weights()
        first, length = source.index.extents(source.index.slots())
        firsts = source.index.ring.rows_of(torch.from_numpy(first)).tolist()
        found = [
            [(row + self.lanes * step) % self.size for step in range(count)]
            for row, count in zip(firsts, length.tolist(), strict=True)
            if count
        ]
        assert sorted(found) == self.model.trajectories(self.by)


@pytest.mark.parametrize("storage_name", sorted(STORAGES))
@pytest.mark.parametrize("by", ["flag", "id"])
def test_index_is_that_of_the_model(storage_name: str, by: str) -> None:
    """After any writes, the index holds the trajectories that a loop over the rows finds, and slices lie in these."""

    class Case(Ring):
        """The ring with one storage and one way to tell trajectories apart."""

    Case.storage_name, Case.by = storage_name, by
    run_state_machine_as_test(Case, settings=settings(max_examples=15, stateful_step_count=25, deadline=None))
