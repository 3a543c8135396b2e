"""From the collector through slices of a replay buffer to the target: no step meets one of another trajectory."""

import pytest
import torch
from tensordict import TensorDictBase
from torch import nn

from rl_buffers import LazyTensorStorage, MultiStep, SliceSampler, TensorDictReplayBuffer
from rl_collectors import Collector
from rl_envs import GymEnv, StepCounter, TransformedEnv
from rl_modules import ValueOperator
from rl_objectives import GAE

GAMMA, LMBDA, ENVS = 0.9, 0.8, 3


def _collector(frames: int, postproc: MultiStep | None = None, limit: int = 12) -> Collector:
    env = TransformedEnv(GymEnv("CartPole-v1", num_envs=ENVS), StepCounter(max_steps=limit))
    env.set_seed(1)
    torch.manual_seed(1)
    return Collector(env, None, frames_per_batch=frames, total_frames=8 * frames, postproc=postproc)


@pytest.mark.parametrize("key", ["end_key", "traj_key"])
def test_slices_of_several_environments(key: str) -> None:
    """Slices of `[B, T]` batches, stored in a ring that goes round, are consecutive steps of one episode each."""
    sampler = (
        SliceSampler(slice_len=4, end_key=("next", "done"))
        if key == "end_key"
        else SliceSampler(slice_len=4, traj_key=("collector", "traj_ids"))
    )
    storage = LazyTensorStorage(60 * ENVS, ndim=2)
    buffer = TensorDictReplayBuffer(storage=storage, sampler=sampler, batch_size=200)
    for batch in _collector(13 * ENVS):
        buffer.extend(batch)
        slices = buffer.sample().reshape(50, 4)
        ids, count = slices["collector", "traj_ids"], slices["step_count"].squeeze(-1)
        assert (ids == ids[:, :1]).all()
        assert (count.diff() == 1).all()
        assert torch.equal(slices["next", "observation"][:, :-1], slices["observation"][:, 1:])
    assert len(ids.unique()) > ENVS


def _advantage(steps: TensorDictBase, critic: ValueOperator) -> torch.Tensor:
    """Of one slice `[T]`, from the definition."""
    with torch.no_grad():
        value, following = critic.module(steps["observation"]), critic.module(steps["next", "observation"])
    advantage, found = torch.zeros(1), []
    for t in reversed(range(len(steps))):
        bootstrap = following[t] * ~steps["next", "terminated"][t]
        advantage = steps["next", "reward"][t] + GAMMA * bootstrap - value[t] + GAMMA * LMBDA * advantage
        found.append(advantage)
    return torch.stack(found[::-1])


def test_estimates_on_a_flat_batch_of_slices() -> None:
    """GAE of a flat batch of slices is that of each slice: their ends are truncations, and bootstrap."""
    critic = ValueOperator(nn.Linear(4, 1), in_keys=["observation"])
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(400), sampler=SliceSampler(slice_len=6, strict_length=False, span=True)
    )
    for batch in _collector(20 * ENVS, limit=40):
        buffer.extend(batch.reshape(-1))
    sample = buffer.sample(1200)
    GAE(gamma=GAMMA, lmbda=LMBDA, value_network=critic)(sample)
    stops = (sample["next", "truncated"].flatten().nonzero().flatten() + 1).tolist()
    assert len(stops) == 200
    assert sample["next", "terminated"].any()
    for start, stop in zip([0, *stops[:-1]], stops, strict=True):
        steps = sample[start:stop]
        torch.testing.assert_close(steps["advantage"], _advantage(steps, critic), rtol=1e-4, atol=1e-4)


def test_several_steps_of_collected_batches() -> None:
    """As the `postproc` of a collector, windows end with their episodes and with the batch, in every environment."""
    plain = list(_collector(10 * ENVS))
    for batch, whole in zip(plain, _collector(10 * ENVS, MultiStep(GAMMA, 2)), strict=True):
        done, reward = batch["next", "done"].squeeze(-1), batch["next", "reward"].squeeze(-1)
        for row in range(ENVS):
            for start in range(10):
                total, end = 0.0, start
                for end in range(start, min(start + 3, 10)):
                    total += GAMMA ** (end - start) * reward[row, end].item()
                    if done[row, end]:
                        break
                assert whole["next", "reward"][row, start].item() == pytest.approx(total)
                assert whole["steps_to_next_obs"][row, start].item() == end - start + 1
                assert torch.equal(whole["next", "observation"][row, start], batch["next", "observation"][row, end])
