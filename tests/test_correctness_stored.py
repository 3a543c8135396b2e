"""From the collector through a replay buffer to the target: what is stored of a step is what followed it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import nn

from rl_buffers import LazyTensorStorage, ReplayBuffer, TensorDictReplayBuffer
from rl_collectors import Collector
from rl_envs import (
    BurnInTransform,
    ExcludeTransform,
    GymEnv,
    MultiStepTransform,
    NextStateReconstructor,
    RandomCropTensorDict,
    Reward2GoTransform,
    StepCounter,
    TransformedEnv,
)
from rl_modules import ValueOperator
from rl_objectives import TD0Estimator

GAMMA = 0.9


def _batches(count: int, frames: int, limit: int = 12) -> list[TensorDictBase]:
    """Consecutive batches `[T]` of one cart pole, whose episodes are terminated or truncated after `limit` steps."""
    env = TransformedEnv(GymEnv("CartPole-v1"), StepCounter(max_steps=limit))
    env.set_seed(1)
    torch.manual_seed(1)
    collector = Collector(env, None, frames_per_batch=frames)
    found = [collector.rollout().reshape(-1) for _ in range(count)]
    collector.shutdown()
    return found


def _targets(steps: TensorDictBase, critic: Any, n_steps: int) -> dict[int, float]:
    """n-step target of each step whose window is complete, by a loop, by the number of the step."""
    found = {}
    with torch.no_grad():
        values = critic(steps["next"].select("observation").clone())["state_value"]
    for start in range(len(steps) - n_steps + 1):
        target, end = 0.0, start
        for offset in range(n_steps):
            end = start + offset
            target += GAMMA**offset * steps["next", "reward"][end].item()
            if steps["next", "done"][end]:
                break
        if not steps["next", "terminated"][end]:
            target += GAMMA ** (end - start + 1) * values[end].item()
        found[start] = target
    return found


@pytest.mark.parametrize("n_steps", [1, 3, 5])
@pytest.mark.parametrize("frames", [1, 7, 40])
def test_n_step_targets_on_a_full_ring(n_steps: int, frames: int) -> None:
    """However steps arrive, and after the ring has gone round several times, every sample has its n-step target."""
    batches = _batches(280 // frames, frames)
    for batch in batches:
        batch["number"] = torch.zeros(len(batch), dtype=torch.int64)
    steps = TensorDict.cat(batches)
    steps["number"] = torch.arange(len(steps))
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(64), transform=MultiStepTransform(n_steps, GAMMA))
    written = [row for part in steps.split(frames) for row in buffer.extend(part).tolist()]
    assert written == [row % 64 for row in range(len(steps) - n_steps + 1)]
    critic = ValueOperator(nn.Linear(4, 1), in_keys=["observation"])
    sample = buffer.sample(200)
    TD0Estimator(gamma=GAMMA, value_network=critic)(sample)
    expected = _targets(steps, critic, n_steps)
    assert sample["number"].min() >= len(steps) - n_steps + 1 - 64
    for number, target in zip(sample["number"].tolist(), sample["value_target"].flatten().tolist(), strict=True):
        assert target == pytest.approx(expected[number], rel=1e-4), number
    assert steps["next", "truncated"].any()
    assert steps["next", "terminated"].any()


def test_one_step_at_a_time() -> None:
    """`add` keeps a step back until its window is complete, and then stores what `extend` would."""
    steps = _batches(1, 30)[0]
    one, all_at_once = (
        ReplayBuffer(storage=LazyTensorStorage(50), transform=MultiStepTransform(3, GAMMA)) for _ in range(2)
    )
    assert [one.add(step) for step in steps] == [None, None, *range(28)]
    assert all_at_once.extend(steps).tolist() == list(range(28))
    assert (one[:] == all_at_once[:]).all()


def test_waiting_steps_survive_a_restart(tmp_path: Path) -> None:
    """A buffer saved in the middle of windows goes on, in another object, as the first one does."""
    first, second = _batches(2, 20)
    buffer, other = (
        ReplayBuffer(storage=LazyTensorStorage(64), transform=MultiStepTransform(4, GAMMA)) for _ in range(2)
    )
    buffer.extend(first)
    buffer.dumps(tmp_path)
    other.loads(tmp_path)
    for each in (buffer, other):
        assert len(each.extend(second)) == 20
    assert (buffer[:] == other[:]).all()


def test_reward_to_go_of_whole_episodes() -> None:
    """Rows of whole episodes are stored with the sums of their rewards; what is sampled is what was stored."""
    done = torch.zeros(4, 5, 1, dtype=torch.bool)
    done[:, -1] = True
    done[1, 2] = True
    data = TensorDict({"next": {"done": done, "reward": torch.ones(4, 5, 1)}}, [4, 5])
    buffer = ReplayBuffer(
        storage=LazyTensorStorage(100), transform=Reward2GoTransform(gamma=0.5, out_keys=["reward_to_go"])
    )
    buffer.extend(data)
    assert buffer[0]["reward_to_go"].flatten().tolist() == [1.9375, 1.875, 1.75, 1.5, 1.0]
    assert buffer[1]["reward_to_go"].flatten().tolist() == [1.75, 1.5, 1.0, 1.5, 1.0]
    assert (buffer.sample(1)["next", "reward"] == 1).all()
    assert "reward_to_go" not in data


def test_states_burnt_in_when_sampled() -> None:
    """Sampled sequences are cut to a length and lose their first steps, with the state that these lead to."""
    module = TensorDictModule(lambda x: x.cumsum(-2), in_keys=["observation"], out_keys=[("next", "hidden")])
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(10), transform=RandomCropTensorDict(6))
    buffer.append_transform(BurnInTransform([module], 2))
    buffer.extend(TensorDict({"observation": torch.ones(3, 8, 1)}, [3, 8]))
    batch = buffer.sample(5)
    assert batch.shape == (5, 4)
    assert batch["hidden"][..., 0].tolist() == [[2.0, 0.0, 0.0, 0.0]] * 5


def test_observations_are_stored_once() -> None:
    """Sequences stored without next observations get them back when they are sampled, but at their ends."""
    steps = TensorDict.stack(_batches(6, 10))
    buffer = ReplayBuffer(storage=LazyTensorStorage(6))
    buffer.append_transform(ExcludeTransform(("next", "observation"), inverse=True))
    buffer.append_transform(NextStateReconstructor())
    buffer.extend(steps)
    assert ("next", "observation") not in buffer[0].keys(True)
    batch = buffer[:]
    inside = ~steps["next", "done"].squeeze(-1)
    inside[:, -1] = False
    assert torch.equal(batch["next", "observation"][inside], steps["next", "observation"][inside])
    assert batch["next", "observation"][~inside].isnan().all()
