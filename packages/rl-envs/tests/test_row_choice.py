"""Tests of `rl_envs._row_choice`, in the resets and rollouts that rely on it."""

import pytest
import torch
from tensordict import NonTensorData, NonTensorStack

from rl_envs import RewardSum, SerialEnv, StepCounter, TransformedEnv, check_env_specs
from rl_envs._ragged import Ragged
from rl_envs._row_choice import chosen_rows
from rl_envs.testing import GrowingEnv, TextCountingEnv
from rl_specs import ShapeError


def text(*rows: str) -> NonTensorStack:
    """An entry of one string per row."""
    return NonTensorStack(*[NonTensorData(row) for row in rows], stack_dim=0)


def test_rows_of_text() -> None:
    """Text is taken from one entry in the rows of the mask, and from the other elsewhere, in several dimensions too."""
    mask = torch.tensor([[[True], [False]], [[False], [True]]])
    inside = NonTensorStack(text("a", "b"), text("c", "d"))
    outside = NonTensorData("-", batch_size=[2, 2])
    assert chosen_rows("text", mask, inside, outside).tolist() == [["a", "-"], ["-", "d"]]
    assert chosen_rows("text", mask, outside, inside).tolist() == [["-", "b"], ["c", "-"]]


def test_text_of_rows_that_go_on() -> None:
    """A reset of some rows keeps the text of the others; finished rows of a rollout keep their last one."""
    env = TextCountingEnv((3,), max_steps=[2, 9, 9])
    rolled = env.rollout(4, break_when_any_done=False)
    assert rolled["text"] == [
        ["step 0", "step 1", "step 0", "step 1"],
        ["step 0", "step 1", "step 2", "step 3"],
        ["step 0", "step 1", "step 2", "step 3"],
    ]
    frozen = TextCountingEnv((2,), max_steps=[1, 3]).rollout(5, break_when_any_done=False, break_when_all_done=True)
    assert frozen["next", "text"] == [["step 1", "step 1", "step 1"], ["step 1", "step 2", "step 3"]]


def test_text_of_a_batch_of_environments() -> None:
    """Environments side by side each say their own text, also after resets of some of them."""
    env = SerialEnv(2, [lambda: TextCountingEnv(max_steps=2), lambda: TextCountingEnv(max_steps=9)])
    rolled = env.rollout(4, break_when_any_done=False)
    assert rolled["text"] == [["step 0", "step 1", "step 0", "step 1"], ["step 0", "step 1", "step 2", "step 3"]]
    check_env_specs(env)


def test_observations_of_any_size() -> None:
    """Steps of an environment whose spec leaves a size open differ in size; a rollout is a lazy stack of them."""
    env = GrowingEnv(max_steps=3)
    assert env.has_dynamic_specs
    check_env_specs(env)
    rolled = env.rollout(5, break_when_any_done=False)
    assert [step["points"].shape[0] for step in rolled.unbind(0)] == [1, 2, 3, 1, 2]
    assert [step["next", "points"].shape[0] for step in rolled.unbind(0)] == [2, 3, 4, 2, 3]
    assert env.rollout(5)["action"].shape == (3, 1)
    with pytest.raises(ShapeError, match=r'"points" has another shape from step to step.*return_contiguous=False'):
        env.rollout(3, return_contiguous=True)


def test_rows_of_any_size() -> None:
    """Rows of one size make a batch, which starts anew together; rows of different sizes are refused by name."""
    check_env_specs(GrowingEnv((2,), max_steps=2))
    check_env_specs(TransformedEnv(GrowingEnv((2,), max_steps=2), [StepCounter(), RewardSum()]))
    rolled = GrowingEnv((2,), max_steps=2).rollout(3, break_when_any_done=False)
    assert [step["points"].shape for step in rolled.unbind(1)] == [(2, 1, 2), (2, 2, 2), (2, 1, 2)]
    check_env_specs(SerialEnv(2, lambda: GrowingEnv(max_steps=2)))
    uneven = SerialEnv(2, [lambda: GrowingEnv(max_steps=1), lambda: GrowingEnv(max_steps=3)])
    with pytest.raises(ShapeError, match='"points" has rows of different sizes'):
        uneven.rollout(3, break_when_any_done=False)


def test_a_batch_is_not_widened_by_a_reset() -> None:
    """A row that starts anew at size 1 is not repeated to the size of the others."""
    env = GrowingEnv((2,), max_steps=9)
    stepped = env.rand_step(env.rand_step(env.reset())["next"].exclude("reward"))
    root = env.step_mdp(stepped).set("_reset", torch.tensor([[True], [False]]))
    with pytest.raises(ShapeError, match='"points" has rows of different sizes'):
        TransformedEnv(env, StepCounter()).reset(root.set("points", torch.zeros(2, 5, 2)))


def test_finished_rows_of_any_size() -> None:
    """With `break_when_all_done` steps of an environment of any size are its own until it is done."""
    rolled = GrowingEnv((2,), max_steps=3).rollout(9, break_when_any_done=False, break_when_all_done=True)
    assert [step["next", "points"].shape for step in rolled.unbind(1)] == [(2, 2, 2), (2, 3, 2), (2, 4, 2)]


def test_objects_of_rows_that_differ() -> None:
    """In an entry that not all environments have, text is chosen by row like tensors are, and can be copied."""
    old, new = (Ragged([NonTensorData(text), None, torch.zeros(1)]) for text in ("old", "new"))  # type: ignore[list-item]
    mask = torch.tensor([[True], [False], [False]])
    assert chosen_rows("text", mask, new, old)[0].data == "new"
    assert chosen_rows("text", ~mask, new, old)[0].data == "old"
    assert new.clone().cpu().detach()[0].data == "new"  # type: ignore[union-attr]
