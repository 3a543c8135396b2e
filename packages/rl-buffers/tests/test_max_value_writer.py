"""The writer that keeps the rows that rank highest."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from rl_buffers import (
    LazyTensorStorage,
    ListStorage,
    SamplerWithoutReplacement,
    TensorDictMaxValueWriter,
    TensorDictReplayBuffer,
)
from rl_specs import MissingKeyError, SpecError


def _rows(ranks: list[float], first: int = 0) -> TensorDict:
    key = torch.tensor(ranks, dtype=torch.float64)
    return TensorDict({"key": key, "obs": torch.arange(first, first + len(ranks))}, [len(ranks)])


def _buffer(size: int, **settings: Any) -> TensorDictReplayBuffer:
    return TensorDictReplayBuffer(
        storage=LazyTensorStorage(size),
        sampler=SamplerWithoutReplacement(),
        batch_size=1,
        writer=TensorDictMaxValueWriter(rank_key="key", **settings),
    )


def test_a_step_of_lanes_may_be_left_out() -> None:
    """With two lanes `add` returns the last row kept of a step, and None where none of its rows ranks high enough."""
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(2, ndim=2),
        sampler=SamplerWithoutReplacement(),
        writer=TensorDictMaxValueWriter(rank_key="key"),
    )
    assert buffer.add(_rows([3.0, 1.0])) == 1
    assert buffer.add(_rows([2.0, 0.5], 2)) == 1
    assert buffer.add(_rows([0.0, 1.0], 4)) is None
    assert buffer[:]["obs"].tolist() == [[0], [2]]


def test_one_place_holds_the_highest_so_far() -> None:
    """Of 0..9, then 10..19, then 0..9 again, a buffer of one row holds 9, then 19, and 19 still."""
    buffer = _buffer(1)
    for first, kept in ((0, 9), (10, 19), (0, 19)):
        numbers = torch.arange(first, first + 10)
        buffer.extend(TensorDict({"key": numbers, "obs": numbers}, [10]))
        assert buffer.sample()["obs"].item() == kept


@given(st.integers(1, 6), st.lists(st.lists(st.integers(-3, 3), max_size=9), max_size=6), st.booleans())
@settings(max_examples=80, deadline=None)
def test_batches_equal_single_rows_and_a_sorted_list(size: int, batches: list[list[int]], is_list: bool) -> None:
    """Rows kept are the first of all sorted by rank, then by arrival; batches put them where single rows go."""
    kind: Any = ListStorage if is_list else LazyTensorStorage
    batched, single = (
        TensorDictReplayBuffer(storage=kind(size), writer=TensorDictMaxValueWriter("key")) for _ in range(2)
    )
    first = 0
    for batch in batches:
        rows = _rows([float(rank) for rank in batch], first)
        places = [single.add(row) for row in rows]
        index = batched.extend(rows).tolist()
        last = {place: number for number, place in enumerate(places) if place is not None}
        assert index == sorted(last, key=lambda place: last[place])
        first += len(batch)
    ranked = sorted(enumerate(rank for batch in batches for rank in batch), key=lambda item: (-item[1], item[0]))
    if ranked:
        assert batched[:]["obs"].tolist() == single[:]["obs"].tolist()
        assert sorted(batched[:]["obs"].tolist()) == sorted(number for number, _ in ranked[:size])
        assert batched.write_count == single.write_count == first


@pytest.mark.parametrize(("reduction", "kept"), [("sum", 1), ("mean", 1), ("max", 0), ("min", 2), ("median", 1)])
def test_several_numbers_are_reduced(reduction: str, kept: int) -> None:
    """Rows (9, 0, 0), (1, 6, 7) and (2, 3, 4) rank by sum, mean, max, min and median as worked out by hand."""
    buffer = _buffer(1, reduction=reduction)
    key = torch.tensor([[9.0, 0.0, 0.0], [1.0, 6.0, 7.0], [2.0, 3.0, 4.0]])
    buffer.extend(TensorDict({"key": key, "obs": torch.arange(3)}, [3]))
    assert buffer[:]["obs"].tolist() == [kept]


def test_the_next_reward_ranks_unless_told_otherwise() -> None:
    """Without a key the entry ("next", "reward") ranks; where rows lack it, they are told what they have."""
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(1), writer=TensorDictMaxValueWriter())
    buffer.extend(TensorDict({"a": torch.arange(3), "next": {"reward": torch.tensor([[1.0], [3.0], [2.0]])}}, [3]))
    assert buffer[0]["a"].item() == 1
    other = TensorDictReplayBuffer(storage=LazyTensorStorage(1), writer=TensorDictMaxValueWriter())
    with pytest.raises(MissingKeyError, match="reward"):
        other.extend(TensorDict({"a": torch.arange(3)}, [3]))
    assert len(other) == 0


def test_ranks_that_are_no_numbers_are_refused() -> None:
    """A NaN anywhere refuses the batch, the row or the replacement, and nothing changes."""
    buffer = _buffer(2)
    buffer.extend(_rows([1.0, 2.0]))
    for write in (
        lambda: buffer.extend(_rows([5.0, float("nan")])),
        lambda: buffer.add(_rows([float("nan")])[0]),
        lambda: buffer.__setitem__(0, _rows([float("nan")])[0]),
    ):
        with pytest.raises(SpecError, match="not a number"):
            write()
    assert buffer[:]["key"].tolist() == [1.0, 2.0]
    assert buffer.add(_rows([float("inf")])[0]) == 0


def test_rows_replaced_in_place_rank_anew() -> None:
    """A row that was overwritten with a low rank is the next to leave, one with a high rank stays."""
    buffer = _buffer(3)
    buffer.extend(_rows([5.0, 6.0, 7.0]))
    buffer[2] = _rows([1.0])[0]
    buffer[0:1] = _rows([9.0])
    assert buffer.add(_rows([2.0])[0]) == 2
    assert buffer.add(_rows([6.5])[0]) == 2
    assert sorted(buffer[:]["key"].tolist()) == [6.0, 6.5, 9.0]


def test_large_integers_are_told_apart() -> None:
    """Ranks that float64 would round to one another are compared exactly."""
    buffer = _buffer(1)
    key = torch.tensor([2**60, 2**60 + 1])
    buffer.extend(TensorDict({"key": key, "obs": torch.arange(2)}, [2]))
    assert buffer[0]["obs"].item() == 1


@pytest.mark.parametrize("ranks", [[3.0, 1.0, 2.0, 2.0, 3.0], []])
def test_a_checkpoint_restores_ranks_and_ties(ranks: list[float]) -> None:
    """After loading, the next rows go where they go in the buffer that was saved."""
    buffer, other = _buffer(4), _buffer(4)
    buffer.extend(_rows(ranks))
    other.load_state_dict(buffer.state_dict())
    for rank in (2.0, 2.5, 3.0, 9.0, 2.5):
        assert buffer.add(_rows([rank])[0]) == other.add(_rows([rank])[0])
    assert buffer[:]["key"].tolist() == other[:]["key"].tolist()


def test_other_settings_are_refused() -> None:
    """A state ranked by another entry or reduction does not load; an unknown reduction names the known ones."""
    buffer = _buffer(4)
    buffer.extend(_rows([1.0]))
    with pytest.raises(SpecError, match="writer settings"):
        _buffer(4, reduction="max").load_state_dict(buffer.state_dict())
    with pytest.raises(ValueError, match="Did you mean mean"):
        TensorDictMaxValueWriter(reduction="maen")  # type: ignore[arg-type]  # wrong on purpose


def test_empty_forgets_ranks() -> None:
    """After `empty` low ranks are kept again."""
    buffer = _buffer(2)
    buffer.extend(_rows([8.0, 9.0]))
    buffer.empty()
    assert buffer.extend(_rows([1.0, 2.0])).tolist() == [0, 1]
