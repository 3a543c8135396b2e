"""Rows kept compressed."""

import sys
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from rl_buffers import CompressedListStorage, ReplayBuffer, TensorDictReplayBuffer
from rl_specs import SpecError


def _rows(count: int) -> TensorDict:
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 64, 64)
    flag = torch.arange(count).view(-1, 1) % 2 == 0
    numbers = torch.arange(count)
    inner = {"half": numbers.to(torch.bfloat16), "flag": flag, "none": torch.zeros(count, 0)}
    return TensorDict({"pixels": pixels, "number": numbers, "in": inner}, batch_size=[count])


def test_rows_come_back_bit_by_bit_and_take_less_room() -> None:
    """Sampled rows equal those stored, in every dtype, while flat images take a fraction of their size."""
    storage = CompressedListStorage(20)
    buffer = TensorDictReplayBuffer(storage=storage, batch_size=7)
    data = _rows(12)
    buffer.extend(data)
    buffer.add(data[3])
    batch = buffer.sample()
    assert (batch.exclude("index") == data[batch["number"]]).all()
    assert storage.compressed_bytes() * 20 < 13 * 3 * 64 * 64
    batch["pixels"].zero_()
    assert int(buffer[5]["pixels"].float().mean()) == 5


def test_rows_of_any_kind() -> None:
    """Tensors, objects, and containers of them that differ from row to row are kept."""
    buffer = ReplayBuffer(storage=CompressedListStorage(), collate_fn=list)
    buffer.extend([torch.arange(3), {"a": torch.tensor(1.5), "b": "text"}, 7, (torch.zeros(2, 2), [torch.ones(1)])])
    assert buffer[0].tolist() == [0, 1, 2]
    assert buffer[1] == {"a": torch.tensor(1.5), "b": "text"}
    assert buffer[2] == 7
    assert buffer[3][1][0].tolist() == [1.0]


def test_entries_are_read_alone() -> None:
    """Samplers and writers can look at an entry of stored rows and of rows to be stored."""
    storage = CompressedListStorage(20)
    block = storage.check(_rows(6), "test")
    assert storage.block_entry("number", block).tolist() == list(range(6))
    storage.write(slice(0, 6), block)
    assert storage.read_entry(("in", "flag"), torch.tensor([3, 0])).tolist() == [[False], [True]]


def test_states_hold_compressed_rows() -> None:
    """A state is as small as the storage, and restores it."""
    buffer = ReplayBuffer(storage=CompressedListStorage(20), collate_fn=list)
    buffer.extend(_rows(12))
    buffer.add({"other": "object"})
    state = buffer.state_dict()
    assert state["storage"]["packed"].numel() * 20 < 12 * 3 * 64 * 64
    other = ReplayBuffer(storage=CompressedListStorage(20), collate_fn=list)
    other.load_state_dict(state)
    assert all((left == right).all() for left, right in zip(other[:12], buffer[:12], strict=True))
    assert other[12] == {"other": "object"}
    own = CompressedListStorage(20, compression_fn=torch.clone, decompression_fn=torch.clone)
    with pytest.raises(SpecError, match="compression: expected a compression_fn, found zstd"):
        ReplayBuffer(storage=own).load_state_dict(state)


def test_own_functions_are_used() -> None:
    """A pair of functions over bytes replaces zstd; one alone is refused."""

    def flip(data: Tensor) -> Tensor:
        return 255 - data

    storage = CompressedListStorage(4, compression_fn=flip, decompression_fn=flip)
    buffer = ReplayBuffer(storage=storage)
    buffer.extend(torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8))
    assert storage._rows[0][1].tolist() == [254, 253]
    assert buffer[:].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match="Give both"):
        CompressedListStorage(4, compression_fn=flip)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without zstandard the error says which extra brings it; a bad level is refused."""
    with pytest.raises(ValueError, match="1 to 22"):
        CompressedListStorage(4, compression_level=23)
    modules: dict[str, Any] = {"zstandard": None}
    monkeypatch.setitem(sys.modules, "zstandard", modules["zstandard"])
    with pytest.raises(ImportError, match=r"rl-buffers\[zstd\]"):
        CompressedListStorage(4)
