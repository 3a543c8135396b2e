"""Storages that keep rows in tensors."""

from typing import Any

import pytest
import torch
from tensordict import LazyStackedTensorDict, TensorClass, TensorDict
from torch import Tensor

from rl_buffers import (
    CompressedListStorage,
    LazyMemmapStorage,
    LazyStackStorage,
    LazyTensorStorage,
    ListStorage,
    ReplayBuffer,
    TensorDictReplayBuffer,
    TensorStorage,
)
from rl_specs import DeviceError, MissingKeyError, SpecError


class Point(TensorClass):
    """A tensorclass for the tests."""

    x: Tensor
    inner: Any = None


def _batch(n: int = 3, start: int = 0) -> TensorDict:
    count = torch.arange(start, start + n)
    data = {
        "a": count,
        "pixels": torch.ones(n, 3, 32, 32) * count.view(n, 1, 1, 1),
        "next": {"a": count.double() + 0.5},
    }
    return TensorDict(data, batch_size=[n])


def test_stored_data_are_copies() -> None:
    """Changing what was given, or what was read, changes nothing that is stored."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(5))
    data = _batch()
    buffer.extend(data)
    data["a"].zero_()
    buffer[:]["a"].zero_()
    buffer[1]["a"].zero_()
    buffer.sample(4)["pixels"].zero_()
    assert buffer[:]["a"].tolist() == [0, 1, 2]
    assert buffer[:]["pixels"][:, 0, 0, 0].tolist() == [0.0, 1.0, 2.0]


def test_values_that_require_gradients_are_stored_without() -> None:
    """Stored values have no graph."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(4))
    buffer.extend({"x": torch.ones(2, requires_grad=True) * 2, "y": torch.ones(2, 1, requires_grad=True)})
    buffer.add({"x": torch.tensor(2.0, requires_grad=True), "y": torch.ones(1)})
    assert not any(value.requires_grad for value in buffer[:].values())


def test_first_write_in_inference_mode_leaves_a_usable_storage() -> None:
    """A storage laid out inside inference mode takes writes outside of it."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(4))
    with torch.inference_mode():
        buffer.extend(torch.ones(2, 3))
    buffer.add(torch.zeros(3))
    assert buffer.sample(2).is_inference() is False
    assert len(buffer) == 3


def test_all_differences_are_in_one_error_and_nothing_is_written() -> None:
    """A batch with a missing, a further, a misshapen and a mistyped entry is refused with all four named."""
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(5))
    data = TensorDict(
        {"a": torch.arange(2), "b": torch.zeros(2, 3), "c": torch.zeros(2), "in": {"d": torch.ones(2)}}, [2]
    )
    buffer.extend(data)
    before = buffer.state_dict()
    bad = TensorDict({"a": torch.ones(2), "b": torch.ones(2, 4), "c": torch.ones(2), "in": {"e": torch.ones(2)}}, [2])
    for write in (lambda: buffer.extend(bad), lambda: buffer.add(bad[0]), lambda: buffer.__setitem__(slice(0, 2), bad)):
        with pytest.raises(SpecError) as caught:
            write()
        text = str(caught.value)
        assert '"a": expected int64 [], found float32 []' in text
        assert '"b": expected float32 [3], found float32 [4]' in text
        assert '("in", "d"): expected float32 [], found nothing' in text
        assert '("in", "e"): expected no such entry, found float32 []' in text
        assert '"c"' not in text
    after = buffer.state_dict()
    assert all(
        torch.equal(x, y) for x, y in zip(before["storage"]["columns"], after["storage"]["columns"], strict=True)
    )
    assert before["writer"] == after["writer"]
    assert len(buffer) == 2


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"a": torch.zeros(2), "b": "text"}, 'not a tensor: "b"'),
        (TensorDict({"a": torch.zeros(2)}, []), "single row"),
        (torch.tensor(1.0), "single row"),
        ({}, "no entries"),
        ({"a": torch.zeros(2), "b": torch.zeros(3)}, '"a" has 2, "b" has 3'),
        ([torch.zeros(2), torch.zeros(3)], "cannot be stacked"),
    ],
)
def test_first_data_that_cannot_be_laid_out_are_refused(data: object, text: str) -> None:
    """Bad first data raise, say why, and leave the storage free to take other data."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(5))
    with pytest.raises(SpecError, match=text):
        buffer.extend(data)
    buffer.extend(torch.zeros(2, 7))
    assert buffer[0].shape == (7,)


def test_later_data_without_a_common_number_of_rows_are_refused() -> None:
    """Entries of a batch that differ in their number of rows are refused after the layout is known, too."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(5))
    buffer.extend({"a": torch.zeros(2), "b": torch.zeros(2, 1)})
    with pytest.raises(SpecError, match="number of rows"):
        buffer.extend({"a": torch.zeros(2), "b": torch.zeros(3, 1)})
    with pytest.raises(SpecError, match="single row"):
        buffer.extend({"a": torch.tensor(1.0), "b": torch.zeros(1)})


def test_key_order_does_not_matter() -> None:
    """Entries are matched by key, not by position."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(5))
    buffer.extend(TensorDict({"a": torch.zeros(1), "b": torch.ones(1)}, [1]))
    buffer.extend(TensorDict({"b": torch.ones(1), "a": torch.zeros(1)}, [1]))
    assert buffer[:]["a"].tolist() == [0.0, 0.0]
    assert buffer[:]["b"].tolist() == [1.0, 1.0]


def test_tensorclass_rows_come_back_as_tensorclass() -> None:
    """A nested tensorclass is stored and sampled as its class."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(5))
    inner = Point(x=torch.arange(3), batch_size=[3])
    buffer.extend(Point(x=torch.arange(3.0), inner=inner, batch_size=[3]))
    batch = buffer.sample(4)
    assert type(batch) is Point
    assert type(batch.inner) is Point
    assert batch.batch_size == (4,)
    assert torch.equal(batch.x, batch.inner.x.float())
    other = ReplayBuffer(storage=LazyTensorStorage(5))
    other.load_state_dict(buffer.state_dict())
    assert type(other[0]) is Point
    with pytest.raises(SpecError, match="the data: expected Point, found TensorDict"):
        buffer.extend(TensorDict({"x": torch.zeros(1), "inner": {"x": torch.zeros(1).long()}}, [1]))


def test_lists_of_rows_and_lazy_stacks_are_stacked() -> None:
    """A list of rows, and a lazy stack, are batches."""
    rows = [TensorDict({"a": torch.tensor(float(i))}, []) for i in range(3)]
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(6))
    buffer.extend(rows)
    buffer.extend(LazyStackedTensorDict(*rows))
    assert buffer[:]["a"].tolist() == [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]


def test_rows_of_different_shapes_are_refused_with_what_takes_them() -> None:
    """A lazy stack of trajectories of different lengths is refused, as first data and as later ones."""
    pieces = TensorDict.lazy_stack([TensorDict({"x": torch.zeros(steps)}, []) for steps in (2, 3)], 0)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(4))
    for _ in range(2):
        with pytest.raises(SpecError, match=r"rows differ in their shapes.*Pad them, or use LazyStackStorage"):
            buffer.extend(pieces)
        buffer.extend(TensorDict({"x": torch.zeros(1, 2)}, [1]))


def test_rows_may_have_batch_dimensions() -> None:
    """Rows that are trajectories of TensorDicts keep their batch size, and the index is repeated along it."""
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(4), batch_size=5)
    buffer.extend(TensorDict({"r": torch.arange(6.0).view(2, 3, 1)}, batch_size=[2, 3]))
    batch = buffer.sample()
    assert batch.batch_size == (5, 3)
    assert batch["index"].shape == (5, 3)
    assert torch.equal(batch["index"][:, 0].float() * 3, batch["r"][:, 0, 0])


def test_tensor_storage_starts_full_with_a_copy() -> None:
    """`TensorStorage` holds a copy of all given rows; new rows overwrite the oldest."""
    data = {"a": torch.arange(4)}
    buffer = ReplayBuffer(storage=TensorStorage(data))
    data["a"].zero_()
    assert len(buffer) == 4
    assert buffer.add({"a": torch.tensor(9)}) == 0
    assert buffer[:]["a"].tolist() == [9, 1, 2, 3]
    with pytest.raises(ValueError, match="at least the 4 rows"):
        TensorStorage(data, max_size=3)
    assert len(TensorStorage(data, max_size=9)) == 4


def test_device_auto_follows_the_first_data() -> None:
    """`device="auto"` settles on the device of the first data; batches say so."""
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(4, device="auto"))
    buffer.extend(TensorDict({"a": torch.zeros(2)}, [2]))
    assert buffer.storage.device == torch.device("cpu")
    assert buffer.sample(1).device == torch.device("cpu")


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_named(device: str) -> None:
    """A storage says which device it cannot use, and what to do, when it is made."""
    makers = (LazyTensorStorage, LazyMemmapStorage, ListStorage, LazyStackStorage, CompressedListStorage)
    for made in makers:
        with pytest.raises(DeviceError, match=rf'device {device} cannot be used: .*Give device="cpu"'):
            made(3, device=device)


def test_capacity_is_checked() -> None:
    """A capacity that is no positive integer is refused, as is an unknown argument."""
    for bad in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="max_size"):
            LazyTensorStorage(bad)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(TypeError, match="devise"):
        LazyTensorStorage(3, devise="cpu")  # type: ignore[call-arg]  # wrong on purpose


def test_one_entry_of_rows_and_of_a_block() -> None:
    """An entry is read alone, by rows or by range, from the storage and from rows not written yet."""
    storage = LazyTensorStorage(8)
    rows = TensorDict({"a": torch.arange(6), "in": {"b": torch.arange(12.0).view(6, 2)}}, batch_size=[6])
    block = storage.check(rows, "test")
    assert torch.equal(storage.block_entry(("in", "b"), block), rows["in", "b"])
    storage.write(slice(0, 6), block)
    assert storage.read_entry("a", torch.tensor([4, 1])).tolist() == [4, 1]
    assert torch.equal(storage.read_entry(("in", "b"), slice(1, 4)), rows["in", "b"][1:4])
    with pytest.raises(MissingKeyError, match=r'"c" missing.*"a".*"in"'):
        storage.read_entry("c", slice(0, 1))
