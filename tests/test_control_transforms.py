"""Transforms of actions and of the loop of steps, with policies, collectors and buffers."""

from functools import partial
from typing import Any

import pytest
import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from rl_buffers import LazyTensorStorage, ReplayBuffer
from rl_collectors import Collector
from rl_envs import (
    ActionMask,
    ActionScaling,
    EnvBase,
    FrameSkipTransform,
    PendulumEnv,
    RewardSum,
    SerialEnv,
    StepCounter,
    TensorDictPrimer,
    TransformedEnv,
)
from rl_envs.testing import CountingEnv
from rl_modules import MaskedCategorical, ProbabilisticActor
from rl_specs import Binary, Categorical, Composite, TensorMap, Unbounded


class Turns(EnvBase):
    """At time `t` actions `t % 3` and 3 of four are allowed; an episode has five steps."""

    accepts_mapping = True

    def __init__(self) -> None:
        super().__init__()
        self.action_spec = Categorical(4)
        mask = Binary(4, dtype=torch.bool)
        self.observation_spec = Composite({"observation": Unbounded(shape=(1,)), "action_mask": mask})
        self.t = 0

    def _observe(self) -> dict[Any, Tensor]:
        mask = torch.zeros(4, dtype=torch.bool)
        mask[[self.t % 3, 3]] = True
        return {"observation": torch.tensor([float(self.t)]), "action_mask": mask}

    def _reset(self, data: TensorMap | None) -> TensorMap:
        self.t = 0
        return self._observe()

    def _step(self, data: TensorMap) -> TensorMap:
        self.t += 1
        return {**self._observe(), "reward": torch.ones(1), "terminated": torch.tensor([self.t == 5])}

    def _set_seed(self, seed: int) -> None:
        return None


def masked_env() -> EnvBase:
    """The game with its mask declared."""
    return TransformedEnv(Turns(), [ActionMask(), StepCounter()])


def masked_policy() -> ProbabilisticActor:
    """Draws from the allowed actions."""
    network = TensorDictModule(nn.Linear(1, 4), ["observation"], ["logits"])
    return ProbabilisticActor(
        network,
        in_keys={"logits": "logits", "mask": "action_mask"},
        out_keys=["action"],
        distribution_class=MaskedCategorical,
    )


@pytest.mark.parametrize("kind", ["policy", "random"])
def test_collected_actions_are_allowed(kind: str) -> None:
    """A masked policy and random steps alike take, in each row, actions that the mask in the data allows."""
    torch.manual_seed(0)
    env = SerialEnv(3, masked_env)
    collector = Collector(env, masked_policy() if kind == "policy" else None, frames_per_batch=60, total_frames=120)
    taken = []
    for batch in collector:
        assert batch["action_mask"].gather(-1, batch["action"].unsqueeze(-1)).all()
        taken.append(batch["action"])
    assert set(torch.cat(taken).flatten().tolist()) == {0, 1, 2, 3}
    collector.shutdown()


def test_frames_skipped_in_a_collector_are_those_of_a_rollout() -> None:
    """A collector gives, step by step, what a rollout of the same environment gives."""

    def make() -> EnvBase:
        base = SerialEnv(2, [partial(CountingEnv, max_steps=n) for n in (3, 4)])
        return TransformedEnv(base, [FrameSkipTransform(2), RewardSum()])

    def policy(data: TensorDictBase) -> TensorDictBase:
        return data.set("action", torch.full((2, 1), 0.25))

    collector = Collector(make(), policy, frames_per_batch=12, total_frames=12)
    batch = next(iter(collector))
    expected = make().rollout(6, policy, break_when_any_done=False)
    for key in ("observation", ("next", "reward"), ("next", "done"), ("next", "episode_reward")):
        assert torch.equal(batch[key], expected[key]), key
    collector.shutdown()


def test_a_hidden_state_of_a_primer_in_a_collector() -> None:
    """A policy that writes its next hidden state finds it in the next step, across batches, and zeros after a reset."""
    env = TransformedEnv(CountingEnv((2,), max_steps=[3, 5]), TensorDictPrimer(hidden=Unbounded(shape=(1,))))

    def act(hidden: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(hidden), hidden + 1

    policy = TensorDictModule(act, ["hidden"], ["action", ("next", "hidden")])
    collector = Collector(env, policy, frames_per_batch=8, total_frames=16)
    hidden = torch.cat([batch["hidden"] for batch in collector], 1).squeeze(-1)
    assert hidden.tolist() == [[0, 1, 2, 0, 1, 2, 0, 1], [0, 1, 2, 3, 4, 0, 1, 2]]
    collector.shutdown()


def test_scaled_actions_through_a_buffer() -> None:
    """Actions stored in the bounds of the environment come out of a buffer in those of the policy."""
    env = TransformedEnv(PendulumEnv((2,)), ActionScaling())
    scaling = env.transform[0].clone()
    plain = ReplayBuffer(storage=LazyTensorStorage(10), batch_size=10)
    plain.extend(PendulumEnv((2,)).rollout(5).reshape(-1))
    scaled = ReplayBuffer(storage=plain.storage, batch_size=10, transform=scaling)
    stored, given = plain[torch.arange(10)]["action"], scaled[torch.arange(10)]["action"]
    assert torch.allclose(given * 2, stored)
    assert given.abs().max() <= 1
