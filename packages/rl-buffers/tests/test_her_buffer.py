"""Hindsight experience replay."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from rl_buffers import (
    HERReplayBuffer,
    HindsightStrategy,
    LazyTensorStorage,
    ListStorage,
    PrioritizedSampler,
    ReplayBuffer,
    SamplerWithoutReplacement,
    SliceSampler,
    TensorStorage,
)
from rl_specs import MissingKeyError, ShapeError, SpecError


def _reward(achieved: Tensor, desired: Tensor, batch: Any) -> Tensor:
    """0 where the goal is achieved, -1 elsewhere."""
    return (achieved == desired).all(-1).float() - 1


def _rows(first: int, dones: list[bool], trajectories: list[int] | None = None) -> TensorDict:
    """Row number `n` achieves goal `(n, n)` and pursues `(-1, -1)`."""
    count = len(dones)
    number = torch.arange(first, first + count).view(-1, 1).expand(-1, 2)
    goal, done = torch.full((count, 2), -1), torch.tensor(dones, dtype=torch.bool).view(-1, 1)
    after = {
        "achieved_goal": number,
        "desired_goal": goal,
        "reward": torch.full((count, 1), -1.0),
        "done": done,
        "terminated": torch.zeros_like(done),
        "truncated": done,
    }
    ids = torch.tensor(trajectories if trajectories is not None else [0] * count)
    root = {"achieved_goal": number - 1, "desired_goal": goal, "trajectory": ids, "next": after}
    return TensorDict(root, [count])


def _buffer(size: int = 8, **options: Any) -> HERReplayBuffer:
    options = {"reward_fn": _reward, "generator": torch.Generator().manual_seed(0), "batch_size": 64, **options}
    storage = options.pop("storage", None)  # an empty one is false
    return HERReplayBuffer(storage=LazyTensorStorage(size) if storage is None else storage, **options)


def _pairs(buffer: HERReplayBuffer, batches: int = 20) -> dict[int, set[int]]:
    """Which rows gave goals to each row, over many batches; goals and rewards are those of the rows."""
    seen: dict[int, set[int]] = {}
    for _ in range(batches):
        batch = buffer.sample()
        rows, goals = batch["next", "achieved_goal"], batch["desired_goal"]
        assert batch["is_relabelled"].all()
        assert torch.equal(goals, batch["next", "desired_goal"])
        assert torch.equal(goals, buffer[batch["goal_index"]]["next", "achieved_goal"])
        assert torch.equal(batch["next", "reward"], (rows == goals).all(-1, keepdim=True).float() - 1)
        for row, goal in zip(rows[:, 0].tolist(), goals[:, 0].tolist(), strict=True):
            seen.setdefault(row, set()).add(goal)
    return seen


@pytest.mark.parametrize("kind", [LazyTensorStorage, ListStorage])
@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("future", {0: {0, 1, 2}, 1: {1, 2}, 2: {2}, 3: {3, 4}, 4: {4}}),
        ("final", {0: {2}, 1: {2}, 2: {2}, 3: {4}, 4: {4}}),
        ("episode", {0: {0, 1, 2}, 1: {0, 1, 2}, 2: {0, 1, 2}, 3: {3, 4}, 4: {3, 4}}),
        ("random", {row: {0, 1, 2, 3, 4} for row in range(5)}),
    ],
)
def test_goals_of_each_strategy(strategy: str, expected: dict[int, set[int]], kind: Any) -> None:
    """An episode of rows 0, 1, 2 and one of 3, 4 that goes on give exactly the goals that the strategy allows."""
    buffer = _buffer(storage=kind(8), strategy=strategy, her_ratio=1.0)
    buffer.extend(_rows(0, [False, False, True, False]))
    buffer.add(_rows(4, [False])[0])
    assert _pairs(buffer) == expected


def test_goals_never_come_from_beyond_the_seam() -> None:
    """In a ring of 4 that holds 6, 7 and 4, 5 of one episode, the newest row takes no goal of the oldest one."""
    buffer = _buffer(4, strategy="future", her_ratio=1.0)
    buffer.extend(_rows(0, [False] * 3))
    buffer.extend(_rows(3, [False] * 5))
    assert buffer[:]["next", "achieved_goal"][:, 0].tolist() == [4, 5, 6, 7]
    buffer.extend(_rows(8, [False] * 2))
    assert buffer[:]["next", "achieved_goal"][:, 0].tolist() == [8, 9, 6, 7]
    assert _pairs(buffer) == {6: {6, 7, 8, 9}, 7: {7, 8, 9}, 8: {8, 9}, 9: {9}}
    buffer.extend(_rows(10, [True]))
    assert _pairs(buffer) == {7: {7, 8, 9, 10}, 8: {8, 9, 10}, 9: {9, 10}, 10: {10}}


def test_what_was_overwritten_of_an_episode_gives_no_goals() -> None:
    """Of an episode 1, 2, 3 of which a ring of 4 holds the last row only, that row is the only one to give goals."""
    buffer = _buffer(4, strategy="episode", her_ratio=1.0)
    buffer.extend(_rows(0, [True, False, False, True]))
    assert _pairs(buffer) == {0: {0}, 1: {1, 2, 3}, 2: {1, 2, 3}, 3: {1, 2, 3}}
    buffer.extend(_rows(4, [False, False, False]))
    assert _pairs(buffer) == {3: {3}, **{row: {4, 5, 6} for row in (4, 5, 6)}}


def test_trajectories_are_told_apart_without_an_end() -> None:
    """Rows of several environments one after the other, cut off in the middle, give each other no goals."""
    buffer = _buffer(strategy="episode", her_ratio=1.0, trajectory_key="trajectory")
    buffer.extend(_rows(0, [False] * 4, [5, 5, 6, 6]))
    assert _pairs(buffer) == {0: {0, 1}, 1: {0, 1}, 2: {2, 3}, 3: {2, 3}}
    buffer.extend(_rows(4, [False, False], [6, 5]))
    assert _pairs(buffer) == {0: {0, 1}, 1: {0, 1}, 2: {2, 3, 4}, 3: {2, 3, 4}, 4: {2, 3, 4}, 5: {5}}


@pytest.mark.parametrize("key", ["episode", ("collector", "traj_ids")])
def test_ids_of_collectors_are_found(key: Any) -> None:
    """Where the rows have an entry that collectors or data sets name trajectories by, it needs no mention."""
    buffer = _buffer(strategy="episode", her_ratio=1.0)
    rows = _rows(0, [False] * 5)
    buffer.extend(rows.set(key, torch.tensor([4, 4, 4, 7, 7])))
    assert _pairs(buffer) == {0: {0, 1, 2}, 1: {0, 1, 2}, 2: {0, 1, 2}, 3: {3, 4}, 4: {3, 4}}


def test_sequences_are_not_taken_for_rows() -> None:
    """Data [2, 3] for a storage of rows are refused with the storage that they need, which takes them."""
    data = _grid(0, torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 3))
    buffer = _buffer()
    with pytest.raises(ShapeError, match=r"extend.*Expected 1 .*ndim=1, found \[2, 3\].*ndim=2.*flatten"):
        buffer.extend(data)
    with pytest.raises(ShapeError, match=r"add.*Expected 0 .* found \[3\]"):
        buffer.add(data[0])
    assert len(buffer) == 0
    buffer.extend(data.reshape(-1))
    lanes = _buffer(storage=LazyTensorStorage(6, ndim=2))
    lanes.extend(data)
    assert len(lanes) == len(buffer) == 6


WRITES = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.lists(st.tuples(st.booleans(), st.integers(0, 1)), min_size=1, max_size=11)),
        st.tuples(st.just("replace"), st.lists(st.tuples(st.booleans(), st.integers(0, 1)), min_size=1, max_size=1)),
        st.tuples(st.just("reload"), st.just([])),
        st.tuples(st.just("empty"), st.just([])),
        st.tuples(st.just("look"), st.just([])),
    ),
    max_size=12,
)


@given(WRITES, st.integers(1, 7), st.booleans(), st.sampled_from(list(HindsightStrategy)))
@settings(max_examples=80, deadline=None)
def test_goals_are_those_of_a_slow_search(
    writes: list[tuple[str, Any]], size: int, has_names: bool, strategy: HindsightStrategy
) -> None:
    """Whatever was written, goals come from the rows that a walk over the ring from old to new allows."""
    options: dict[str, Any] = {"her_ratio": 1.0, "strategy": strategy, "batch_size": 40}
    if has_names:
        options["trajectory_key"] = "trajectory"
    buffer = _buffer(size, **options)
    ring: list[tuple[int, bool, int]] = []  # from old to new: number, whether an episode ends, its name
    first = 0
    for name, rows in writes:
        if name == "extend":
            data = _rows(first, [done for done, _ in rows], [trajectory for _, trajectory in rows])
            buffer.extend(data) if len(rows) > 1 else buffer.add(data[0])
            ring = (ring + [(first + i, *row) for i, row in enumerate(rows)])[-size:]
        elif name == "replace" and ring:
            place = first % len(ring)
            number = buffer.writer.order(buffer.storage)[place]
            buffer[int(number)] = _rows(first, [rows[0][0]], [rows[0][1]])[0]
            ring[place] = (first, *rows[0])
        elif name == "reload":
            other = _buffer(size, **options)
            other.load_state_dict(buffer.state_dict())
            buffer = other
        elif name == "empty":
            buffer.empty()
            ring = []
        elif ring:
            buffer.sample()
        first += len(rows)
    if ring:
        allowed = _allowed(ring, has_names, strategy)
        for row, goals in _pairs(buffer).items():
            assert goals <= allowed[row]
            assert len(goals) == len(allowed[row]) or len(ring) > 3


def _allowed(ring: list[tuple[int, bool, int]], has_names: bool, strategy: HindsightStrategy) -> dict[int, set[int]]:
    episodes: list[list[int]] = [[]]
    last: tuple[int, bool, int] | None = None
    for row in ring:
        if last is not None and (last[1] or (has_names and last[2] != row[2])):
            episodes.append([])
        episodes[-1].append(row[0])
        last = row
    allowed = {}
    for episode in episodes:
        for place, number in enumerate(episode):
            allowed[number] = {
                HindsightStrategy.FUTURE: set(episode[place:]),
                HindsightStrategy.FINAL: {episode[-1]},
                HindsightStrategy.EPISODE: set(episode),
                HindsightStrategy.RANDOM: {row[0] for row in ring},
            }[strategy]
    return allowed


def test_rows_are_relabelled_at_the_ratio() -> None:
    """Of 6,400 rows about 80 in 100 are relabelled; the others keep goal, reward and their own row as the goal's."""
    buffer = _buffer(batch_size=6400)
    buffer.extend(_rows(0, [False, False, True, False]))
    batch = buffer.sample()
    is_relabelled = batch["is_relabelled"]
    assert 0.77 < is_relabelled.float().mean().item() < 0.83
    others = batch[~is_relabelled]
    assert (others["desired_goal"] == -1).all()
    assert (others["next", "reward"] == -1).all()
    assert torch.equal(others["goal_index"], others["index"])
    assert (_buffer(her_ratio=0.0).extend(_rows(0, [True] * 3)) == torch.arange(3)).all()


def test_goals_are_uniform() -> None:
    """The three rows that may give a goal to the first one do so equally often (chi-square)."""
    buffer = _buffer(batch_size=30_000, her_ratio=1.0)
    buffer.extend(_rows(0, [False, False, True]))
    batch = buffer.sample()
    counts = batch["goal_index"][batch["index"] == 0].bincount(minlength=3).double()
    expected = counts.sum() / 3
    assert ((counts - expected).square() / expected).sum().item() < 13.8  # 99.9 %, two degrees of freedom


def test_termination_can_follow_the_goal() -> None:
    """With `terminated_fn` a relabelled row that reaches its goal terminates; truncation stays."""
    buffer = _buffer(her_ratio=1.0, strategy="final", terminated_fn=lambda a, d, _: (a == d).all(-1))
    buffer.extend(_rows(0, [False, False, True]))
    batch = buffer.sample()
    is_last = (batch["index"] == 2).view(-1, 1)
    assert torch.equal(batch["next", "terminated"], is_last)
    assert torch.equal(batch["next", "done"], is_last)
    assert torch.equal(batch["next", "truncated"], is_last)


def test_the_reward_function_sees_the_new_goals() -> None:
    """It is called once a batch, with all rows, and may return `[n, 1]`; another shape says which one is expected."""
    calls = []

    def reward(achieved: Tensor, desired: Tensor, batch: Any) -> Tensor:
        calls.append((achieved.shape, desired.shape, bool((batch["desired_goal"] == desired).all())))
        return torch.zeros(len(batch), 1 if len(calls) == 1 else 2)

    buffer = _buffer(reward_fn=reward)
    buffer.extend(_rows(0, [False] * 4))
    buffer.sample(5)
    assert calls == [((5, 2), (5, 2), True)]
    with pytest.raises(ShapeError, match=r"reward_fn.*\[5\] or \[5, 1\], found \[5, 2\]"):
        buffer.sample(5)


def test_a_checkpoint_gives_the_same_goals(tmp_path: Path) -> None:
    """After loading, batches and goals are those of the buffer that was saved, also in the middle of a pass."""
    buffer = _buffer(sampler=SamplerWithoutReplacement(), batch_size=3)
    other = _buffer(sampler=SamplerWithoutReplacement(), batch_size=3, generator=torch.Generator())
    buffer.extend(_rows(0, [False, True] * 5))
    buffer.sample()
    buffer.dumps(tmp_path)
    other.loads(tmp_path)
    for _ in range(5):
        assert (buffer.sample() == other.sample()).all()
    with pytest.raises(SpecError, match="strategy"):
        _buffer(sampler=SamplerWithoutReplacement(), strategy="final").loads(tmp_path)


def test_prefetched_batches_are_the_same() -> None:
    """With and without prefetching batches have the same rows and goals."""
    ahead, plain = _buffer(prefetch=2), _buffer()
    for first in range(0, 30, 5):
        for buffer in (ahead, plain):
            buffer.extend(_rows(first, [False, False, True, False, False]))
        for _ in range(5):
            assert (ahead.sample(6) == plain.sample(6)).all()
    ahead.close()


def test_what_cannot_be_relabelled_is_refused_at_once() -> None:
    """Missing entries are listed with the first data, as are goals of different shapes, ratios and strategies."""
    buffer = _buffer(achieved_goal_key="achieved", end_key=("next", "end"))
    with pytest.raises(MissingKeyError, match=r'\("next", "achieved"\), \("next", "end"\).*achieved_goal'):
        buffer.extend(_rows(0, [True]))
    assert len(buffer) == 0
    with pytest.raises(ShapeError, match="achieved_goal"):
        _buffer().extend(_rows(0, [True]).set("desired_goal", torch.zeros(1, 3)))
    with pytest.raises(ValueError, match="her_ratio"):
        _buffer(her_ratio=4)
    with pytest.raises(ValueError, match="Did you mean future"):
        _buffer(strategy="futur")
    with pytest.raises(TypeError, match="Did you mean her_ratio"):
        _buffer(herratio=0.5)


LANE = 1000


def _grid(first: int, dones: Tensor, names: Tensor) -> TensorDictBase:
    """Data `[lanes, steps]`, the row of step `t` and lane `b` of which achieves the goal `1000 b + first + t`."""
    lanes = [
        _rows(LANE * lane + first, done.tolist(), name.tolist())
        for lane, (done, name) in enumerate(zip(dones, names, strict=True))
    ]
    data: TensorDictBase = TensorDict.stack(lanes)
    return data


LANE_WRITES = st.lists(
    st.tuples(st.sampled_from(["extend", "add", "look", "extend", "look", "replace", "reload"]), st.integers(1, 5)),
    min_size=5,
    max_size=20,
)


@given(
    LANE_WRITES,
    st.integers(1, 3),
    st.integers(2, 9),
    st.booleans(),
    st.sampled_from(list(HindsightStrategy)),
    st.integers(0, 2**20),
)
@settings(max_examples=60, deadline=None)
def test_lanes_are_rings_of_their_own(
    writes: list[tuple[str, int]], lanes: int, steps: int, has_names: bool, strategy: HindsightStrategy, seed: int
) -> None:
    """Of sequences side by side each takes the goals that it would take alone in a ring of its own, at the seam too."""
    options: dict[str, Any] = {"her_ratio": 1.0, "strategy": strategy, "batch_size": 60}
    if has_names:
        options["trajectory_key"] = "trajectory"

    def fresh() -> HERReplayBuffer:
        return _buffer(storage=LazyTensorStorage(lanes * steps + lanes - 1, ndim=2), **options)

    buffer, random = fresh(), torch.Generator().manual_seed(seed)
    rings: list[list[tuple[int, bool, int]]] = [[] for _ in range(lanes)]
    first = 0

    def check(batches: int) -> None:
        allowed = {row: goals for ring in rings for row, goals in _allowed(ring, has_names, strategy).items()}
        everything = set(allowed)
        for row, goals in _pairs(buffer, batches).items():
            expected = everything if strategy is HindsightStrategy.RANDOM else allowed[row]
            assert goals <= expected
            assert len(goals) == len(expected) or len(expected) > 4 or batches == 1

    for name, count in writes:
        if name in ("extend", "add"):
            count = 1 if name == "add" else count
            dones, names = (torch.rand(lanes, count, generator=random) < 0.3 for _ in range(2))
            data = _grid(first, dones, names.long())
            buffer.add(data[:, 0]) if name == "add" else buffer.extend(data)
            for lane, ring in enumerate(rings):
                new = [(LANE * lane + first + t, bool(dones[lane, t]), int(names[lane, t])) for t in range(count)]
                rings[lane] = (ring + new)[-steps:]
        elif name == "replace" and rings[0]:
            lane, place = count % lanes, first % len(rings[0])
            row = int(buffer.writer.order(buffer.storage)[place * lanes + lane])
            buffer[row] = _rows(LANE * lane + first, [True], [5])[0]
            rings[lane][place] = (LANE * lane + first, True, 5)
        elif name == "reload":
            other = fresh()
            other.load_state_dict(buffer.state_dict())
            buffer = other
        elif rings[0]:
            check(1)
        first += count
    if rings[0]:
        check(20)


def test_long_lanes_with_episodes_of_uneven_length() -> None:
    """Over many writes, with an episode in each step of one lane and one without end in the other, ends stay right."""
    buffer = _buffer(storage=LazyTensorStorage(200, ndim=2), her_ratio=1.0, strategy="episode", batch_size=500)
    for first in range(0, 700, 7):
        dones = torch.stack([torch.ones(7), torch.zeros(7)]).bool()
        buffer.extend(_grid(first, dones, torch.zeros(2, 7, dtype=torch.int64)))
        batch = buffer.sample()
        row, goal = (entry[:, 0] for entry in (batch["next", "achieved_goal"], batch["desired_goal"]))
        is_single = row < LANE
        assert torch.equal(row[is_single], goal[is_single])
        assert (goal[~is_single] >= LANE + max(0, first + 7 - 100)).all()
        assert first < 100 or goal[~is_single].unique().numel() > 60


def test_rows_of_an_earlier_run_give_no_goals_to_new_ones() -> None:
    """A buffer around rows that were there before starts a new episode, also after a save, until they are gone."""
    before = _buffer(6)
    before.extend(_rows(0, [False] * 4))
    options: dict[str, Any] = {"strategy": "episode", "her_ratio": 1.0}
    buffer = _buffer(storage=before.storage, **options)
    assert set(_pairs(buffer)[0]) == {0, 1, 2, 3}
    buffer.extend(_rows(4, [False]))
    buffer.add(_rows(5, [False])[0])
    expected = {**{row: {0, 1, 2, 3} for row in range(4)}, 4: {4, 5}, 5: {4, 5}}
    assert _pairs(buffer) == expected
    other = _buffer(6, **options)
    other.load_state_dict(buffer.state_dict())
    assert _pairs(other) == expected
    other.extend(_rows(6, [False] * 3))
    assert _pairs(other) == {3: {3}, **{row: {4, 5, 6, 7, 8} for row in range(4, 9)}}


def test_slices_end_where_a_goal_was_reached() -> None:
    """With slices, `"done"` of a batch is true where the new goal terminates, and at the end of each slice."""
    sampler = SliceSampler(slice_len=3, end_key=("next", "done"))
    reached: dict[str, Any] = {"terminated_fn": lambda achieved, desired, _: (achieved == desired).all(-1)}
    buffer = _buffer(sampler=sampler, her_ratio=1.0, strategy="episode", batch_size=300, **reached)
    buffer.extend(_rows(0, [False, False, False, True]))
    batch = buffer.sample()
    terminated = batch["index"] == batch["goal_index"]
    assert torch.equal(batch["next", "terminated"].squeeze(-1), terminated)
    is_last = torch.arange(300) % 3 == 2
    assert torch.equal(batch["next", "done"].squeeze(-1), terminated | is_last)


def test_arrays_are_rewards_too() -> None:
    """A reward function may return an array of NumPy, as Gymnasium's do; other things are refused."""
    buffer = _buffer(reward_fn=lambda achieved, desired, _: np.linalg.norm(achieved.numpy() - desired.numpy(), axis=-1))
    buffer.extend(_rows(0, [False, True]))
    batch = buffer.sample()
    distance = (batch["next", "achieved_goal"] - batch["desired_goal"]).double().norm(dim=-1)
    mask = batch["is_relabelled"]
    torch.testing.assert_close(batch["next", "reward"][mask].squeeze(-1).double(), distance[mask])
    nothing = _buffer(reward_fn=lambda *_: None)
    nothing.extend(_rows(0, [True]))
    with pytest.raises(TypeError, match=r"result of reward_fn.*NoneType.*number for each row"):
        nothing.sample()


def test_rows_of_a_storage_are_checked_before_they_are_sampled() -> None:
    """A storage filled elsewhere without goals is refused with the entries that are missing."""
    storage = LazyTensorStorage(4)
    ReplayBuffer(storage=storage).extend(_rows(0, [False, True]).exclude("desired_goal"))
    with pytest.raises(MissingKeyError, match=r'missing from the rows: "desired_goal".*desired_goal_key'):
        _buffer(storage=storage).sample()
    ends = _rows(0, [True]).set(("next", "done"), torch.zeros(1, 2, dtype=torch.bool))
    buffer = _buffer()
    buffer.extend(ends)
    with pytest.raises(ShapeError, match=r"next.*done.*one value a row.*end_key"):
        buffer.sample()
    with pytest.raises(TypeError, match=r"reward_fn.*function.*lambda achieved"):
        _buffer(reward_fn=3)
    with pytest.raises(ValueError, match="her_ratio"):
        _buffer(her_ratio="all")


def test_rows_that_were_there_before_take_priorities() -> None:
    """With a prioritized sampler, rows that the storage was made with can be given priorities before the first draw."""
    sampler = PrioritizedSampler(3, 1.0, 1.0, eps=0.0)
    buffer = _buffer(storage=TensorStorage(_rows(0, [False, False, True])), sampler=sampler, her_ratio=0.0)
    buffer.update_priority(torch.arange(3), torch.tensor([0.0, 1.0, 0.0]))
    assert buffer.sample(5)["index"].tolist() == [1] * 5
