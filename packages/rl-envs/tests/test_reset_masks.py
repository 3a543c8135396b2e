"""Tests of `rl_envs._reset_masks`, through `EnvBase.reset`."""

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs import RewardSum, TransformedEnv
from rl_envs.testing import CountingEnv, MultiKeyCountingEnv, NestedCountingEnv
from rl_specs import DTypeError, ShapeError

MASK = ("agents", "_reset")


def after_steps(env: NestedCountingEnv, count: int) -> TensorDictBase:
    """The root after some steps without a reset."""
    root: TensorDictBase = env.reset()
    for _ in range(count):
        root = env.step_mdp(env.rand_step(root))
    return root


def counts(data: TensorDictBase) -> list[list[float]]:
    """The counts of the agents, `[B, n]`."""
    found: list[list[float]] = data["agents", "observation"].squeeze(-1).tolist()
    return found


def test_names_of_the_masks() -> None:
    """There is one mask per group of flags, the outermost first."""
    assert CountingEnv().reset_keys == ["_reset"]
    assert NestedCountingEnv().reset_keys == [MASK]
    assert MultiKeyCountingEnv().reset_keys == ["_reset", ("right", "_reset")]


@pytest.mark.parametrize("has_last_dimension", [True, False])
def test_some_agents_start_anew(has_last_dimension: bool) -> None:
    """A mask of a group resets its members, in the data and in the environment; the others go on."""
    env = NestedCountingEnv((2,), max_steps=9)
    root = after_steps(env, 3)
    mask = torch.tensor([[True, False], [False, False]])
    reset = env.reset(root.clone().set(MASK, mask.unsqueeze(-1) if has_last_dimension else mask))
    assert counts(reset) == [[0, 3], [3, 3]]
    assert MASK not in reset.keys(True)
    assert "_reset" not in reset
    assert counts(env.rand_step(reset)["next"]) == [[1, 4], [4, 4]]


def test_flags_of_the_other_agents_stay() -> None:
    """The flag of an agent that is not reset stays set, that of one that is reset is cleared."""
    env = NestedCountingEnv((1,), max_steps=2)
    root = after_steps(env, 3)
    assert root["agents", "done"].flatten().tolist() == [True, True]
    reset = env.reset(root.set(MASK, torch.tensor([[True, False]])))
    assert reset["agents", "done"].flatten().tolist() == [False, True]
    assert reset["agents", "terminated"].flatten().tolist() == [False, True]


def test_a_mask_at_the_root_decides() -> None:
    """With masks at both levels, whole rows of the mask at the root start, whatever that of the group says."""
    env = NestedCountingEnv((2,), max_steps=9)
    root = after_steps(env, 2)
    root.set("_reset", torch.tensor([False, True])).set(MASK, torch.ones(2, 2, dtype=torch.bool))
    assert counts(env.reset(root)) == [[2, 2], [0, 0]]


def test_single_row() -> None:
    """Without batch dimensions a mask of a group works as well."""
    env = NestedCountingEnv(max_steps=9)
    reset = env.reset(after_steps(env, 2).set(MASK, torch.tensor([False, True])))
    assert reset["agents", "observation"].flatten().tolist() == [2, 0]


def test_transforms_see_the_mask() -> None:
    """A `RewardSum` with the mask of the agents clears the sums of those that start anew."""
    env = TransformedEnv(NestedCountingEnv((1,), max_steps=9), RewardSum([("agents", "reward")], reset_keys=[MASK]))
    root: TensorDictBase = env.reset()
    root.set(("agents", "action"), torch.zeros(1, 2, 1))
    root = env.step_mdp(env.step(root))
    assert root["agents", "episode_reward"].flatten().tolist() == [1, 1]
    reset = env.reset(root.set(MASK, torch.tensor([[False, True]])))
    assert reset["agents", "episode_reward"].flatten().tolist() == [1, 0]


def test_wrong_masks() -> None:
    """A mask of an unknown group, of another shape or dtype is an error that says what would fit."""
    env = NestedCountingEnv((2,))
    root = env.reset()
    with pytest.raises(KeyError, match=r'group without flags.*\("agents", "_reset"\)'):
        env.reset(root.clone().set(("others", "_reset"), torch.ones(2, 2, dtype=torch.bool)))
    with pytest.raises(ShapeError, match=r"\(2, 2, 1\).*one flag per member"):
        env.reset(root.clone().set(MASK, torch.ones(2, 3, dtype=torch.bool)))
    with pytest.raises(DTypeError, match=r"mask\.bool\(\)"):
        env.reset(root.clone().set(MASK, torch.ones(2, 2)))


def test_maybe_reset() -> None:
    """`maybe_reset` resets the rows that are done, and returns its input where none is."""
    env = CountingEnv((2,), max_steps=[1, 5])
    root = env.step_mdp(env.rand_step(env.reset()))
    assert env.any_done(root)
    after = env.maybe_reset(root)
    assert after["observation"].flatten().tolist() == [0, 1]
    assert not env.any_done(after)
    assert env.maybe_reset(after) is after


def test_data_without_a_mask_reach_the_environment() -> None:
    """Root entries given to a reset are what `_reset` is given, and stay in the root."""
    env = CountingEnv((2,))
    after = env.reset(TensorDict({"parameter": torch.arange(2)}, batch_size=[2]))
    assert after["parameter"].tolist() == [0, 1]
    assert after["observation"].flatten().tolist() == [0, 0]


def test_environments_that_start_whole_rows() -> None:
    """Where `_reset` knows rows alone, a mask of a group that names whole rows is theirs; any other is an error."""
    env = MultiKeyCountingEnv((2,), max_steps=9)
    root = env.step_mdp(env.rand_step(env.reset()))
    mask = torch.tensor([[True, True], [False, False]])
    after = env.reset(root.clone().set(("right", "_reset"), mask))
    assert after["count"].flatten().tolist() == [0, 1]
    assert after["right", "count"].flatten().tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match=r'mask \("right", "_reset"\).*resets_members = True'):
        env.reset(root.clone().set(("right", "_reset"), mask.T))
