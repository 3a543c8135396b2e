"""Frames concatenated where a buffer is read, from single frames that it stores."""

from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_buffers import LazyTensorStorage, SamplerWithoutReplacement, TensorDictReplayBuffer
from rl_collectors import SyncDataCollector
from rl_envs import CatFrames, GymEnv, NextObservationDelta, TimeMaxPool, TransformedEnv


def _rollout(env: Any, steps: int) -> TensorDictBase:
    env.set_seed(0)
    torch.manual_seed(0)
    data: TensorDictBase = env.rollout(steps, break_when_any_done=False)
    return data


def _buffer(data: TensorDictBase, batch_size: int) -> Any:
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(len(data)), sampler=SamplerWithoutReplacement(shuffle=False), batch_size=batch_size
    )
    buffer.extend(data)
    return buffer


def test_slices_of_single_frames() -> None:
    """A buffer of single frames, read in slices of `N` steps, gives the frames that the environment would have made."""
    single = _rollout(GymEnv("CartPole-v1"), 60)
    made = _rollout(TransformedEnv(GymEnv("CartPole-v1"), CatFrames(4, -1, in_keys=["observation"])), 60)
    buffer = _buffer(single, 60)
    buffer.append_transform(CatFrames(4, -1, in_keys=["observation"]).make_rb_transform())
    batch = buffer.sample()
    assert batch.batch_size == (15,)
    ends = torch.arange(3, 60, 4)
    assert torch.equal(batch["observation"], made["observation"][ends])
    assert torch.equal(batch["next", "observation"], made["next", "observation"][ends])
    assert any(bool(single["next", "done"][end - 3 : end].any()) for end in ends.tolist())  # an episode starts inside


def test_whole_trajectories() -> None:
    """`forward` on a batch in the order of its steps, as a buffer without shuffling gives it, makes all frames."""
    single = _rollout(GymEnv("CartPole-v1"), 60)
    made = _rollout(TransformedEnv(GymEnv("CartPole-v1"), CatFrames(4, -1, in_keys=["observation"])), 60)
    buffer = _buffer(single, 60)
    buffer.append_transform(CatFrames(4, -1, in_keys=["observation", ("next", "observation")]))
    batch = buffer.sample()
    assert torch.equal(batch["observation"], made["observation"])
    assert torch.equal(batch["next", "observation"], made["next", "observation"])


def test_differences_in_a_buffer() -> None:
    """A buffer that stores differences gives the next observations back to half precision."""
    data = _rollout(GymEnv("CartPole-v1"), 30)
    transform = NextObservationDelta(["observation"])
    buffer = _buffer(transform.compress(data), 30)
    buffer.append_transform(transform)
    torch.testing.assert_close(buffer.sample()["next", "observation"], data["next", "observation"], rtol=0, atol=2e-3)


@pytest.mark.parametrize("num_envs", [1, 3])
def test_collected_frames_are_those_of_a_rollout(num_envs: int) -> None:
    """A collector carries frames and maxima from batch to batch as one rollout does."""

    def make() -> TransformedEnv:
        base = GymEnv("CartPole-v1", num_envs=num_envs)
        return TransformedEnv(base, [CatFrames(3, -1, in_keys=["observation"], out_keys=["f"]), TimeMaxPool(T=3)])

    collector = SyncDataCollector(make(), None, frames_per_batch=20 * num_envs, total_frames=60 * num_envs)
    collector.set_seed(0)
    data = TensorDict.cat(list(collector), -1)
    done = data["next", "done"][..., 0]
    frames, last = data["f"], data["next", "f"]
    same = ~done[..., :-1]
    assert torch.equal(frames[..., 1:, :][same], last[..., :-1, :][same])
    assert torch.equal(last[..., :8], frames[..., 4:])
    assert torch.equal(frames[..., 1:, :][~same][..., :4], frames[..., 1:, :][~same][..., 8:])
    window = torch.stack([last[..., :4], last[..., 4:8], last[..., 8:]])
    assert torch.equal(data["next", "observation"], window.amax(0))
