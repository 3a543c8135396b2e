"""Draws that prefer rows of recent versions of the policy."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import Tensor

from rl_buffers import LazyTensorStorage, ListStorage, StalenessAwareSampler, Storage, TensorDictReplayBuffer
from rl_specs import DTypeError, MissingKeyError, ShapeError


def _buffer(
    sampler: StalenessAwareSampler, versions: list[int], seed: int = 0, storage: Storage | None = None
) -> TensorDictReplayBuffer:
    generator = torch.Generator().manual_seed(seed)
    storage = storage if storage is not None else LazyTensorStorage(16)
    buffer = TensorDictReplayBuffer(storage=storage, sampler=sampler, generator=generator)
    if versions:
        buffer.extend(_rows(versions))
    return buffer


def _rows(versions: list[int]) -> TensorDict:
    return TensorDict({"policy_version": torch.tensor(versions).unsqueeze(1)}, batch_size=[len(versions)])


def _shares(buffer: TensorDictReplayBuffer, draws: int = 20_000) -> list[float]:
    counts = torch.bincount(buffer.sample(draws)["index"], minlength=len(buffer))
    return (counts / draws).tolist()


def test_shares_by_hand() -> None:
    """At version 3, rows of versions 3, 3, 2 and 0 have weights 1, 1, 1/2, 1/4, and are drawn in these proportions."""
    sampler = StalenessAwareSampler()
    sampler.consumer_version = 3
    buffer = _buffer(sampler, [3, 3, 2, 0])
    assert _shares(buffer) == pytest.approx([4 / 11, 4 / 11, 2 / 11, 1 / 11], abs=0.015)
    sampler.consumer_version += 2
    weights = [1 / 3, 1 / 3, 1 / 4, 1 / 6]
    assert _shares(buffer) == pytest.approx([weight / sum(weights) for weight in weights], abs=0.015)


def test_rows_behind_are_left_out() -> None:
    """Rows more than `max_staleness` versions behind are never drawn, and those newer than the consumer are fresh."""
    sampler = StalenessAwareSampler(max_staleness=1)
    sampler.consumer_version = 4
    buffer = _buffer(sampler, [2, 3, 4, 9])
    assert _shares(buffer) == pytest.approx([0.0, 0.2, 0.4, 0.4], abs=0.015)
    sampler.max_staleness = 0
    assert set(buffer.sample(100)["index"].tolist()) == {2, 3}
    sampler.max_staleness = -1
    assert set(buffer.sample(1000)["index"].tolist()) == {0, 1, 2, 3}


def test_writes_are_seen() -> None:
    """Rows written after a draw, by any way of writing, count from the next one on."""
    sampler = StalenessAwareSampler(max_staleness=0)
    sampler.consumer_version = 7
    buffer = _buffer(sampler, [7, 1])
    assert set(buffer.sample(50)["index"].tolist()) == {0}
    buffer.add(_rows([7])[0])
    assert set(buffer.sample(50)["index"].tolist()) == {0, 2}
    buffer.extend(_rows([3, 7]))
    buffer[0] = _rows([1])[0]
    assert set(buffer.sample(50)["index"].tolist()) == {2, 4}
    buffer.empty()
    buffer.extend(_rows([1, 7]))
    assert set(buffer.sample(50)["index"].tolist()) == {1}


def test_another_weight_and_another_key() -> None:
    """f and the entry can be chosen; of a row with several versions the oldest counts; any storage does."""
    versions = torch.tensor([[5, 5], [5, 4], [3, 5]])
    for storage in (LazyTensorStorage(8), ListStorage(8)):
        sampler = StalenessAwareSampler(-1, lambda s: (s == 1).float(), version_key=("collector", "version"))
        sampler.consumer_version = 5
        buffer = _buffer(sampler, [], storage=storage)
        buffer.extend(TensorDict({"collector": {"version": versions}}, batch_size=[3]))
        assert set(buffer.sample(30)["index"].tolist()) == {1}


@given(st.lists(st.integers(0, 6), min_size=1, max_size=16), st.integers(0, 8), st.integers(-1, 4), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_draws_are_those_of_running_sums_over_rows(versions: list[int], consumer: int, limit: int, seed: int) -> None:
    """Rows drawn are those that the same random numbers find in running sums over all rows."""
    sampler = StalenessAwareSampler(limit)
    sampler.consumer_version = consumer
    buffer = _buffer(sampler, versions, seed)
    staleness = (consumer - torch.tensor(versions)).clamp(min=0)
    weights = (1.0 / (staleness.double() + 1.0)) * ((staleness <= limit) | (limit < 0))
    if not weights.any():
        with pytest.raises(RuntimeError, match="no row can be drawn"):
            buffer.sample(1)
        return
    twin = torch.Generator().manual_seed(seed)
    targets = torch.rand(30, dtype=torch.float64, generator=twin) * weights.sum()
    index = buffer.sample(30)["index"]
    ends = weights.cumsum(0)
    assert (weights[index] > 0).all()
    assert (ends[index] >= targets - 1e-12).all()
    assert (ends[index] - weights[index] <= targets + 1e-12).all()


def test_state() -> None:
    """A buffer that loads a state goes on with the same batches, from the same version."""
    sampler, other = StalenessAwareSampler(2), StalenessAwareSampler()
    sampler.consumer_version = 3
    buffer, twin = _buffer(sampler, [0, 1, 2, 3, 3]), _buffer(other, [9], seed=4)
    buffer.sample(3)
    twin.load_state_dict(buffer.state_dict())
    assert torch.equal(buffer.sample(20)["index"], twin.sample(20)["index"])
    assert (other.consumer_version, other.max_staleness) == (3, 2)
    with pytest.raises(ValueError, match="version_key"):
        _buffer(StalenessAwareSampler(version_key="v"), []).load_state_dict(buffer.state_dict())


def test_no_row_is_fresh_enough() -> None:
    """The error says how far behind the newest row is."""
    sampler = StalenessAwareSampler(max_staleness=2)
    sampler.consumer_version = 10
    with pytest.raises(RuntimeError, match=r"at most 2 versions behind.*found versions up to 6, 4 behind 10"):
        _buffer(sampler, [5, 6]).sample(1)


@pytest.mark.parametrize(
    ("weight", "error", "words"),
    [
        (lambda s: -1.0 * s, ValueError, r"for a staleness of 2\. Expected a finite number >= 0, found -2.0"),
        (lambda s: s / 0.0, ValueError, "found inf"),
        (lambda s: s[:0], ShapeError, r"Expected a tensor \[2\], found \[0\]"),
    ],
)
def test_weights_that_are_none(weight: Callable[[Tensor], Tensor], error: type[Exception], words: str) -> None:
    """What a function returns is checked, and named with the staleness it was asked for."""
    sampler = StalenessAwareSampler(staleness_weight_fn=weight)
    sampler.consumer_version = 4
    with pytest.raises(error, match=words):
        _buffer(sampler, [2, 1]).sample(1)


def test_versions_that_collectors_write_are_found() -> None:
    """Without `version_key` the version is the entry of that name at the root, and else among those of collectors."""
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(9), sampler=StalenessAwareSampler(max_staleness=0), batch_size=20
    )
    version = torch.tensor([0, 0, 1])
    buffer.extend(TensorDict({"a": torch.arange(3), "collector": {"policy_version": version}}, [3]))
    buffer.sampler.consumer_version = 1  # type: ignore[attr-defined]  # of this sampler
    assert buffer.sample()["a"].unique().tolist() == [2]
    both = TensorDictReplayBuffer(storage=LazyTensorStorage(9), sampler=StalenessAwareSampler(0), batch_size=20)
    entries = {"a": torch.arange(3), "policy_version": 1 - version, "collector": {"policy_version": version}}
    both.extend(TensorDict(entries, [3]))
    both.sampler.consumer_version = 1  # type: ignore[attr-defined]  # of this sampler
    assert set(both.sample()["a"].tolist()) == {0, 1}


def test_rows_without_versions() -> None:
    """A missing entry, and one that holds no integers, are named."""
    buffer = _buffer(StalenessAwareSampler(), [])
    buffer.extend(TensorDict({"a": torch.zeros(3)}, batch_size=[3]))
    with pytest.raises(MissingKeyError, match=r'"policy_version" missing'):
        buffer.sample(1)
    buffer = _buffer(StalenessAwareSampler(version_key="a"), [])
    buffer.extend(TensorDict({"a": torch.zeros(3)}, batch_size=[3]))
    with pytest.raises(DTypeError, match=r"Expected integers in the entry 'a', found torch\.float32"):
        buffer.sample(1)


@pytest.mark.parametrize("value", [-2, 1.5, True])
def test_arguments(value: Any) -> None:
    """`max_staleness` and `consumer_version` are integers."""
    with pytest.raises(ValueError, match=r"max_staleness\. Expected an integer >= -1"):
        StalenessAwareSampler(value)
    if value != -2:
        with pytest.raises(TypeError, match=r"consumer_version\. Expected an integer"):
            StalenessAwareSampler().consumer_version = value
    assert repr(StalenessAwareSampler(3)) == "StalenessAwareSampler(max_staleness=3, consumer_version=0)"
