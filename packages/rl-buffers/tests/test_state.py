"""Checkpoints of a buffer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from rl_buffers import (
    LazyTensorStorage,
    ListStorage,
    RandomSampler,
    ReplayBuffer,
    Sampler,
    SamplerWithoutReplacement,
    TensorDictReplayBuffer,
    TensorStorage,
)
from rl_specs import SpecError


def _buffer(seed: int, sampler: Sampler | None = None, size: int = 10) -> TensorDictReplayBuffer:
    generator = torch.Generator().manual_seed(seed)
    return TensorDictReplayBuffer(
        storage=LazyTensorStorage(size), sampler=sampler or RandomSampler(), batch_size=4, generator=generator
    )


def _rows(first: int, count: int) -> TensorDict:
    numbers = torch.arange(first, first + count)
    return TensorDict({"a": numbers, "in": {"b": numbers.double().view(-1, 1).expand(-1, 3)}}, batch_size=[count])


def _same(left: TensorDict, right: TensorDict) -> bool:
    return bool(left.shape == right.shape and (left == right).all())


@pytest.mark.parametrize("kind", [RandomSampler, SamplerWithoutReplacement])
@pytest.mark.parametrize("is_used", [False, True])
def test_a_loaded_buffer_gives_the_same_batches(kind: type[Sampler], is_used: bool, tmp_path: Path) -> None:
    """Saved in the middle of a pass and of the ring, loaded elsewhere: the next batches and writes are equal."""
    buffer = _buffer(1, kind())
    buffer.extend(_rows(0, 7))
    buffer.extend(_rows(7, 6))
    buffer.sample()
    buffer.dumps(tmp_path / "saved")
    other = _buffer(2, kind())
    if is_used:
        other.extend(_rows(50, 3))
        other.sample(2)
    other.loads(tmp_path / "saved")
    for _ in range(3):
        assert _same(buffer.sample(), other.sample())
    assert torch.equal(buffer.extend(_rows(20, 4)), other.extend(_rows(20, 4)))
    for _ in range(5):
        assert _same(buffer.sample(), other.sample())
    assert _same(buffer[:], other[:])


def test_a_state_is_a_copy() -> None:
    """Writing to the buffer after `state_dict` changes nothing in the state, nor the other way round."""
    buffer = _buffer(1, SamplerWithoutReplacement())
    buffer.extend(_rows(0, 10))
    buffer.sample()
    state = buffer.state_dict()
    order = state["sampler"]["order"].clone()
    buffer.extend(_rows(90, 10))
    other = _buffer(1, SamplerWithoutReplacement())
    other.load_state_dict(state)
    assert other[:]["a"].tolist() == list(range(10))
    other.extend(_rows(70, 10))
    assert state["storage"]["columns"][0].tolist() == list(range(10))
    assert torch.equal(state["sampler"]["order"], order)


def test_all_that_does_not_fit_is_listed_and_nothing_is_loaded() -> None:
    """Another sampler, generator and number of transforms, and other keys and shapes, are named together."""
    buffer = _buffer(1)
    buffer.extend(_rows(0, 4))
    other = ReplayBuffer(
        storage=LazyTensorStorage(10), sampler=SamplerWithoutReplacement(), transform=nn.BatchNorm1d(3)
    )
    other.extend(TensorDict({"a": torch.zeros(2, 2), "c": torch.zeros(2)}, [2]))
    before = other.state_dict()["storage"]["columns"]
    with pytest.raises(SpecError) as caught:
        other.load_state_dict(buffer.state_dict())
    for part in (
        '"a": expected float32 [2], found int64 []',
        '("in", "b"): expected no such entry, found float64 [3]',
        '"c": expected float32 [], found nothing',
        "sampler: expected SamplerWithoutReplacement, found RandomSampler",
        "randomness: expected without a generator, found with a generator",
        "transforms that are modules: expected 1, found 0",
    ):
        assert part in str(caught.value)
    after = other.state_dict()["storage"]["columns"]
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (_buffer(1, size=11), "capacity: expected 11 rows, found 10"),
        (_buffer(1, SamplerWithoutReplacement()), "sampler: expected SamplerWithoutReplacement"),
        (TensorDictReplayBuffer(storage=ListStorage(10)), "expected a list storage, found a tensor storage"),
    ],
)
def test_other_parts_are_refused(other: TensorDictReplayBuffer, text: str) -> None:
    """A buffer of other capacity, sampler or storage refuses a state even when it is empty itself."""
    buffer = _buffer(1)
    buffer.extend(_rows(0, 4))
    with pytest.raises(SpecError, match=text):
        other.load_state_dict(buffer.state_dict())
    assert len(other) == 0


def test_sampler_settings_must_agree() -> None:
    """A pass saved with `drop_last` does not load without."""
    buffer, other = _buffer(1, SamplerWithoutReplacement(drop_last=True)), _buffer(1, SamplerWithoutReplacement())
    with pytest.raises(SpecError, match="sampler settings"):
        other.load_state_dict(buffer.state_dict())


def test_newer_and_broken_states_are_refused(tmp_path: Path) -> None:
    """A state of another format, one without a part, a damaged file and a missing one each say what is wrong."""
    buffer = _buffer(1)
    buffer.extend(_rows(0, 4))
    state: dict[str, Any] = buffer.state_dict()
    with pytest.raises(SpecError, match="format: expected version 2, found 3"):
        buffer.load_state_dict({**state, "format": 3})
    with pytest.raises(SpecError, match="part writer is missing"):
        buffer.load_state_dict({key: value for key, value in state.items() if key != "writer"})
    with pytest.raises(FileNotFoundError, match="no saved buffer"):
        buffer.loads(tmp_path)
    buffer.dumps(tmp_path)
    whole = (tmp_path / "buffer.pt").read_bytes()
    for damaged in (whole[:200], whole[:200] + b"x" + whole[201:]):
        (tmp_path / "buffer.pt").write_bytes(damaged)
        with pytest.raises(SpecError, match="cannot be read"):
            buffer.loads(tmp_path)
    assert len(buffer) == 4


def test_transform_modules_travel_along() -> None:
    """The state of transforms that are modules is saved and restored; other shapes are refused."""
    source, target = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    nn.init.uniform_(source.weight)
    buffer = ReplayBuffer(storage=LazyTensorStorage(4), transform=source)
    other = ReplayBuffer(storage=LazyTensorStorage(4), transform=target)
    other.load_state_dict(buffer.state_dict())
    assert torch.equal(source.weight, target.weight)
    others = (
        (nn.BatchNorm1d(4), r"transform 0, weight: expected a tensor \[4\], found a tensor \[3\]"),
        (nn.BatchNorm1d(3, affine=False), "transform 0, weight: expected no such entry, found a tensor"),
        (nn.LayerNorm(3), "transform 0: expected LayerNorm, found BatchNorm1d"),
    )
    for module, text in others:
        with pytest.raises(SpecError, match=text):
            ReplayBuffer(storage=LazyTensorStorage(4), transform=module).load_state_dict(buffer.state_dict())


def test_an_unused_buffer_can_be_saved_and_loaded() -> None:
    """The state of a buffer that never got data loads, and empties the one that takes it."""
    state = _buffer(1).state_dict()
    other = _buffer(2)
    other.extend(_rows(0, 4))
    other.load_state_dict(state)
    assert len(other) == 0


def test_a_tensor_storage_takes_the_state_of_a_lazy_one() -> None:
    """Both keep rows in tensors, so their states are interchangeable."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(4))
    buffer.extend(torch.arange(3))
    other = ReplayBuffer(storage=TensorStorage(torch.zeros(4, dtype=torch.int64)))
    other.load_state_dict(buffer.state_dict())
    assert other[:].tolist() == [0, 1, 2]


def test_states_of_the_first_format_load(tmp_path: Path) -> None:
    """A state and a folder without layouts of their own, as version 0.1.0 wrote them, give the same batches."""
    buffer, other, third = _buffer(1), _buffer(2), _buffer(3)
    buffer.extend(_rows(0, 13))
    state = buffer.state_dict()
    for name in ("ndim", "row_shapes", "dtypes", "lane_shape"):
        del state["storage"][name]
    del state["transform_classes"]
    other.load_state_dict({**state, "format": 1})
    torch.save({**state, "format": 1}, tmp_path / "buffer.pt")
    third.loads(tmp_path)
    batch = buffer.sample()
    assert _same(batch, other.sample())
    assert _same(batch, third.sample())


def test_entries_are_loaded_by_key() -> None:
    """A buffer whose first data had the keys in another order gets each entry under its key."""
    buffer, other = _buffer(1), _buffer(1)
    buffer.extend(TensorDict({"a": torch.zeros(2), "b": torch.ones(2)}, [2]))
    other.extend(TensorDict({"b": torch.full((2,), 7.0), "a": torch.full((2,), 7.0)}, [2]))
    other.load_state_dict(buffer.state_dict())
    assert other[:]["a"].tolist() == [0.0, 0.0]
    assert other[:]["b"].tolist() == [1.0, 1.0]
