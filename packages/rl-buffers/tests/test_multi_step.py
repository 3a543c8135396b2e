"""n-step rewards of a batch."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict, TensorDictBase

from rl_buffers import LazyTensorStorage, MultiStep, SliceSampler, TensorDictReplayBuffer
from rl_specs import MissingKeyError, ShapeError

GAMMA = 0.5


def _steps(flags: list[int], start: int = 0) -> TensorDict:
    """Steps whose observation counts them, with rewards 1, 2, 3, ..."""
    count = len(flags)
    number = torch.arange(start, start + count).float().view(count, 1)
    done = torch.tensor(flags, dtype=torch.bool).view(count, 1)
    following = {"observation": number + 1, "reward": number + 1, "done": done, "terminated": done.clone()}
    return TensorDict({"observation": number, "next": following}, [count])


def test_windows_by_hand() -> None:
    """Two steps ahead with gamma 0.5: rewards 1 + 2/2 + 3/4, and less where an episode or the batch ends."""
    data = _steps([0, 0, 0, 1, 0])
    out = MultiStep(GAMMA, 2)(data)
    assert out["next", "reward"].flatten().tolist() == [2.75, 4.5, 5.0, 4.0, 5.0]
    assert out["next", "original_reward"].flatten().tolist() == [1, 2, 3, 4, 5]
    assert out["next", "observation"].flatten().tolist() == [3, 4, 4, 4, 5]
    assert out["next", "terminated"].flatten().tolist() == [False, True, True, True, False]
    assert out["steps_to_next_obs"].flatten().tolist() == [3, 3, 2, 1, 1]
    assert out["gamma"].flatten().tolist() == [0.125, 0.125, 0.25, 0.5, 0.5]
    assert out["observation"].flatten().tolist() == [0, 1, 2, 3, 4]
    assert "gamma" not in data
    assert data["next", "reward"].flatten().tolist() == [1, 2, 3, 4, 5]


def test_no_steps_ahead_changes_nothing() -> None:
    """With `n_steps=0` the batch comes back as it is."""
    data = _steps([0, 1])
    assert MultiStep(GAMMA, 0)(data) is data


def test_ids_and_padding_end_windows() -> None:
    """A window ends where the id changes and before padding, in every row of the batch."""
    data = TensorDict.stack([_steps([0] * 4), _steps([0] * 4)])
    data["collector", "traj_ids"] = torch.tensor([[0, 0, 1, 1], [2, 2, 2, 2]])
    data["collector", "mask"] = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).bool()
    lengths = MultiStep(GAMMA, 3)(data)["steps_to_next_obs"].squeeze(-1)
    assert lengths.tolist() == [[2, 1, 2, 1], [3, 2, 1, 1]]


def _expected(steps: TensorDictBase, start: int, longest: int) -> tuple[float, float, float]:
    """Reward, discount and next observation of the window at a step, by a loop."""
    total, discount = 0.0, 1.0
    for offset in range(longest):
        step = steps[start + offset]
        total += discount * step["next", "reward"].item()
        discount *= GAMMA
        if start + offset == len(steps) - 1 or step["next", "done"]:
            break
    return total, discount, step["next", "observation"].item()


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_windows_are_those_of_a_loop(flags: list[bool], ahead: int) -> None:
    """Each step has the reward, discount and next observation that a loop over its window gives."""
    steps = _steps([int(flag) for flag in flags])
    out = MultiStep(GAMMA, ahead)(steps)
    for start in range(len(flags)):
        reward, discount, following = _expected(steps, start, ahead + 1)
        assert out["next", "reward"][start].item() == pytest.approx(reward)
        assert out["gamma"][start].item() == pytest.approx(discount)
        assert out["next", "observation"][start].item() == following


def test_full_ring() -> None:
    """From a ring that went round, the first step of each slice has its n-step reward; no window crosses the seam."""
    torch.manual_seed(0)
    ahead, size = 3, 32
    sampler = SliceSampler(
        slice_len=ahead + 1, span=(False, True), strict_length=False, uniform_over="starts", truncated_key="cut"
    )
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(size), sampler=sampler)
    buffer.append_transform(_with_ends)
    buffer.append_transform(MultiStep(GAMMA, ahead))
    flags = [int(flag) for flag in torch.rand(100) < 0.15]
    steps = _steps(flags)
    for part in steps.split(7):
        buffer.extend(part)
    seen = set()
    for _ in range(60):
        batch = buffer.sample((ahead + 1) * 8)
        cut = batch["cut"].squeeze(1)
        for position in torch.cat([torch.tensor([True]), cut[:-1]]).nonzero().flatten().tolist():
            start = int(batch["observation"][position])
            reward, discount, following = _expected(steps, start, ahead + 1)
            seen.add(start)
            assert batch["next", "reward"][position].item() == pytest.approx(reward)
            assert batch["gamma"][position].item() == pytest.approx(discount)
            assert batch["next", "observation"][position].item() == following
    assert seen == set(range(100 - size, 100))


def _with_ends(batch: TensorDictBase) -> TensorDictBase:
    """The ends of slices as truncations."""
    return batch.set(("next", "truncated"), batch["cut"])


def test_as_a_transform_of_slices() -> None:
    """Appended to a buffer of slices, windows end with the slices, whose ends the sampler flags."""
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(20), sampler=SliceSampler(slice_len=3))
    buffer.append_transform(MultiStep(GAMMA, 2))
    buffer.extend(_steps([0] * 10))
    batch = buffer.sample(30).view(10, 3)
    assert batch["steps_to_next_obs"].squeeze(-1).tolist() == [[3, 2, 1]] * 10
    assert torch.equal(batch["next", "observation"][..., 0], batch["observation"][:, :1, 0].expand(10, 3) + 3)


def test_wrong_use_is_told() -> None:
    """Values out of range, data without time, reward or flags are named."""
    with pytest.raises(ValueError, match="gamma out of range"):
        MultiStep(1.5, 2)
    bad: Any = 1.0
    for value in (-1, bad):
        with pytest.raises(ValueError, match="n_steps"):
            MultiStep(0.5, value)
    with pytest.raises(ShapeError, match="no dimension of time"):
        MultiStep(0.5, 1)(_steps([0])[0])
    with pytest.raises(MissingKeyError, match="reward_key"):
        MultiStep(0.5, 1, reward_key="gain")(_steps([0]))
    data = _steps([0])
    data = data.exclude(("next", "done"), ("next", "terminated"))
    with pytest.raises(MissingKeyError, match="store the flags"):
        MultiStep(0.5, 1)(data)
