"""Steps stored with the reward of the rest of their episode."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from rl_buffers import InverseTransform, KeepingTransform, LazyTensorStorage, RewardToGo, TensorDictReplayBuffer
from rl_buffers._reward_to_go import rewards_to_go
from rl_specs import MissingKeyError, ShapeError, SpecError


def _steps(flags: list[bool]) -> TensorDict:
    count = len(flags)
    done = torch.tensor(flags, dtype=torch.bool).view(count, 1)
    reward = torch.arange(1.0, count + 1).view(count, 1)
    return TensorDict({"next": {"reward": reward, "done": done}}, [count])


def _buffer() -> TensorDictReplayBuffer:
    return TensorDictReplayBuffer(storage=LazyTensorStorage(50), transform=RewardToGo(0.5))


def test_sums_by_hand() -> None:
    """With gamma 0.5 an episode of rewards 1, 2, 3 has the sums 1 + 1 + 0.75, 2 + 1.5 and 3; the next one waits."""
    buffer = _buffer()
    assert buffer.extend(_steps([False, False, True, False])).tolist() == [0, 1, 2]
    assert buffer[:]["reward_to_go"].flatten().tolist() == [2.75, 3.5, 3.0]


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_sums_are_those_of_a_loop(flags: list[bool], gamma: float) -> None:
    """Sums by doubling are those of the recursion, for rewards of any shape and dtype."""
    reward = torch.arange(len(flags) * 2).view(-1, 2) % 7
    found = rewards_to_go(reward, torch.tensor(flags), gamma)
    following = torch.zeros(2)
    for step in reversed(range(len(flags))):
        following = reward[step] + gamma * following * (not flags[step])
        torch.testing.assert_close(found[step], following)


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_pieces_do_not_matter(flags: list[bool], size: int) -> None:
    """What is stored does not depend on how the steps are cut into pieces, nor on `add` or `extend`."""
    whole, parts, single = _buffer(), _buffer(), _buffer()
    steps = _steps(flags)
    whole.extend(steps)
    for part in steps.split(size):
        parts.extend(part)
    for step in steps:
        single.add(step)
    assert len(whole) == len(parts) == len(single)
    if len(whole):
        for other in (parts, single):
            torch.testing.assert_close(other[:]["reward_to_go"], whole[:]["reward_to_go"])


def test_steps_that_wait_are_saved_and_forgotten(tmp_path: Path) -> None:
    """Steps that wait travel with the state, and `empty` forgets them."""
    buffer, other = _buffer(), _buffer()
    buffer.extend(_steps([False, True, False, False]))
    buffer.dumps(tmp_path)
    other.loads(tmp_path)
    for each in (buffer, other):
        assert each.extend(_steps([True])).tolist() == [2, 3, 4]
        assert each[:]["reward_to_go"].flatten().tolist() == [2.0, 2.0, 5.25, 4.5, 1.0]
    buffer.extend(_steps([False, False]))
    buffer.empty()
    assert buffer.extend(_steps([True])).tolist() == [0]


def test_wrong_use_is_told() -> None:
    """Values out of range, other shapes, missing entries and other entries than before are named."""
    transform = RewardToGo()
    assert isinstance(transform, InverseTransform)
    assert isinstance(transform, KeepingTransform)
    with pytest.raises(ValueError, match="gamma out of range"):
        RewardToGo(-0.1)
    with pytest.raises(ShapeError, match=r"\[T\]"):
        transform.inv(TensorDict.stack([_steps([True]), _steps([True])]))
    with pytest.raises(MissingKeyError, match="done_key"):
        RewardToGo(done_key="over").inv(_steps([True]))
    transform.inv(_steps([False]))
    with pytest.raises(SpecError, match="other entries"):
        transform.inv(_steps([False]).set("a", torch.zeros(1)))
