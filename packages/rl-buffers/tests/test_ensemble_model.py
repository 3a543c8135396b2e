"""Ensembles of buffers against a model: a Python list used as a ring for each member."""

import itertools
import tempfile
from pathlib import Path
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
    PrioritizedSampler,
    RandomSampler,
    ReplayBufferEnsemble,
    RoundRobinWriter,
    SamplerEnsemble,
    SamplerWithoutReplacement,
    StorageEnsemble,
    TensorStorage,
    WriterEnsemble,
)

STORAGES: dict[str, Any] = {
    "compressed": CompressedListStorage,
    "given": lambda size: TensorStorage(_rows(-1, 1), max_size=size),
    "list": ListStorage,
    "memmap": LazyMemmapStorage,
    "stack": LazyStackStorage,
    "tensor": LazyTensorStorage,
}
SAMPLERS: dict[str, Any] = {
    "random": lambda size: RandomSampler(),
    "pass": lambda size: SamplerWithoutReplacement(),
    "prioritized": lambda size: PrioritizedSampler(size, 0.7, 0.5),
}


def _rows(first: int, count: int) -> TensorDict:
    numbers = torch.arange(first, first + count)
    return TensorDict({"a": numbers, "in": {"b": numbers.double().view(-1, 1).expand(-1, 3)}}, [count])


def _negated(batch: TensorDict) -> TensorDict:
    """The transform of the second member."""
    return batch.set(("in", "b"), -batch["in", "b"])


class Ensemble(RuleBasedStateMachine):
    """Rules that do the same to the members of an ensemble and to lists."""

    storage_names = ("tensor", "tensor")
    sampler_name = "random"

    @initialize(
        sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)), is_from_all=st.booleans(), parts=st.integers(1, 3)
    )
    def build(self, sizes: tuple[int, int], is_from_all: bool, parts: int) -> None:
        """Members start empty, or with the row that their storage was made with."""
        self.sizes, self.is_from_all, self.parts = sizes, is_from_all, 2 if is_from_all else parts
        self.ensemble = self.fresh(0)
        self.models = [[-1] if name == "given" else [] for name in self.storage_names]
        self.cursors = [len(model) % size for model, size in zip(self.models, sizes, strict=True)]
        self.counter = 0

    def fresh(self, seed: int) -> ReplayBufferEnsemble:
        """A new ensemble of the kind under test."""
        storages = [STORAGES[name](size) for name, size in zip(self.storage_names, self.sizes, strict=True)]
        samplers = [SAMPLERS[self.sampler_name](size) for size in self.sizes]
        chosen = None if self.is_from_all else self.parts
        return ReplayBufferEnsemble(
            storages=StorageEnsemble(*storages, transforms=[None, _negated]),
            samplers=SamplerEnsemble(*samplers, sample_from_all=self.is_from_all, num_buffer_sampled=chosen),
            writers=WriterEnsemble(RoundRobinWriter(), RoundRobinWriter()),
            generator=torch.Generator().manual_seed(seed),
        )

    def teardown(self) -> None:
        """No thread is left."""
        self.ensemble.close()

    def put(self, member: int, count: int) -> None:
        """Write rows to a list."""
        for value in range(self.counter, self.counter + count):
            place = self.cursors[member]
            self.models[member][place : place + 1] = [value]
            self.cursors[member] = (place + 1) % self.sizes[member]
        self.counter += count

    @rule(member=st.integers(0, 1), count=st.integers(0, 20))
    def extend(self, member: int, count: int) -> None:
        """Write a batch to a member."""
        self.ensemble[member].extend(_rows(self.counter, count))
        self.put(member, count)

    @rule(member=st.integers(0, 1))
    def add(self, member: int) -> None:
        """Write a row to a member."""
        place = self.cursors[member]
        assert self.ensemble[member].add(_rows(self.counter, 1)[0]) == place
        self.put(member, 1)

    @rule()
    def write_to_the_ensemble(self) -> None:
        """Nobody knows which member a row would belong to."""
        with pytest.raises(RuntimeError, match="not written to"):
            self.ensemble.extend(_rows(self.counter, 1))
        with pytest.raises(RuntimeError, match="not written to"):
            self.ensemble.writers.add(_rows(self.counter, 1)[0])

    @rule(member=st.integers(0, 1), data=st.data())
    def overwrite(self, member: int, data: Any) -> None:
        """Write a row of a member in place, and give it a priority where there are any."""
        if self.models[member]:
            place = data.draw(st.integers(0, len(self.models[member]) - 1))
            self.ensemble[member][place] = _rows(self.counter, 1)[0]
            self.models[member][place] = self.counter
            self.counter += 1
            if self.sampler_name == "prioritized":
                self.ensemble[member].update_priority(place, data.draw(st.sampled_from([0.1, 2.0])))

    @rule(count=st.integers(1, 9))
    def sample(self, count: int) -> None:
        """Draw a batch: each part holds rows of the member and the places that it names."""
        if not all(self.models):
            with pytest.raises(RuntimeError, match="are empty"):
                self.ensemble.sample(self.parts * count)
            return
        if self.sampler_name == "pass":
            count = 1  # a pass may end with a smaller batch, which cannot be stacked
        batch, info = self.ensemble.sample(self.parts * count, return_info=True)
        assert batch.shape == (self.parts, count)
        members = info["index"]["buffer_ids"].tolist()
        assert members == [0, 1] if self.is_from_all else len(members) == self.parts
        for part, member, places in zip(batch, members, info["index"]["index"].tolist(), strict=True):
            assert part["a"].tolist() == [self.models[member][place] for place in places]
            assert part["in", "b"][:, 2].tolist() == [(1 - 2 * member) * value for value in part["a"].tolist()]

    @precondition(lambda self: all(self.models))
    @rule()
    def iterate(self) -> None:
        """The ensemble has no batch size of its own here."""
        with pytest.raises(ValueError, match="batch size"):
            next(iter(self.ensemble))

    @rule(seed=st.integers(0, 5), in_file=st.booleans())
    def save_and_load(self, seed: int, in_file: bool) -> None:
        """Go on with another ensemble that loaded the state of this one; both give the same batch."""
        other, again = self.fresh(seed + 1), self.fresh(seed)
        with tempfile.TemporaryDirectory() as folder:
            if in_file:
                self.ensemble.dumps(Path(folder))
                again.loads(folder)
            else:
                again.load_state_dict(self.ensemble.state_dict())
            other.load_state_dict(self.ensemble.state_dict())
        if all(self.models):
            one, two = other.sample(self.parts), self.ensemble.sample(self.parts)
            assert torch.equal(one["a"], two["a"])
        self.ensemble.close()
        self.ensemble = again

    @rule(member=st.sampled_from([0, 1, None]))
    def empty(self, member: int | None) -> None:
        """Forget the rows of a member, or of all."""
        (self.ensemble if member is None else self.ensemble[member]).empty()
        for number in (0, 1) if member is None else (member,):
            self.models[number], self.cursors[number] = [], 0

    @invariant()
    def same_rows(self) -> None:
        """Lengths and rows are those of the lists."""
        assert self.ensemble.storages.sizes == [len(model) for model in self.models]
        assert len(self.ensemble) == sum(map(len, self.models))
        for member, model in enumerate(self.models):
            if model:
                assert self.ensemble[member][:]["a"].tolist() == model


def _run(storages: tuple[str, str], sampler: str, examples: int) -> None:
    class Case(Ensemble):
        """The ensemble with these parts."""

    Case.storage_names, Case.sampler_name = storages, sampler
    run_state_machine_as_test(Case, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None))


@pytest.mark.parametrize(
    ("storages", "sampler"),
    [(("tensor", "list"), "random"), (("memmap", "given"), "prioritized"), (("compressed", "stack"), "pass")],
)
def test_ensemble_is_its_model(storages: tuple[str, str], sampler: str) -> None:
    """Any sequence of writes to members, draws, saves and loads does to them what it does to lists."""
    _run(storages, sampler, 6)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("storages", list(itertools.combinations_with_replacement(STORAGES, 2)))
def test_every_ensemble_is_its_model(storages: tuple[str, str], sampler: str) -> None:
    """The same for every pair of storages with every sampler, for longer."""
    _run(storages, sampler, 12)
