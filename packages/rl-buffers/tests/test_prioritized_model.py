"""Prioritized buffers against a model: lists of rows, priorities and writings, and sums over all of them."""

from typing import Any

import numpy as np
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

from rl_buffers import LazyTensorStorage, ListStorage, PrioritizedSampler, TensorDictPrioritizedReplayBuffer

PRIORITY = st.sampled_from([0.0, 1e-6, 0.25, 1.0, 3.0, 1e6])


class Model(RuleBasedStateMachine):
    """Rules that do the same to a buffer and to lists."""

    storage: Any
    alpha: float
    eps: float

    @initialize(size=st.integers(1, 9), seed=st.integers(0, 99))
    def build(self, size: int, seed: int) -> None:
        """Both start empty."""
        self.size = size
        self.generator = torch.Generator().manual_seed(seed)
        self.buffer = self.fresh(self.generator)
        self.values: list[int] = []
        self.leaves: list[float] = []
        self.writings: list[int] = []
        self.cursor = self.counter = 0
        self.batches: list[tuple[Any, list[int]]] = []

    def fresh(self, generator: torch.Generator) -> TensorDictPrioritizedReplayBuffer:
        """A new buffer."""
        return TensorDictPrioritizedReplayBuffer(
            alpha=self.alpha,
            beta=0.7,
            eps=self.eps,
            dtype=torch.float64,
            storage=self.storage(self.size),
            generator=generator,
        )

    def leaf(self, priority: float) -> float:
        """What a priority counts in a draw."""
        return float((np.array([priority]) + self.eps)[0] ** self.alpha)

    def rows(self, count: int) -> TensorDict:
        """New rows, numbered on."""
        self.counter += count
        return TensorDict({"a": torch.arange(self.counter - count, self.counter)}, batch_size=[count])

    @rule(count=st.integers(0, 20))
    def extend(self, count: int) -> None:
        """Write a batch."""
        first = self.counter
        index = self.buffer.extend(self.rows(count))
        kept = min(count, self.size)
        places = [(self.cursor + count - kept + number) % self.size for number in range(kept)]
        assert index.tolist() == places
        self.put(places, first + count - kept)
        self.cursor = (self.cursor + count) % self.size

    def put(self, places: list[int], first: int) -> None:
        """Write rows to the lists, with the largest priority of the other rows."""
        others = [leaf for place, leaf in enumerate(self.leaves) if place not in places]
        leaf = max(others, default=0.0) or self.leaf(1.0)
        for number in sorted(range(len(places)), key=places.__getitem__):
            place = places[number]
            self.values[place : place + 1] = [first + number]
            self.leaves[place : place + 1] = [leaf]
            self.writings[place : place + 1] = [first + number]

    @rule()
    def add(self) -> None:
        """Write a row."""
        first = self.counter
        assert self.buffer.add(self.rows(1)[0]) == self.cursor
        self.put([self.cursor], first)
        self.cursor = (self.cursor + 1) % self.size

    @precondition(lambda self: self.values)
    @rule(data=st.data())
    def overwrite(self, data: Any) -> None:
        """Write rows in place."""
        places = data.draw(st.lists(st.integers(0, len(self.values) - 1), min_size=1, max_size=4, unique=True))
        first = self.counter
        self.buffer[torch.tensor(places)] = self.rows(len(places))
        self.put(places, first)

    @precondition(lambda self: self.values)
    @rule(data=st.data())
    def update(self, data: Any) -> None:
        """Set priorities of any rows, some perhaps twice, some not there."""
        pairs = data.draw(st.lists(st.tuples(st.integers(0, self.size - 1), PRIORITY), max_size=6))
        index = torch.tensor([place for place, _ in pairs], dtype=torch.int64)
        self.buffer.update_priority(index, torch.tensor([priority for _, priority in pairs], dtype=torch.float64))
        for place, priority in pairs:
            if place < len(self.leaves):
                self.leaves[place] = self.leaf(priority)

    @precondition(lambda self: sum(self.leaves) > 0.0)
    @rule(count=st.integers(1, 9))
    def sample(self, count: int) -> None:
        """Draw a batch: rows and weights are those that the same random numbers find in running sums of the lists."""
        twin = torch.Generator()
        twin.set_state(self.generator.get_state())
        batch = self.buffer.sample(count)
        index = batch["index"]
        assert batch["a"].tolist() == [self.values[place] for place in index.tolist()]
        leaves = np.array(self.leaves)
        ends = leaves.cumsum()
        uniform = torch.rand(count, dtype=torch.float64, generator=twin).numpy()
        targets = (np.arange(count) + uniform) / count * ends[-1]
        slack = 1e-12 * ends[-1]
        assert (ends[index] >= targets - slack).all()
        assert (ends[index] - leaves[index] <= targets + slack).all()
        assert (leaves[index] > 0.0).all()
        weights = (leaves[index] / leaves[leaves > 0.0].min()) ** -0.7
        assert batch["_weight"].numpy() == pytest.approx(weights, rel=1e-9)
        self.batches.append((batch, [self.writings[place] for place in index.tolist()]))

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def update_batch(self, data: Any) -> None:
        """Write priorities to a batch drawn earlier: only rows that are still the ones drawn take them."""
        batch, writings = data.draw(st.sampled_from(self.batches))
        priority = data.draw(st.lists(PRIORITY, min_size=len(writings), max_size=len(writings)))
        batch["td_error"] = torch.tensor(priority, dtype=torch.float64)
        self.buffer.update_tensordict_priority(batch)
        for place, writing, value in zip(batch["index"].tolist(), writings, priority, strict=True):
            if place < len(self.writings) and self.writings[place] == writing:
                self.leaves[place] = self.leaf(value)

    @rule()
    def save_and_load(self) -> None:
        """Go on with another buffer that loaded the state of this one."""
        generator = torch.Generator()
        other = self.fresh(generator)
        other.load_state_dict(self.buffer.state_dict())
        if sum(self.leaves) > 0.0:
            twin = self.fresh(torch.Generator())
            twin.load_state_dict(self.buffer.state_dict())
            one, two = self.buffer.sample(4), twin.sample(4)
            assert all(torch.equal(one[key], two[key]) for key in ("index", "_weight", "_stamp"))
        self.buffer, self.generator = other, generator

    @rule()
    def empty(self) -> None:
        """Forget everything."""
        self.buffer.empty()
        self.values, self.leaves, self.writings, self.cursor = [], [], [], 0

    @invariant()
    def same_leaves(self) -> None:
        """Rows and what they count in draws are those of the lists; so is the largest priority."""
        assert len(self.buffer) == len(self.values)
        sampler = self.buffer.sampler
        assert isinstance(sampler, PrioritizedSampler)
        assert sampler.state_dict()["leaves"].tolist() == pytest.approx(self.leaves, rel=1e-12)
        largest = max(self.leaves, default=0.0)
        expected = largest ** (1.0 / self.alpha) - self.eps if largest > 0.0 else 1.0
        assert sampler.max_priority == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("storage", [LazyTensorStorage, ListStorage])
@pytest.mark.parametrize(("alpha", "eps"), [(1.0, 0.0), (0.6, 1e-8)])
def test_buffer_is_the_model(storage: Any, alpha: float, eps: float) -> None:
    """Any sequence of writes, draws, updates late or not, saves and loads does to the buffer what it does to lists."""

    class Case(Model):
        """One storage and one exponent."""

    Case.storage, Case.alpha, Case.eps = storage, alpha, eps
    run_state_machine_as_test(Case, settings=settings(max_examples=40, stateful_step_count=25, deadline=None))
