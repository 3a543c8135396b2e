"""Flags around transforms that wrap the step."""

import torch

from rl_envs import (
    ConditionalSkip,
    EnvBase,
    ExcludeTransform,
    FrameSkipTransform,
    NoopResetEnv,
    SerialEnv,
    TransformedEnv,
    VecNorm,
)
from rl_envs.testing import CountingEnv
from rl_envs.transforms._row_masks import end_keys
from rl_specs import FlatDict, TensorMap, Unbounded


class Truncating(EnvBase):
    """An episode is truncated at its second step."""

    accepts_mapping = True

    def __init__(self) -> None:
        super().__init__()
        self.observation_spec = Unbounded(shape=(1,))
        self.action_spec = Unbounded(shape=(1,))
        self.count = 0

    def _reset(self, data: TensorMap | None) -> FlatDict:
        self.count = 0
        return {"observation": torch.zeros(1)}

    def _step(self, data: TensorMap) -> FlatDict:
        self.count += 1
        return {
            "observation": torch.ones(1),
            "reward": torch.ones(1),
            "terminated": torch.tensor([False]),
            "truncated": torch.tensor([self.count == 2]),
        }

    def _set_seed(self, seed: int) -> None:
        self.count = 0


def test_flags_taken_out_before_are_not_made_up() -> None:
    """A truncation whose flag is taken out before the wrapping transform does not come back as a termination."""
    env = TransformedEnv(Truncating(), [ExcludeTransform("terminated", "truncated"), FrameSkipTransform(1)])
    steps = env.rollout(3)
    assert steps["next", "done"].flatten().tolist() == [False, True]
    assert set(steps["next"].keys()) == {"observation", "reward", "done"}


def test_flags_at_the_root_speak_for_those_below() -> None:
    """Flags of agents below a root flag do not end an episode; without one above them they do."""
    assert end_keys(["done", "terminated", ("agents", "done")]) == ["done"]
    assert end_keys([("agents", "done"), ("agents", "terminated")]) == [("agents", "done")]


def test_statistics_are_of_rows_that_were_stepped() -> None:
    """Under a transform that steps some rows alone, `VecNorm` takes in no others."""
    norm = VecNorm(in_keys=["observation"], decay=1.0)
    ends = [lambda: CountingEnv(max_steps=1), lambda: CountingEnv(max_steps=9)]
    env = TransformedEnv(SerialEnv(2, ends), [norm, FrameSkipTransform(4)])
    env.step(env.reset().set("action", torch.zeros(2, 1)))
    assert norm.count == 2 + 1 + 4
    assert torch.allclose(norm.loc, torch.tensor([(0 + 0 + 1 + 1 + 2 + 3 + 4) / 7], dtype=torch.float64))


def test_rows_that_stand_still_outside_stand_still_inside() -> None:
    """A row that an outer transform skips is not stepped by an inner one that repeats steps."""
    envs = [CountingEnv(max_steps=2), CountingEnv(max_steps=9)]
    vector = SerialEnv(2, [lambda: envs[0], lambda: envs[1]])
    skip = ConditionalSkip(lambda td: torch.tensor([[False], [True]]))
    env = TransformedEnv(vector, [FrameSkipTransform(4), skip])
    env.step(env.reset().set("action", torch.zeros(2, 1)))
    assert envs[0].get_state()["count"].item() == 2
    assert envs[1].get_state()["count"].item() == 0


def test_noops_leave_no_nested_action_or_reward() -> None:
    """A reset with random steps returns what a reset returns, nested keys too."""
    env = TransformedEnv(CountingEnv(prefix=("agents",)), NoopResetEnv(2, random=False))
    keys = set(env.reset()["agents"].keys())
    assert not keys & {"action", "reward"}
