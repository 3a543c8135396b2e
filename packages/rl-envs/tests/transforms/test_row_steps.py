"""Steps that some rows take."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rl_envs import EnvBase, FrameSkipTransform, SerialEnv, StepCounter, TransformedEnv
from rl_envs.testing import CountingEnv
from rl_envs.transforms._row_steps import RowSteps
from rl_specs import FlatDict, TensorMap, Unbounded

MASK = torch.tensor([[True], [False], [True]])


def make(kind: str) -> TransformedEnv:
    """Three rows that end after 1, 2 and 3 steps."""
    base: EnvBase = CountingEnv((3,), max_steps=[1, 2, 3])
    if kind == "rows":
        base = SerialEnv(3, [lambda n=n: CountingEnv(max_steps=n) for n in (1, 2, 3)])
    return TransformedEnv(base, StepCounter())


def _root(env: TransformedEnv) -> FlatDict:
    return {**env._plan().reset(), "action": torch.zeros(3, 1)}


@pytest.mark.parametrize("kind", ["rows", "whole"])
def test_running_rows_go_on_and_others_keep_their_entries(kind: str) -> None:
    """Rows that are done keep observation, flags and count, with rewards of zero or, where asked, their own."""
    env = make(kind)
    steps, data = RowSteps("Name", env), _root(env)
    first = steps.step(data)
    second = steps.step_running(steps.root_after(data, first), first)
    assert second is not None
    assert second["observation"].tolist() == [[1.0], [2.0], [2.0]]
    assert second["reward"].tolist() == [[0.0], [2.0], [2.0]]
    assert second["step_count"].tolist() == [[1], [2], [2]]
    assert second["done"].tolist() == [[True], [True], [False]]
    third = steps.step_running(steps.root_after(data, second), second, keep_rewards=True)
    assert third is not None
    assert third["reward"].tolist() == [[0.0], [2.0], [3.0]]
    assert third["observation"].tolist() == [[1.0], [2.0], [3.0]]
    assert steps.step_running(steps.root_after(data, third), third) is None


class Strict(EnvBase):
    """Three rows that end after 1, 2 and 3 steps, and cannot be stepped after that."""

    accepts_mapping = True

    def __init__(self) -> None:
        super().__init__(batch_size=(3,))
        self.observation_spec = Unbounded(shape=(3, 1))
        self.action_spec = Unbounded(shape=(3, 1))
        self.t = torch.zeros(3, 1)
        self.limit = torch.tensor([[1.0], [2.0], [3.0]])

    def _reset(self, data: TensorMap | None) -> TensorMap:
        mask = None if data is None else data.get("_reset", None)
        self.t = torch.zeros_like(self.t) if mask is None else torch.where(mask, 0.0, self.t)
        return {"observation": self.t}

    def _step(self, data: TensorMap) -> TensorMap:
        if (self.t >= self.limit).any():
            raise RuntimeError("stepped after the end of an episode")
        self.t = self.t + 1
        return {"observation": self.t, "reward": self.t, "terminated": self.t >= self.limit}

    def _set_seed(self, seed: int) -> None:
        return None


def test_no_row_is_stepped_after_its_end() -> None:
    """An environment that steps all of its rows has those reset that are done, and they keep their entries."""
    env = TransformedEnv(Strict(), FrameSkipTransform(3))
    data = env.rollout(2, break_when_any_done=False)
    assert data["next", "observation"].squeeze(-1).tolist() == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    assert data["next", "reward"].squeeze(-1).tolist() == [[1.0, 1.0], [3.0, 3.0], [6.0, 6.0]]


def test_rows_that_stay(toy: Any) -> None:
    """A row outside the mask stands where the root has it; an environment that steps all rows says what to do."""
    env = make("rows")
    steps, data = RowSteps("Name", env), _root(env)
    found = steps.step_some(data, MASK, steps.standing(data))
    assert found["observation"].tolist() == [[1.0], [0.0], [1.0]]
    assert found["reward"].tolist() == [[1.0], [0.0], [1.0]]
    assert found["step_count"].tolist() == [[1], [0], [1]]
    again = steps.step_some(steps.root_after(data, found), ~MASK, steps.standing(steps.root_after(data, found)))
    assert again["observation"].tolist() == [[1.0], [1.0], [1.0]]
    held = steps.standing(data)
    assert steps.step_some(data, torch.zeros_like(MASK), held) is held
    whole = make("whole")
    steps = RowSteps("Name", whole)
    data = _root(whole)
    with pytest.raises(RuntimeError, match=r"Name: some rows .* SerialEnv"):
        steps.step_some(data, MASK, steps.standing(data))
    past = steps.step_some(data, MASK, steps.standing(data), ended=~MASK)
    assert past["observation"].tolist() == [[1.0], [0.0], [1.0]]


def test_done_rows_of_nested_flags() -> None:
    """A row is done where any flag of its level or of one below says so."""
    env = TransformedEnv(CountingEnv((2,), prefix=("agents",)))
    flags: dict[Any, Tensor] = {"done": torch.tensor([[True], [False]])}
    assert RowSteps("Name", env).done_rows(flags).tolist() == [[True], [False]]
