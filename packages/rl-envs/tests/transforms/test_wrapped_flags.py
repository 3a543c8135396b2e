"""Flags around transforms that wrap the step."""

import torch
from tensordict import TensorDict

from rl_envs import EnvBase, ExcludeTransform, FrameSkipTransform, SerialEnv, TransformedEnv
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


def test_a_recurrent_policy_twice() -> None:
    """A policy that writes its next state itself can be run in a vector again and again."""

    def policy(data: TensorDict) -> TensorDict:
        data["action"] = torch.zeros(2, 1)
        data["next", "hidden"] = torch.ones(2, 1)
        return data

    env = SerialEnv(2, CountingEnv)
    for _ in range(2):
        assert env.rollout(3, policy)["next", "hidden"].shape == (2, 3, 1)
