"""Transforms that act on what is stored."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from rl_buffers import InverseTransform, LazyTensorStorage, ReplayBuffer, SamplerWithoutReplacement
from rl_buffers import TensorDictReplayBuffer as TensorDictBuffer
from rl_specs import SpecError


class Affine(nn.Module):
    """Adds on the way in, multiplies on the way out."""

    def __init__(self, shift: float, factor: float) -> None:
        super().__init__()
        self.shift, self.factor = shift, factor

    def forward(self, batch: TensorDictBase) -> TensorDictBase:
        """Multiply."""
        return batch.set("x", batch["x"] * self.factor)

    def inv(self, data: TensorDictBase) -> TensorDictBase:
        """Add."""
        return data.copy().set("x", data["x"] * 10 + self.shift)


class Delay(nn.Module):
    """Keeps the last `count` rows back."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.kept: Tensor | None = None

    def forward(self, batch: Any) -> Any:
        """As it is."""
        return batch

    def inv(self, data: TensorDictBase) -> TensorDictBase:
        """The rows that need not wait."""
        x = data["x"] if self.kept is None else torch.cat([self.kept, data["x"]])
        ready = max(len(x) - self.count, 0)
        self.kept = x[ready:]
        return TensorDict({"x": x[:ready]}, [ready])

    def clear(self) -> None:
        """Forget the rows that wait."""
        self.kept = None

    def get_extra_state(self) -> dict[str, Any]:
        """The rows that wait."""
        return {"kept": self.kept}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self.kept = state["kept"]


def _rows(*values: float) -> TensorDict:
    return TensorDict({"x": torch.tensor(values)}, [len(values)])


def _buffer(transform: Any, size: int = 8, cls: Any = ReplayBuffer) -> Any:
    sampler = SamplerWithoutReplacement(shuffle=False)
    return cls(storage=LazyTensorStorage(size), sampler=sampler, transform=transform)


def test_what_is_stored_and_what_is_read() -> None:
    """`inv` acts on rows given to `extend` and `add`, the transform itself on batches; the data given stay."""
    buffer = _buffer(Affine(1.0, 2.0))
    data = _rows(1.0, 2.0)
    assert buffer.extend(data).tolist() == [0, 1]
    assert buffer.add(_rows(3.0)[0]) == 2
    assert data["x"].tolist() == [1.0, 2.0]
    assert [row["x"].item() for row in (buffer[0], buffer[1], buffer[2])] == [11.0, 21.0, 31.0]
    assert buffer.sample(3)["x"].tolist() == [22.0, 42.0, 62.0]
    assert isinstance(Affine(0.0, 1.0), InverseTransform)
    assert not isinstance(nn.Identity(), InverseTransform)


def test_inverses_run_from_the_last_to_the_first() -> None:
    """Of two transforms the one appended last acts first on what is stored: (x * 10 + 2) * 10 + 1."""
    buffer = _buffer(Affine(1.0, 1.0))
    buffer.append_transform(Affine(2.0, 1.0))
    buffer.extend(_rows(3.0))
    assert buffer[0]["x"].item() == 321.0


def test_overwritten_rows_are_stored_as_given() -> None:
    """`buffer[...] = rows` passes by the transforms."""
    buffer = _buffer(Affine(1.0, 1.0))
    buffer.extend(_rows(1.0, 2.0))
    buffer[0] = _rows(5.0)[0]
    assert buffer[0]["x"].item() == 5.0


@pytest.mark.parametrize("cls", [ReplayBuffer, TensorDictBuffer])
def test_rows_that_are_kept_back(cls: Any) -> None:
    """Rows that a transform keeps are stored when it gives them: nothing is returned for them before."""
    buffer = _buffer(Delay(2), cls=cls)
    index = buffer.extend(_rows(1.0, 2.0))
    assert index.tolist() == []
    assert index.dtype is torch.int64
    assert len(buffer) == 0
    with pytest.raises(RuntimeError, match="empty"):
        buffer.sample(1)
    assert buffer.add(_rows(3.0)[0]) == 0
    assert buffer.extend(_rows(4.0, 5.0)).tolist() == [1, 2]
    assert buffer[:]["x"].tolist() == [1.0, 2.0, 3.0]


def test_emptying_forgets_what_is_kept_back() -> None:
    """Rows that wait when the buffer is emptied are never stored."""
    buffer = _buffer(Delay(2))
    buffer.extend(_rows(1.0, 2.0, 3.0))
    buffer.empty()
    buffer.extend(_rows(4.0, 5.0, 6.0))
    assert buffer[:]["x"].tolist() == [4.0]


def test_add_that_keeps_back_returns_none() -> None:
    """`add` says None as long as nothing is written."""
    buffer = _buffer(Delay(1))
    assert buffer.add(_rows(1.0)[0]) is None
    assert buffer.add(_rows(2.0)[0]) == 0


def test_a_list_of_rows_is_stacked_first() -> None:
    """`extend` with a list of rows gives the transform one batch."""
    buffer = _buffer(Affine(0.0, 1.0))
    assert buffer.extend([_rows(1.0)[0], _rows(2.0)[0]]).tolist() == [0, 1]
    assert buffer[:]["x"].tolist() == [10.0, 20.0]


def test_kept_rows_travel_with_the_state(tmp_path: Path) -> None:
    """What a transform keeps back is saved with the buffer, whatever its length, and comes out of the loaded one."""
    buffer, other = _buffer(Delay(2)), _buffer(Delay(2))
    buffer.extend(_rows(1.0, 2.0, 3.0))
    buffer.dumps(tmp_path)
    other.loads(tmp_path)
    for each in (buffer, other):
        assert each.extend(_rows(4.0)).tolist() == [1]
        assert each[:]["x"].tolist() == [1.0, 2.0]


def test_refusal_after_the_transform_names_the_caller() -> None:
    """Data that differ after the transform are refused in the name of the method that was called."""
    buffer = _buffer(Affine(0.0, 1.0))
    buffer.extend(_rows(1.0))
    with pytest.raises(SpecError, match=r"ReplayBuffer\.add.*float64"):
        buffer.add(TensorDict({"x": torch.zeros((), dtype=torch.float64)}))
    assert len(buffer) == 1
