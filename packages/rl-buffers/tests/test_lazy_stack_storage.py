"""TensorDicts of different shapes."""

import pytest
import torch
from tensordict import LazyStackedTensorDict, TensorClass, TensorDict

from rl_buffers import LazyStackStorage, ReplayBuffer, TensorDictReplayBuffer
from rl_specs import SpecError


def _trajectory(steps: int) -> TensorDict:
    return TensorDict({"x": torch.full((steps, 2), float(steps)), "id": torch.full((steps,), steps)}, [steps])


def test_trajectories_of_different_lengths_are_read_as_a_lazy_stack() -> None:
    """Rows come back whole, in a stack that pads, and are copies."""
    buffer = TensorDictReplayBuffer(storage=LazyStackStorage(3), batch_size=8)
    for steps in (2, 5, 3, 4):
        buffer.add(_trajectory(steps))
    batch = buffer.storage.read(torch.tensor([0, 1, 2]))
    assert isinstance(batch, LazyStackedTensorDict)
    assert [row.batch_size[0] for row in batch.unbind(0)] == [4, 5, 3]
    assert batch.get("x", as_padded_tensor=True).shape == (3, 5, 2)  # type: ignore[call-arg]  # of lazy stacks
    batch[0]["x"].zero_()
    assert buffer[0]["x"].unique().tolist() == [4.0]


def test_stack_dim_and_equal_rows() -> None:
    """Rows of one shape are stacked along the dimension asked for."""
    storage = LazyStackStorage(stack_dim=1)
    storage.write(slice(0, 2), storage.check([_trajectory(3), _trajectory(3)], "test"))
    assert storage.read(slice(0, 2))["x"].shape == (3, 2, 2)


def test_sampled_rows_carry_their_index() -> None:
    """A buffer of equal rows annotates the stack."""
    buffer = TensorDictReplayBuffer(storage=LazyStackStorage(4), batch_size=6)
    buffer.extend([TensorDict({"x": torch.tensor(float(number))}, []) for number in range(3)])
    batch = buffer.sample()
    assert torch.equal(batch["index"].float(), batch["x"])


class Piece(TensorClass):
    """Steps of a trajectory."""

    x: torch.Tensor


def test_tensorclasses_stay_what_they_are() -> None:
    """A batch of tensorclasses is one of that class, with rows of different lengths."""
    buffer = ReplayBuffer(storage=LazyStackStorage(4), batch_size=3)
    buffer.extend([Piece(x=torch.full((steps,), float(steps)), batch_size=[]) for steps in (2, 3)])
    batch = buffer.sample()
    assert isinstance(batch, Piece)
    assert all(len(row.x) == row.x[0] for row in batch.unbind(0))


def test_state_restores_rows() -> None:
    """Rows of different lengths survive a state."""
    buffer = TensorDictReplayBuffer(storage=LazyStackStorage(4))
    buffer.extend(LazyStackedTensorDict(_trajectory(2), _trajectory(3)))
    other = TensorDictReplayBuffer(storage=LazyStackStorage(4))
    other.load_state_dict(buffer.state_dict())
    assert [len(other[number]) for number in range(2)] == [2, 3]


def test_other_rows_are_refused() -> None:
    """Rows that are no TensorDicts, or have too few dimensions to stack along, are named."""
    storage = LazyStackStorage(4, stack_dim=1)
    with pytest.raises(SpecError, match="Expected a TensorDict, found int"):
        storage.check([1], "test")
    with pytest.raises(SpecError, match="at least 1"):
        storage.check_row(TensorDict({"x": torch.zeros(2)}, []), "test")
    with pytest.raises(ValueError, match="stack_dim"):
        LazyStackStorage(4, stack_dim=-1)
