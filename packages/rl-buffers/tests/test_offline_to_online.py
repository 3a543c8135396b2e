"""A fixed data set and a ring, sampled together."""

import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_buffers import (
    ImmutableDatasetWriter,
    LazyTensorStorage,
    OfflineToOnlineReplayBuffer,
    ReplayBuffer,
    TensorDictReplayBuffer,
    TensorStorage,
)
from rl_specs import SpecError


def _rows(first: int, count: int) -> TensorDict:
    return TensorDict({"a": torch.arange(first, first + count), "in": {"b": torch.zeros(count, 3)}}, [count])


def _buffer(kind: Any = TensorDictReplayBuffer, seed: int = 0, **options: Any) -> OfflineToOnlineReplayBuffer:
    generator = torch.Generator().manual_seed(seed)
    dataset = kind(storage=TensorStorage(_rows(0, 50)), writer=ImmutableDatasetWriter(), generator=generator)
    return OfflineToOnlineReplayBuffer(dataset, generator=torch.Generator().manual_seed(seed + 1), **options)


@pytest.mark.parametrize("kind", [ReplayBuffer, TensorDictReplayBuffer])
@pytest.mark.parametrize(("fraction", "expected"), [(0.5, 5), (0.25, 2), (0.26, 3), (1.0, 10), (0.0, 0)])
def test_the_split_is_exact(kind: Any, fraction: float, expected: int) -> None:
    """Of ten rows `round(10 fraction)` come from the data set in every batch, first, under their numbers there."""
    buffer = _buffer(kind, offline_fraction=fraction, batch_size=10, online_capacity=20)
    buffer.extend(_rows(1000, 12))
    buffer.add(_rows(1012, 1)[0])
    for _ in range(5):
        batch, info = buffer.sample(return_info=True)
        assert batch["buffer_ids"].tolist() == [0] * expected + [1] * (10 - expected)
        assert torch.equal(batch["a"], batch["index"] + 1000 * batch["buffer_ids"])
        assert torch.equal(info["index"], batch["index"])
        assert torch.equal(info["buffer_ids"], batch["buffer_ids"])
    assert len(buffer) == 63


def _batches(buffer: OfflineToOnlineReplayBuffer) -> list[list[int]]:
    """Numbers in the batches of a program that writes and draws, with a fraction that follows what is written."""
    seen = []
    for turn in range(6):
        seen += [buffer.sample()["a"].tolist() for _ in range(3)]
        if turn % 2:
            buffer.add(_rows(1000 + turn, 1)[0])
        else:
            buffer.extend(_rows(2000 + 10 * turn, 9))
        if turn == 3:
            seen.append(buffer.offline_buffer.sample(4)["a"].tolist())
        if turn == 4:
            buffer.offline_fraction = 0.1
    buffer.load_state_dict(buffer.state_dict())
    return [*seen, buffer.sample()["a"].tolist(), buffer.sample(return_info=True)[1]["index"].tolist()]


@pytest.mark.parametrize("kind", [ReplayBuffer, TensorDictReplayBuffer])
def test_prefetching_is_not_seen(kind: Any) -> None:
    """Whatever is written in between, batches are those made without it; rows of both are read in the thread."""

    def note(number: int, batch: Any) -> Any:
        made.add((number, threading.current_thread().name.startswith("rl-buffers-prefetch")))
        return batch

    made: set[tuple[int, bool]] = set()
    options: dict[str, Any] = {"batch_size": 10, "online_capacity": 20, "offline_fraction": lambda n: 1 / (1 + n / 9)}
    plain, ahead = _buffer(kind, **options), _buffer(kind, prefetch=2, **options)
    ahead.offline_buffer.append_transform(partial(note, 0))
    ahead.online_buffer.append_transform(partial(note, 1))
    assert _batches(plain) == _batches(ahead)
    assert {(0, True), (1, True)} <= made
    ahead.close()
    dataset = TensorDictReplayBuffer(storage=TensorStorage(_rows(0, 5)), writer=ImmutableDatasetWriter(), prefetch=1)
    with pytest.raises(ValueError, match="Give prefetch to the ensemble alone"):
        OfflineToOnlineReplayBuffer(dataset, prefetch=2)


def test_all_rows_come_from_the_data_set_as_long_as_there_are_no_others() -> None:
    """Before the first write, and after `empty`, which leaves the data set as it is."""
    buffer = _buffer(batch_size=10)
    assert (buffer.sample()["a"] < 50).all()
    buffer.extend(_rows(1000, 4))
    assert (buffer.sample()["a"] >= 1000).sum() == 5
    buffer.empty()
    assert (buffer.sample()["a"] < 50).all()
    assert buffer.offline_buffer[:]["a"].tolist() == list(range(50))


def test_the_fraction_may_follow_the_rows_written() -> None:
    """A schedule of `write_count` is asked for every batch; a number that is set takes its place."""
    buffer = _buffer(batch_size=10, offline_fraction=lambda n: max(0.0, 1 - n / 20))
    shares = []
    for first in range(1000, 1030, 5):
        buffer.extend(_rows(first, 5))
        shares.append(int((buffer.sample()["buffer_ids"] == 0).sum()))
    assert shares == [8, 5, 2, 0, 0, 0]
    assert buffer.offline_fraction == 0.0
    buffer.offline_fraction = 0.3
    assert (buffer.sample()["buffer_ids"] == 0).sum() == 3
    with pytest.raises(ValueError, match="offline_fraction"):
        buffer.offline_fraction = 1.5
    assert buffer.offline_fraction == 0.3


def test_a_checkpoint_restores_both(tmp_path: Path) -> None:
    """After loading, batches and fraction are those of the buffer that was saved."""
    buffer, other = _buffer(batch_size=10), _buffer(batch_size=10, seed=5)
    buffer.extend(_rows(1000, 12))
    buffer.offline_fraction = 0.2
    buffer.sample()
    buffer.dumps(tmp_path)
    other.loads(tmp_path)
    for _ in range(3):
        assert (buffer.sample() == other.sample()).all()
    assert other.offline_fraction == 0.2
    assert other.write_count == 12
    with pytest.raises(SpecError, match="schedule"):
        _buffer(offline_fraction=lambda n: 0.5).loads(tmp_path)


def test_rows_that_differ_and_wrong_arguments_are_refused() -> None:
    """Entries that only one side has are listed; wrong arguments say what is expected."""
    buffer = _buffer(batch_size=10)
    buffer.extend(TensorDict({"a": torch.arange(4), "c": torch.zeros(4)}, [4]))
    with pytest.raises(SpecError, match=r'only in the data set: \("in", "b"\); only in the ring: "c"'):
        buffer.sample()
    with pytest.raises(ValueError, match="offline_fraction"):
        _buffer(offline_fraction=-0.1)
    with pytest.raises(ValueError, match="online_capacity"):
        _buffer(online_storage=LazyTensorStorage(5), online_capacity=5)
    with pytest.raises(TypeError, match="a replay buffer"):
        OfflineToOnlineReplayBuffer("minari:x")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(TypeError, match="Did you mean offline_fraction"):
        _buffer(offline_frac=0.5)


def test_plain_tensors_are_mixed_too() -> None:
    """A data set of tensors goes with rows in an online storage of tensors only through TensorDicts; it says so."""
    dataset = ReplayBuffer(storage=TensorStorage(torch.arange(5)))
    buffer = OfflineToOnlineReplayBuffer(dataset, batch_size=4)
    assert (buffer.sample() < 5).all()
    with pytest.raises(TypeError, match="TensorDict"):
        buffer.extend(torch.arange(3))
