"""The storage that keeps rows in a list."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict

from rl_buffers import (
    CompressedListStorage,
    LazyStackStorage,
    LazyTensorStorage,
    ListStorage,
    ReplayBuffer,
    SamplerWithoutReplacement,
    Storage,
    TensorDictReplayBuffer,
)
from rl_specs import MissingKeyError, SpecError


def test_introduction_with_objects() -> None:
    """Plain objects go in and come out through a collate function that leaves the list as it is."""
    buffer = ReplayBuffer(collate_fn=lambda rows: rows)
    assert buffer.add(1) == 0
    assert buffer.sample(1) == [1]
    assert buffer.extend([2, 3]).tolist() == [1, 2]
    assert set(buffer.sample(60)) == {1, 2, 3}


def test_introduction_with_tensordicts() -> None:
    """`torch.stack` as collate function makes TensorDicts of the batch size asked for."""
    buffer = ReplayBuffer(collate_fn=torch.stack)
    buffer.add(TensorDict({"a": torch.randn(3)}, batch_size=[]))
    buffer.extend(TensorDict({"a": torch.randn(2, 3)}, batch_size=[2]))
    assert len(buffer) == 3
    assert buffer.sample(10)["a"].shape == (10, 3)
    assert buffer.sample(2).contiguous().batch_size == (2,)


def test_rows_may_differ() -> None:
    """Rows of different kinds share a buffer."""
    buffer = ReplayBuffer(storage=ListStorage(3), collate_fn=list)
    buffer.extend(["text", torch.zeros(2), {"a": 1}])
    buffer.add(None)
    assert buffer[0] is None
    assert buffer[2] == {"a": 1}


@pytest.mark.parametrize("kind", [ListStorage, LazyStackStorage, CompressedListStorage])
def test_text_in_tensordicts_is_kept(kind: Callable[[int], Storage], tmp_path: Path) -> None:
    """Text beside tensors is in rows, in batches and in checkpoints; also one for each step of a row."""

    def made(number: int) -> TensorDict:
        row = TensorDict({"step": torch.tensor(number), "pair": torch.zeros(2)}, [])
        row["text"] = f"number {number}"
        row["of", "steps"] = NonTensorStack(NonTensorData("even"), NonTensorData(str(number)))
        return row

    def built() -> TensorDictReplayBuffer:
        generator = torch.Generator().manual_seed(0)
        return TensorDictReplayBuffer(storage=kind(8), batch_size=4, generator=generator)

    buffer, again = built(), built()
    buffer.extend(TensorDict.lazy_stack([made(number) for number in range(4)], 0))
    buffer.add(made(4))
    buffer.dumps(tmp_path)
    again.loads(tmp_path)
    for each in (buffer, again):
        batch = each.sample()
        assert batch["text"] == [f"number {number}" for number in batch["step"].tolist()]
        assert batch.get(("of", "steps")).tolist() == [["even", str(number)] for number in batch["step"].tolist()]
        assert each[4]["text"] == "number 4"
        assert each[4].get(("of", "steps")).tolist() == ["even", "4"]


def test_rows_that_could_not_be_loaded_are_not_saved(tmp_path: Path) -> None:
    """Objects that only running code could restore are refused when they are saved, and the earlier save is whole."""
    buffer = ReplayBuffer(storage=ListStorage(3), collate_fn=list)
    buffer.add({"x": torch.zeros(2), "name": "first"})
    buffer.dumps(tmp_path)
    buffer.add(np.zeros(2))
    buffer.add(CheckedObject())
    with pytest.raises(SpecError, match=r"cannot hold objects of .*numpy\.ndarray.*CheckedObject.*register_save_hook"):
        buffer.dumps(tmp_path)
    again = ReplayBuffer(storage=ListStorage(3), collate_fn=list)
    again.loads(tmp_path)
    assert len(again) == 1
    assert again[0]["name"] == "first"


class CheckedObject:
    """Something that is no tensor, number or text."""


def test_default_collate_stacks() -> None:
    """Without a collate function tensors, numbers and containers of them are stacked; the rest says what to do."""
    buffer = ReplayBuffer(storage=ListStorage(4))
    buffer.extend({"x": torch.arange(3), "y": torch.zeros(3, 2)})
    batch = buffer[:]
    assert batch["x"].tolist() == [0, 1, 2]
    assert batch["y"].shape == (3, 2)
    numbers = ReplayBuffer()
    numbers.extend([1.5, 2.5])
    assert numbers[:].tolist() == [1.5, 2.5]
    words = ReplayBuffer()
    words.extend(["a", "b"])
    with pytest.raises(SpecError, match="collate_fn"):
        words.sample(2)
    mixed = ReplayBuffer()
    mixed.extend([{"a": 1}, {"b": 1}])
    with pytest.raises(SpecError, match="different entries"):
        mixed[:]


def test_tensors_are_copied_both_ways() -> None:
    """Changing a given row, or a row read, changes nothing that is stored; gradients are dropped."""
    row = {"x": torch.ones(2, requires_grad=True)}
    buffer = ReplayBuffer(collate_fn=lambda rows: rows)
    buffer.add(row)
    with torch.no_grad():
        row["x"].zero_()
    buffer[0]["x"].zero_()
    buffer.sample(1)[0]["x"].zero_()
    assert buffer[0]["x"].tolist() == [1.0, 1.0]
    assert not buffer[0]["x"].requires_grad


def test_data_that_are_no_batch_are_refused() -> None:
    """A single value given to `extend` is an error that names `add`."""
    buffer = ReplayBuffer(collate_fn=list)
    for bad in (3, torch.tensor(1), TensorDict({}, [])):
        with pytest.raises(SpecError, match="add"):
            buffer.extend(bad)
    with pytest.raises(SpecError, match="number of rows"):
        buffer.extend({"a": torch.zeros(2), "b": torch.zeros(3)})


def test_state_restores_rows_of_every_kind() -> None:
    """A saved list comes back with the same rows, pass and order."""
    buffer = ReplayBuffer(storage=ListStorage(5), sampler=SamplerWithoutReplacement(), collate_fn=list)
    buffer.extend([1, "two", {"x": torch.arange(2)}, TensorDict({"a": torch.ones(2)}, [])])
    buffer.sample(1)
    state = buffer.state_dict()
    other = ReplayBuffer(storage=ListStorage(5), sampler=SamplerWithoutReplacement(), collate_fn=list)
    other.load_state_dict(state)
    assert repr(other.sample(3)) == repr(buffer.sample(3))
    assert repr(other[:]) == repr(buffer[:])
    assert isinstance(other[3], TensorDict)


def test_empty_frees_the_rows() -> None:
    """After `empty`, the next row is row 0 again."""
    buffer = ReplayBuffer(collate_fn=list)
    buffer.extend([1, 2])
    buffer.empty()
    assert len(buffer) == 0
    assert buffer.add(5) == 0
    assert buffer[:] == [5]


def test_one_entry_of_rows_and_of_a_block() -> None:
    """An entry is read alone, by rows or by range, from the storage and from rows not written yet."""
    storage = ListStorage(8)
    block = storage.check([{"a": number, "in": {"b": torch.full((2,), number)}} for number in range(6)], "test")
    assert storage.block_entry("a", block).tolist() == list(range(6))
    storage.write(slice(0, 6), block)
    assert storage.read_entry(("in", "b"), torch.tensor([4, 1])).tolist() == [[4, 4], [1, 1]]
    assert storage.read_entry("a", slice(1, 3)).tolist() == [1, 2]
    with pytest.raises(MissingKeyError, match='"c" missing'):
        storage.read_entry("c", slice(0, 1))


@pytest.mark.parametrize("kind", [ListStorage, CompressedListStorage, LazyTensorStorage])
def test_lists_of_batches_in_a_dict_are_structure(kind: Callable[[int], Storage]) -> None:
    """A PyTree with lists and tuples is cut into rows of that structure by every storage, one by one or in a batch."""
    buffer = ReplayBuffer(storage=kind(10))
    number = torch.arange(4)
    buffer.extend({"a": number, "b": [10 * number, (2 * number, {"c": number.view(4, 1)})]})
    buffer.add({"a": torch.tensor(7), "b": [torch.tensor(70), (torch.tensor(14), {"c": torch.tensor([7])})]})
    for place, value in ((1, 1), (4, 7)):
        row = buffer[place]
        found = (row["a"], row["b"][0], row["b"][1][0], row["b"][1][1]["c"].item())
        assert found == (value, 10 * value, 2 * value, value)
        assert (type(row["b"]), type(row["b"][1])) == (list, tuple)
    with pytest.raises(SpecError, match=r"number of rows|has 3"):
        buffer.extend({"a": number, "b": [number, (number[:3], {"c": number.view(4, 1)})]})
    assert len(buffer) == 5


def test_lists_of_objects_in_a_dict_are_columns() -> None:
    """What is not made of batches of tensors is an object of each row."""
    buffer = ReplayBuffer(storage=ListStorage(10))
    buffer.extend({"a": torch.arange(2), "name": ["x", "y"], "size": [torch.tensor(1), torch.tensor(2)]})
    assert (buffer[1]["name"], buffer[1]["size"]) == ("y", 2)
