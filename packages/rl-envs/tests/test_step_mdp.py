"""Tests of `rl_envs._step_mdp`."""

import pytest
import torch
from tensordict import TensorDict

from rl_envs import step_mdp
from rl_envs.testing import MultiKeyCountingEnv
from rl_specs import MissingKeyError


def make_step() -> TensorDict:
    """A step with every kind of entry."""
    flag = torch.zeros(2, 1, dtype=torch.bool)
    following = {"observation": torch.ones(2, 3), "reward": torch.ones(2, 1), "done": ~flag, "terminated": ~flag}
    root = {
        "observation": torch.zeros(2, 3),
        "action": torch.zeros(2, 1),
        "hidden": torch.full((2, 4), 7.0),
        "done": flag,
    }
    return TensorDict({**root, "next": {**following, "truncated": flag}}, batch_size=[2])


def test_moves_next_up() -> None:
    """Observations and flags of "next" become the root; reward and action stay behind; other entries come along."""
    moved = step_mdp(make_step())
    assert sorted(moved.keys()) == ["done", "hidden", "observation", "terminated", "truncated"]
    assert moved["observation"].eq(1).all()
    assert moved["done"].all()
    assert moved["hidden"].eq(7).all()


def test_input_is_not_changed() -> None:
    """The step given stays as it was."""
    step = make_step()
    before = step.clone()
    step_mdp(step)
    assert set(before.keys(True, True)) == set(step.keys(True, True))
    assert (before == step).all()


def test_options() -> None:
    """Each option keeps or leaves out its entries."""
    assert "hidden" not in step_mdp(make_step(), keep_other=False)
    assert "reward" in step_mdp(make_step(), exclude_reward=False)
    assert "done" not in step_mdp(make_step(), exclude_done=True)
    assert "action" in step_mdp(make_step(), exclude_action=False)
    target = TensorDict({"mine": torch.zeros(2)}, batch_size=[2])
    assert step_mdp(make_step(), target) is target
    assert set(target.keys()) >= {"mine", "observation"}


def test_nested_entries() -> None:
    """Nested rewards and actions are named by `reward_keys` and `action_keys`."""
    nested = TensorDict({"agents": {"observation": torch.ones(3), "reward": torch.ones(3)}})
    step = TensorDict({"agents": {"observation": torch.zeros(3), "action": torch.zeros(3)}, "next": nested})
    moved = step_mdp(step, reward_keys=[("agents", "reward")], action_keys=[("agents", "action")])
    assert list(moved["agents"].keys()) == ["observation"]
    assert moved["agents", "observation"].eq(1).all()


def test_without_next() -> None:
    """A root that has not been stepped is an error."""
    with pytest.raises(MissingKeyError, match=r"Call env\.step first"):
        step_mdp(TensorDict({"observation": torch.zeros(1)}))


def test_several_nested_keys() -> None:
    """`env.step_mdp` knows the env's own names: rewards and actions at every level stay behind, flags move up."""
    env = MultiKeyCountingEnv((2,), max_steps=1)
    stepped = env.rand_step(env.reset())
    moved = env.step_mdp(stepped)
    assert set(moved.keys(True, True)) == {
        *("count", "done", "terminated", "truncated"),
        *(("right", name) for name in ("count", "done", "terminated", "truncated")),
    }
    assert moved["right", "done"].flatten().tolist() == [True, False, True, False]
    named = {"reward_keys": env.reward_keys, "action_keys": env.action_keys, "done_keys": env.done_keys}
    bare = step_mdp(stepped, exclude_done=True, **named)  # type: ignore[arg-type]  # the lists of the env
    assert set(bare.keys(True, True)) == {"count", ("right", "count")}
    full = step_mdp(stepped, exclude_reward=False, exclude_action=False, **named)  # type: ignore[arg-type]  # as above
    assert torch.equal(full["left", "reward"], stepped["next", "left", "reward"])
    assert torch.equal(full["right", "action"], stepped["right", "action"])


def test_groups_of_the_step_are_not_shared() -> None:
    """A nested group of the next root can be written to without a change of the step."""
    step = TensorDict({"observation": torch.zeros(1), "next": {"info": {"a": torch.zeros(1)}}})
    root = step_mdp(step)
    root["info", "b"] = torch.ones(1)
    assert ("next", "info", "b") not in step.keys(True)
