"""What every buffer can be told, and asked."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from rl_buffers import (
    HERReplayBuffer,
    LazyTensorStorage,
    ListStorage,
    OfflineToOnlineReplayBuffer,
    PendingSave,
    PrioritizedReplayBuffer,
    ReplayBuffer,
    ReplayBufferEnsemble,
    SamplerWithoutReplacement,
    TensorDictPrioritizedReplayBuffer,
    TensorDictReplayBuffer,
)
from rl_specs import SpecError


def _rows(first: int, count: int) -> TensorDict:
    return TensorDict({"a": torch.arange(first, first + count), "in": {"b": torch.zeros(count, 3)}}, [count])


def _buffer(**options: Any) -> TensorDictReplayBuffer:
    generator = torch.Generator().manual_seed(0)
    return TensorDictReplayBuffer(storage=LazyTensorStorage(10), generator=generator, batch_size=4, **options)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: ReplayBuffer(prefetchh=2), "prefetch"),  # type: ignore[call-arg]  # wrong on purpose
        (lambda: TensorDictReplayBuffer(pin_memroy=True), "pin_memory"),  # type: ignore[call-arg]  # likewise
        (lambda: PrioritizedReplayBuffer(alpha=1, bta=1), "beta"),  # type: ignore[call-arg]  # likewise
        (lambda: TensorDictPrioritizedReplayBuffer(alpah=1), "alpha"),  # type: ignore[call-arg]  # likewise
        (lambda: HERReplayBuffer(reward=1), "reward_fn"),  # type: ignore[call-arg]  # likewise
        (lambda: ReplayBufferEnsemble(sample_from_al=True), "sample_from_all"),  # type: ignore[call-arg]  # likewise
        (lambda: OfflineToOnlineReplayBuffer(batchsize=3), "batch_size"),  # type: ignore[call-arg]  # likewise
    ],
)
def test_unknown_arguments_name_those_that_come_near(make: Callable[[], object], name: str) -> None:
    """Every buffer refuses an argument that it does not have, and says which one may be meant."""
    with pytest.raises(TypeError, match=f"unknown argument.*Did you mean .*{name}"):
        make()


def test_arguments_of_another_type_are_refused_at_once() -> None:
    """A generator or `collate_fn` that is none is refused when the buffer is built, not at the first batch."""
    with pytest.raises(TypeError, match=r"ReplayBuffer: generator\. Expected a torch.Generator, found 5"):
        ReplayBuffer(generator=5)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(TypeError, match=r"ReplayBuffer: collate_fn\. Expected a callable, found 5"):
        ReplayBuffer(collate_fn=5)  # type: ignore[arg-type]  # wrong on purpose


class _Forgets:
    """A transform without `return`."""

    def __call__(self, batch: Any) -> Any:
        batch["b"] = batch["a"]

    def inv(self, data: Any) -> Any:
        data["b"] = data["a"]


def test_a_transform_that_returns_nothing_is_named() -> None:
    """A forgotten `return` raises where the batch is made or the data are stored; nothing is stored then."""
    buffer = _buffer(transform=_Forgets().__call__)
    buffer.extend(_rows(0, 3))
    with pytest.raises(TypeError, match=r"the transform .*_Forgets.*found None\. Return it"):
        buffer.sample()
    stored = _buffer(transform=_Forgets())
    with pytest.raises(TypeError, match=r"the transform .*_Forgets.*found None\. Return it"):
        stored.extend(_rows(0, 3))
    assert len(stored) == 0


def test_pinned_memory_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CUDA the option is refused with the reason."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="pin_memory=True needs a CUDA device"):
        _buffer(pin_memory=True)
    with pytest.raises(RuntimeError, match="pin_memory=True needs a CUDA device"):
        ReplayBufferEnsemble(_buffer(), pin_memory=True)


@pytest.mark.parametrize("prefetch", [None, 2])
def test_every_tensor_of_a_batch_is_pinned(monkeypatch: pytest.MonkeyPatch, prefetch: int | None) -> None:
    """With CUDA each tensor of a batch is copied to page-locked memory, after the transforms, whatever the nesting."""
    pinned: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def pin(tensor: Tensor) -> Tensor:
        pinned.append(tensor.numel())
        return tensor.clone()

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    buffer = _buffer(pin_memory=True, transform=lambda batch: batch.set("more", batch["a"] + 1), prefetch=prefetch)
    buffer.extend(_rows(0, 10))
    buffer.sample()
    assert sorted(pinned) == [4, 4, 4, 12]
    buffer.close()
    pinned.clear()
    plain = ReplayBuffer(storage=LazyTensorStorage(10), batch_size=2, pin_memory=True)
    plain.extend({"x": torch.zeros(5), "y": [torch.zeros(5, 2), (torch.zeros(5, 3),)]})
    batch = plain.sample()
    assert sorted(pinned) == [2, 4, 6]
    assert batch["y"][1][0].shape == (2, 3)
    listed = ReplayBuffer(storage=ListStorage(4), batch_size=2, pin_memory=True, collate_fn=lambda rows: rows)
    listed.extend(["x", "y"])
    assert set(listed.sample()) <= {"x", "y"}


def test_rows_may_lie_along_another_dimension() -> None:
    """With `dim_extend=1` data [3, 4] are four rows of three, as if each column had been added."""
    data = torch.arange(12).view(3, 4)
    whole, single = (ReplayBuffer(storage=LazyTensorStorage(10), dim_extend=1) for _ in range(2))
    assert whole.extend(data).tolist() == [0, 1, 2, 3]
    for column in data.unbind(1):
        single.add(column)
    assert torch.equal(whole[:], single[:])
    nested = ReplayBuffer(storage=LazyTensorStorage(10), dim_extend=1)
    nested.extend({"x": data, "y": TensorDict({"z": data}, [3, 4])})
    assert torch.equal(nested[:]["y"]["z"], data.T)
    with pytest.raises(SpecError, match="dim_extend=1"):
        whole.extend(torch.zeros(3))
    with pytest.raises(ValueError, match="dim_extend"):
        ReplayBuffer(dim_extend=-1)


def test_several_lanes_have_time_where_the_storage_has_it() -> None:
    """For a storage of [B, T] data `dim_extend=1` is what it does anyway, and another dimension is refused."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(12, ndim=2), dim_extend=1)
    buffer.extend(torch.arange(12).view(3, 4))
    assert torch.equal(buffer[:], torch.arange(12).view(3, 4))
    with pytest.raises(ValueError, match="dim_extend"):
        ReplayBuffer(storage=LazyTensorStorage(12, ndim=2), dim_extend=2)


def test_transforms_are_inserted_and_inverted() -> None:
    """Transforms run in the order of their places; an inverted one acts on what is stored, its inverse on batches."""

    class Scale(nn.Module):
        """Twice the value, and back."""

        def forward(self, batch: TensorDictBase) -> TensorDictBase:
            return batch.set("a", batch["a"] * 2)

        def inv(self, data: TensorDictBase) -> TensorDictBase:
            return data.copy().set("a", data["a"] // 2)

    buffer = _buffer()
    assert buffer.append_transform(lambda batch: batch.set("a", batch["a"] + 1)) is buffer
    buffer.insert_transform(0, lambda batch: batch.set("a", batch["a"] * 10))
    buffer.extend(_rows(0, 3))
    assert buffer[:]["a"].tolist() == [1, 11, 21]
    stored = _buffer().append_transform(Scale(), invert=True)
    stored.extend(_rows(0, 3))
    assert stored.storage.read(slice(0, 3))["a"].tolist() == [0, 2, 4]
    assert stored[:]["a"].tolist() == [0, 1, 2]
    added = _buffer().append_transform(lambda data: data.copy().set("a", data["a"] + 5), invert=True)
    added.extend(_rows(0, 3))
    assert added[:]["a"].tolist() == [5, 6, 7]


def test_a_transform_that_fails_loses_no_rows_and_no_lock() -> None:
    """After an error on the way in nothing is stored, after one on the way out all rows are; others can go on."""

    class Fail(nn.Module):
        """Fails when told."""

        is_on = True

        def forward(self, batch: TensorDictBase) -> TensorDictBase:
            if self.is_on:
                raise KeyError("out")
            return batch

        def inv(self, data: TensorDictBase) -> TensorDictBase:
            if self.is_on:
                raise KeyError("in")
            return data

    transform = Fail()
    buffer = _buffer(transform=transform, sampler=SamplerWithoutReplacement())
    with pytest.raises(KeyError, match="in"):
        buffer.extend(_rows(0, 6))
    assert len(buffer) == buffer.write_count == 0
    transform.is_on = False
    buffer.extend(_rows(0, 6))
    transform.is_on = True
    with pytest.raises(KeyError, match="out"):
        buffer.sample()
    transform.is_on = False
    lengths: list[int] = []
    thread = threading.Thread(target=lambda: lengths.append(len(buffer[:])))
    thread.start()
    thread.join(20)
    assert lengths == [6]


def test_next_goes_through_a_pass_and_begins_another() -> None:
    """`next` gives the batches of an iteration, then None, then those of the next pass."""
    buffer = _buffer(sampler=SamplerWithoutReplacement())
    buffer.extend(_rows(0, 10))
    for _ in range(2):
        batches = [buffer.next() for _ in range(4)]
        assert batches[3] is None
        assert sorted(n for batch in batches[:3] for n in batch["a"].tolist()) == list(range(10))


def test_rows_written_are_counted(tmp_path: Path) -> None:
    """`write_count` counts all rows given, overwritten ones too, and is part of states and saves."""
    buffer = _buffer()
    buffer.extend(_rows(0, 25))
    buffer.add(_rows(25, 1)[0])
    buffer[0] = _rows(30, 1)[0]
    assert buffer.write_count == 26
    loaded, saved = _buffer(), _buffer()
    loaded.load_state_dict(buffer.state_dict())
    buffer.dumps(tmp_path)
    saved.loads(tmp_path)
    assert loaded.write_count == saved.write_count == 26


def test_a_save_in_the_background_is_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows written and batches drawn while it is written to disk are not part of it; its errors reach `wait`."""
    gate = threading.Event()
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda *args: (gate.wait(20), save(*args))[1])
    buffer = _buffer(prefetch=2)
    buffer.extend(_rows(0, 10))
    for _ in range(4):
        buffer.sample()
    saving = buffer.dumps_in_background(tmp_path / "saved")
    assert isinstance(saving, PendingSave)
    expected = [buffer.sample()["a"].tolist() for _ in range(3)]
    buffer.extend(_rows(50, 7))
    with pytest.raises(TimeoutError):
        saving.wait(0.01)
    gate.set()
    saving.wait(20)
    assert saving.is_done
    other = _buffer()
    other.loads(tmp_path / "saved")
    assert [other.sample()["a"].tolist() for _ in range(3)] == expected
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        buffer.dumps_in_background(tmp_path / "file" / "below").wait(20)
    buffer.close()


@pytest.mark.parametrize(("options", "name"), [({"prefetch": -1}, "prefetch"), ({"prefetch": 1.5}, "prefetch")])
def test_wrong_values_are_refused(options: dict[str, Any], name: str) -> None:
    """Negative and broken numbers of batches are refused."""
    with pytest.raises(ValueError, match=name):
        _buffer(**options)
