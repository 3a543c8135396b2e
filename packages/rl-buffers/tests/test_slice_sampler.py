"""Slices drawn with replacement."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import Tensor

from rl_buffers import (
    LazyMemmapStorage,
    LazyTensorStorage,
    ListStorage,
    ReplayBuffer,
    SliceSampler,
    Storage,
    TensorDictReplayBuffer,
    TensorStorage,
)
from rl_specs import MissingKeyError, ShapeError


def _done(lengths: list[int]) -> Tensor:
    done = torch.zeros(sum(lengths), 1, dtype=torch.bool)
    done[torch.tensor(lengths).cumsum(0) - 1] = True
    return done


def _rows(lengths: list[int]) -> TensorDict:
    """Whole trajectories; `step` counts in each, `episode` counts them."""
    step = torch.cat([torch.arange(length) for length in lengths])
    episode = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    return TensorDict({"step": step, "episode": episode, "next": {"done": _done(lengths)}}, [len(step)])


def _buffer(lengths: list[int], sampler: SliceSampler, storage: Storage | None = None) -> TensorDictReplayBuffer:
    generator = torch.Generator().manual_seed(0)
    storage = LazyTensorStorage(64) if storage is None else storage
    buffer = TensorDictReplayBuffer(storage=storage, sampler=sampler, generator=generator)
    buffer.extend(_rows(lengths))
    return buffer


def _chi_square(counts: Tensor, shares: list[float]) -> float:
    expected = counts.sum() * torch.tensor(shares, dtype=torch.float64)
    return float(((counts.double() - expected) ** 2 / expected).sum())


def test_slices_lie_one_after_another() -> None:
    """A batch of 4 slices of 5 steps has 20 rows, consecutive within a slice, each slice within an episode."""
    batch = _buffer([10, 7, 20], SliceSampler(num_slices=4)).sample(20)
    step, episode = batch["step"].view(4, 5), batch["episode"].view(4, 5)
    assert (step[:, 1:] - step[:, :-1] == 1).all()
    assert (episode == episode[:, :1]).all()
    assert batch["next", "truncated"].view(4, 5).tolist() == [[False] * 4 + [True]] * 4
    assert batch["next", "done"].view(4, 5).tolist() == [[False] * 4 + [True]] * 4


def test_trajectories_are_equally_likely() -> None:
    """By default each trajectory that is long enough is as likely as the others, and each place in it as well."""
    batch = _buffer([3, 9, 4, 30], SliceSampler(slice_len=4)).sample(4 * 6000)
    starts, episode = batch["step"][::4], batch["episode"][::4]
    assert _chi_square(torch.bincount(episode, minlength=4)[1:], [1 / 3] * 3) < 18.4
    assert set(episode.tolist()) == {1, 2, 3}
    assert _chi_square(torch.bincount(starts[episode == 1], minlength=6), [1 / 6] * 6) < 25.7


def test_starts_are_equally_likely() -> None:
    """With `uniform_over="starts"` each of the 6 + 1 + 27 places is as likely as the others."""
    sampler = SliceSampler(slice_len=4, uniform_over="starts")
    batch = _buffer([3, 9, 4, 30], sampler).sample(4 * 6800)
    row = batch["index"][::4]
    counts = torch.bincount(row, minlength=46)
    valid = [*range(3, 9), 12, *range(16, 43)]
    assert int(counts.sum() - counts[valid].sum()) == 0
    assert _chi_square(counts[valid], [1 / 34] * 34) < 74.7


def test_places_are_equally_likely_at_the_seam() -> None:
    """After the ring went round, the oldest trajectory counts for what is left of it, and none crosses the seam."""
    sampler = SliceSampler(slice_len=3, uniform_over="starts")
    buffer = _buffer([8, 5, 4], sampler, LazyTensorStorage(16))
    done = torch.zeros(6, 1, dtype=torch.bool)
    buffer.extend(TensorDict({"step": torch.arange(6), "episode": torch.full((6,), 9), "next": {"done": done}}, [6]))
    counts = torch.bincount(buffer.sample(3 * 8000)["index"][::3], minlength=16)
    valid = [1, 2, 3, 4, 8, 9, 10, 13, 14]
    # row 7 is what is left of the first, 8 to 12 hold the second, 13 to 0 the third, 1 to 6 the one that goes on
    assert set(counts.nonzero().squeeze(1).tolist()) == set(valid)
    assert _chi_square(counts[valid], [1 / 9] * 9) < 31.8


def test_short_trajectories_are_drawn_whole() -> None:
    """With `strict_length=False` a trajectory shorter than a slice is drawn whole, and the batch has fewer rows."""
    batch, info = _buffer([2, 9], SliceSampler(slice_len=4, strict_length=False)).sample(80, return_info=True)
    lengths = torch.diff(info["next", "truncated"].squeeze(1).nonzero().squeeze(1), prepend=torch.tensor([-1]))
    short = batch["episode"][batch["next", "truncated"].squeeze(1)] == 0
    assert len(lengths) == 20
    assert lengths[short].tolist() == [2] * int(short.sum())
    assert lengths[~short].tolist() == [4] * int((~short).sum())
    assert 0 < int(short.sum()) < 20


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (False, {(0, 3), (1, 4), (2, 5)}),
        (True, {(0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (3, 5), (4, 5)}),
        (1, {(0, 2), (0, 3), (1, 4), (2, 5), (3, 5)}),
        ((False, True), {(0, 3), (1, 4), (2, 5), (3, 5), (4, 5)}),
        ((2, 0), {(0, 1), (0, 2), (0, 3), (1, 4), (2, 5)}),
    ],
)
def test_span_lets_slices_reach_over_the_ends(span: Any, expected: set[tuple[int, int]]) -> None:
    """In a trajectory of 5 steps, slices of 3 may lie so that `span` steps of them are cut off."""
    sampler = SliceSampler(slice_len=3, span=span)
    batch = _buffer([5], sampler).sample(3 * 300)
    ends = batch["next", "truncated"].squeeze(1)
    starts = torch.cat([torch.tensor([True]), ends[:-1]])
    assert set(zip(batch["step"][starts].tolist(), (batch["step"][ends] + 1).tolist(), strict=True)) == expected


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 6), st.integers(0, 5), st.booleans())
@hypothesis_settings(max_examples=60, deadline=None)
def test_places_are_those_of_a_loop(lengths: list[int], size: int, span: int, is_strict: bool) -> None:
    """The places in which a slice may lie are as many, and of the same extent, as a loop over all finds."""
    span = min(span, size - 1)
    sampler = SliceSampler(slice_len=size, span=span, strict_length=is_strict)
    cut = sampler._source.cut(size)
    for length in lengths:
        kept = min(size, length)
        reach = min(span, kept - 1)
        begins = range(-reach, length - kept + reach + 1) if length >= size or not is_strict else range(0)
        expected = [(max(begin, 0), min(begin + kept, length)) for begin in begins]
        total = int(cut.places(np.array([length]))[0])
        before, count = cut.lay(np.full(total, length), np.arange(total))
        assert list(zip(before.tolist(), (before + count).tolist(), strict=True)) == expected


def test_trajectory_around_the_ring_is_one() -> None:
    """Slices go on from the last row to the first where the trajectory does."""
    sampler = SliceSampler(slice_len=6)
    buffer = _buffer([4, 3], sampler, LazyTensorStorage(10))
    buffer.extend(_rows([6]))
    batch = buffer.sample(6)
    assert batch["index"].tolist() == [7, 8, 9, 0, 1, 2]
    assert batch["step"].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.int64, torch.uint8, torch.float32, torch.bool])
@pytest.mark.parametrize("shape", [(), (1,), (2, 2)])
def test_ids_of_any_kind(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Ids may be of any dtype, and of several elements of which any may change."""
    ids = torch.tensor([0, 0, 0, 1, 1, 0, 0, 0]).to(dtype)
    entry = ids.view(8, *[1] * len(shape)).expand(8, *shape).clone()
    buffer = ReplayBuffer(storage=LazyTensorStorage(9), sampler=SliceSampler(slice_len=3, traj_key=("a", "id")))
    buffer.extend({"a": {"id": entry}, "step": torch.arange(8)})
    starts = buffer.sample(3 * 50)["step"][::3]
    assert set(starts.tolist()) == {0, 5}


def test_episode_is_read_where_there_is_one() -> None:
    """With neither key, `episode` says where trajectories end, done or not; else `done` does, and a collector's ids."""
    rows = _rows([5, 5])
    rows["next", "done"].zero_()
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(10), sampler=SliceSampler(slice_len=5))
    buffer.extend(rows)
    assert set(buffer.sample(100)["index"][::5].tolist()) == {0, 5}
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(10), sampler=SliceSampler(slice_len=5))
    buffer.extend(rows.exclude("episode"))
    assert set(buffer.sample(300)["index"][::5].tolist()) == {0, 1, 2, 3, 4, 5}
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(10), sampler=SliceSampler(slice_len=3))
    rows["next", "done"][2] = True
    rows["collector", "traj_ids"] = rows.pop("episode")
    buffer.extend(rows)
    assert set(buffer.sample(300)["index"][::3].tolist()) == {0, 5, 6, 7}


def test_both_keys_end_trajectories() -> None:
    """With both keys, a flag and a change of the id each end a trajectory."""
    rows = TensorDict(
        {
            "id": torch.tensor([0, 0, 0, 0, 1, 1]),
            "end": torch.tensor([False, True, False, False, False, False]),
        },
        [6],
    )
    sampler = SliceSampler(slice_len=2, end_key="end", traj_key="id")
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(10), sampler=sampler)
    for part in rows.split(1):
        buffer.extend(part)
        buffer.sampler.overwrite(buffer.storage, 0)
        if len(buffer) > 1:
            buffer.sample(2)
    assert set(buffer.sample(200)["index"][::2].tolist()) == {0, 2, 4}


def test_given_ends_and_ids() -> None:
    """Tensors may say where trajectories end, for the rows of a data set that nothing announced."""
    data = TensorDict({"x": torch.arange(6)}, [6])
    ends = torch.tensor([0, 0, 1, 0, 0, 1], dtype=torch.bool)
    ids = torch.tensor([4, 4, 4, 2, 2, 2])
    for sampler in (
        SliceSampler(slice_len=3, cache_values=True, ends=ends),
        SliceSampler(slice_len=3, cache_values=True, trajectories=ids),
    ):
        buffer = ReplayBuffer(storage=TensorStorage(data), sampler=sampler)
        assert set(buffer.sample(60)["x"][::3].tolist()) == {0, 3}
    sampler = SliceSampler(slice_len=3, ends=ends[:5])
    with pytest.raises(ShapeError, match=r"rows of ends\. Expected 6, found 5"):
        ReplayBuffer(storage=TensorStorage(data), sampler=sampler).sample(3)
    with pytest.raises(ValueError, match="keys and tensors both say"):
        SliceSampler(slice_len=3, ends=ends, traj_key="id")


def test_rows_of_a_data_set_do_not_run_into_those_written_later() -> None:
    """Rows that the storage was made with are not followed by those written after them."""
    data = TensorDict({"x": torch.arange(4), "next": {"done": torch.zeros(4, 1, dtype=torch.bool)}}, [4])
    buffer = ReplayBuffer(storage=TensorStorage(data), sampler=SliceSampler(slice_len=2))
    assert set(buffer.sample(60)["x"][::2].tolist()) == {0, 1, 2}
    more = TensorDict({"x": torch.arange(10, 12), "next": {"done": torch.zeros(2, 1, dtype=torch.bool)}}, [2])
    buffer.extend(more)
    pairs = buffer.sample(200)["x"].view(-1, 2).tolist()
    assert sorted({(first, second) for first, second in pairs}) == [(2, 3), (10, 11)]


def test_a_full_ring_found_again_keeps_its_seam(tmp_path: Any) -> None:
    """A storage in files that is opened again goes on where it stopped: no slice crosses the place of the next row, or
    the end of what was there.
    """
    done = torch.zeros(16, 1, dtype=torch.bool)
    rows = TensorDict({"step": torch.arange(16), "next": {"done": done}}, [16])
    first = TensorDictReplayBuffer(
        storage=LazyMemmapStorage(10, scratch_dir=tmp_path), sampler=SliceSampler(slice_len=4)
    )
    first.extend(rows)
    storage = LazyMemmapStorage(10, scratch_dir=tmp_path, existsok=True)
    buffer = TensorDictReplayBuffer(storage=storage, sampler=SliceSampler(slice_len=4))
    assert set(buffer.sample(4 * 100)["step"][::4].tolist()) == set(range(6, 13))
    buffer.extend(rows[:5].set("step", torch.arange(16, 21)))
    assert set(buffer.sample(4 * 100)["step"][::4].tolist()) == {11, 12, 16, 17}


def test_sequences_side_by_side() -> None:
    """In a storage of `[B, T]` data a slice stays in one sequence, round the ring as well."""
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(24, ndim=2), sampler=SliceSampler(slice_len=3))
    for first in (0, 6, 12):
        number = first + torch.arange(6).expand(3, 6) + 100 * torch.arange(3).view(3, 1)
        done = (number % 100 == 13).unsqueeze(-1)
        buffer.extend(TensorDict({"number": number, "next": {"done": done}}, [3, 6]))
    number = buffer.sample(3 * 300)["number"].view(-1, 3)
    assert (number.diff() == 1).all()
    starts = [10, 11, 14, 15]
    assert set(number[:, 0].tolist()) == {lane * 100 + start for lane in range(3) for start in starts}


def test_flags_take_the_shape_of_those_stored() -> None:
    """Flags in the batch have the shape of those stored, also of several agents; stored truths stay true."""
    done = torch.tensor([0, 0, 1, 0]).bool().view(4, 1, 1).expand(4, 2, 1)
    data = TensorDict({"id": torch.tensor([0, 0, 0, 0]), "next": {"done": done, "truncated": done}}, [4])
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(4), sampler=SliceSampler(slice_len=4, traj_key="id"))
    buffer.extend(data)
    batch = buffer.sample(4)
    for key in ("done", "truncated"):
        assert batch["next", key].shape == (4, 2, 1)
        assert batch["next", key][:, 0, 0].tolist() == [False, False, True, True]
    assert ("next", "terminated") not in batch.keys(True)


def test_no_flags_and_other_names() -> None:
    """`truncated_key` names the flag, `"done"` goes beside it, and None leaves the batch as it was stored."""
    batch = _buffer([6], SliceSampler(slice_len=3, truncated_key="cut")).sample(3)
    assert batch["cut"].squeeze(1).tolist() == [False, False, True]
    assert batch["done"].squeeze(1).tolist() == [False, False, True]
    batch, info = _buffer([6], SliceSampler(slice_len=3, truncated_key=None)).sample(3, return_info=True)
    assert set(info) == {"index"}
    assert not batch["next", "done"][:2].any()


def test_flags_go_to_the_info_of_a_plain_buffer() -> None:
    """A `ReplayBuffer` leaves batches alone and says in `info` where slices end."""
    buffer = ReplayBuffer(storage=ListStorage(10), sampler=SliceSampler(slice_len=2))
    buffer.extend([{"next": {"done": torch.tensor([number == 4])}, "x": number} for number in range(7)])
    batch, info = buffer.sample(6, return_info=True)
    assert batch["x"].shape == (6,)
    assert info["next", "truncated"].squeeze(1).tolist() == [False, True] * 3
    assert (batch["x"][1::2] - batch["x"][::2] == 1).all()


def test_recurrent_states_come_along() -> None:
    """A slice that starts mid-episode has no `is_init`, and its first row holds the state that led there."""
    lengths = [6, 9]
    rows = _rows(lengths)
    rows["is_init"] = (rows["step"] == 0).view(-1, 1)
    rows["hidden"] = torch.cat([torch.arange(length).float().cumsum(0) for length in lengths]).view(-1, 1)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(20), sampler=SliceSampler(slice_len=4))
    buffer.extend(rows)
    batch = buffer.sample(4 * 100).view(100, 4)
    assert torch.equal(batch["is_init"].squeeze(-1), batch["step"] == 0)
    assert not batch["is_init"][:, 1:].any()
    first = batch["step"][:, 0]
    assert torch.equal(batch["hidden"][:, 0, 0], (first * (first + 1) / 2).float())
    assert len(set(first.tolist())) > 3


def test_wrong_arguments_say_what_is_wrong() -> None:
    """Sizes that do not fit and values out of range are named with what was expected."""
    with pytest.raises(ValueError, match="either num_slices or slice_len"):
        SliceSampler()
    with pytest.raises(ValueError, match="either num_slices or slice_len"):
        SliceSampler(num_slices=2, slice_len=2)
    with pytest.raises(ValueError, match=r"slice_len\. Expected an integer >= 1, found 0"):
        SliceSampler(slice_len=0)
    with pytest.raises(ValueError, match=r"span\. Expected booleans or integers from 0 to slice_len - 1"):
        SliceSampler(slice_len=3, span=3)
    with pytest.raises(ValueError, match=r"span\. Expected .* one or a pair, found \(1, 2, 0\)"):
        SliceSampler(slice_len=3, span=(1, 2, 0))  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="uniform_over"):
        SliceSampler(slice_len=3, uniform_over="rows")  # type: ignore[arg-type]  # refused
    with pytest.raises(ValueError, match="a multiple of slice_len=3, found 10"):
        _buffer([20], SliceSampler(slice_len=3)).sample(10)
    with pytest.raises(ValueError, match="a multiple of num_slices=30, found 10"):
        _buffer([20], SliceSampler(num_slices=30)).sample(10)


def test_no_trajectory_long_enough() -> None:
    """When no trajectory holds a slice, the error tells how long the longest is."""
    with pytest.raises(RuntimeError, match=r"at least 5 steps, found at most 4 steps in one"):
        _buffer([4, 2], SliceSampler(slice_len=5)).sample(5)


@pytest.mark.parametrize("storage", [LazyTensorStorage, ListStorage])
@pytest.mark.parametrize("argument", ["end_key", "traj_key"])
def test_a_missing_entry_names_the_argument(storage: type[Storage], argument: str) -> None:
    """Rows without the entry that tells trajectories apart give an error with the entries and the argument."""
    keys: dict[str, Any] = {argument: "episod"}
    sampler = SliceSampler(slice_len=2, **keys)
    with pytest.raises(MissingKeyError, match=rf'"episode".*SliceSampler\({argument}=...\)'):
        _buffer([4, 2], sampler, storage(10)).sample(2)


def test_state_of_other_slices_is_refused() -> None:
    """A state saved with slices of another length does not load."""
    state = _buffer([9], SliceSampler(slice_len=2)).state_dict()
    other = TensorDictReplayBuffer(
        storage=LazyTensorStorage(64), sampler=SliceSampler(slice_len=3), generator=torch.Generator()
    )
    with pytest.raises(ValueError, match="sampler settings"):
        other.load_state_dict(state)


def test_saved_to_a_folder(tmp_path: Any) -> None:
    """Saved in the middle of the ring and loaded elsewhere, the next batches and writes are equal bit by bit."""
    buffer = _buffer([8, 5, 4, 9], SliceSampler(num_slices=3), LazyTensorStorage(20))
    buffer.sample(9)
    buffer.dumps(tmp_path)
    other = _buffer([3, 3], SliceSampler(num_slices=3), LazyTensorStorage(20))
    other.loads(tmp_path)
    for _ in range(3):
        for _ in range(3):
            assert torch.equal(buffer.sample(9)["index"], other.sample(9)["index"])
        assert torch.equal(buffer.extend(_rows([5])), other.extend(_rows([5])))


def test_generator_decides_the_batches() -> None:
    """Equal generators give equal batches, and the global generator is left alone."""
    state = torch.get_rng_state()
    first, second = (_buffer([8, 5, 4], SliceSampler(num_slices=3)).sample(9) for _ in range(2))
    assert torch.equal(first["index"], second["index"])
    assert torch.equal(torch.get_rng_state(), state)


def test_storage_without_a_limit_and_rows_in_any_order() -> None:
    """Rows of a list without a limit, and rows written in another order than that of a ring, are followed too."""
    sampler = SliceSampler(slice_len=2, end_key=("next", "done"))
    buffer = TensorDictReplayBuffer(storage=ListStorage(None), sampler=sampler)
    rows = TensorDict({"x": torch.arange(6), "next": {"done": torch.zeros(6, 1, dtype=torch.bool)}}, [6])
    buffer.extend(rows)
    assert set(buffer.sample(200)["x"][::2].tolist()) == {0, 1, 2, 3, 4}
    sampler.extend(buffer.storage, torch.tensor([4, 1]))  # as a writer that ranks rows would
    assert set(buffer.sample(200)["index"][::2].tolist()) == {2}
    sampler.extend(buffer.storage, torch.tensor([2, 3]))
    assert set(buffer.sample(200)["index"][::2].tolist()) == {1, 2}
    assert repr(sampler) == "SliceSampler(slice_len=2, strict_length=True, span=False)"
