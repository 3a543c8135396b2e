"""Next observations from the steps that follow."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs import NextStateReconstructor, TransformedEnv
from rl_specs import DTypeError, MissingKeyError, SpecError

MakeEnv = Callable[..., Any]


def _batch(ids: list[int], *, done: tuple[int, ...] = ()) -> TensorDict:
    count = len(ids)
    flags = torch.zeros(count, 1, dtype=torch.bool)
    flags[list(done)] = True
    numbers = torch.arange(count, dtype=torch.float32).unsqueeze(-1)
    return TensorDict(
        {"observation": numbers, "collector": {"traj_ids": torch.tensor(ids)}, "next": {"done": flags}}, [count]
    )


def _next(data: TensorDictBase, *key: str) -> list[float | None]:
    values = data["next"][key or "observation"].flatten().tolist()
    return [None if math.isnan(value) else value for value in values]


def test_within_a_trajectory() -> None:
    """Each step gets the observation of the next one; the last, and one beside another trajectory, get NaN."""
    data = _batch([0, 0, 1, 1, 2])
    assert NextStateReconstructor()(data) is data
    assert _next(data) == [1.0, None, 3.0, None, None]


def test_the_end_of_an_episode() -> None:
    """A step with which an episode ends has no successor, even in two slices of one trajectory side by side."""
    assert _next(NextStateReconstructor()(_batch([0, 0, 0], done=(1,)))) == [1.0, None, None]
    assert _next(NextStateReconstructor(done_key=None)(_batch([0, 0, 0], done=(1,)))) == [1.0, 2.0, None]


def test_step_counts() -> None:
    """With counts, a step that is not the very next one is no successor."""
    data = _batch([0, 0, 0, 0])
    data["step_count"] = torch.tensor([3, 4, 3, 4]).unsqueeze(-1)
    assert _next(NextStateReconstructor(step_count_key="step_count")(data)) == [1.0, None, 3.0, None]
    with pytest.raises(MissingKeyError, match="StepCounter"):
        NextStateReconstructor(step_count_key="count")(data)


def test_rows_of_several_environments() -> None:
    """In a batch `[B, T]` successors are looked for along each row."""
    data = TensorDict.stack([_batch([0, 0, 0]), _batch([5, 6, 6])])
    assert _next(NextStateReconstructor()(data)) == [1.0, 2.0, None, None, 2.0, None]


def test_nested_keys_and_other_values() -> None:
    """Several entries, nested ones and integers too, with a value of one's own."""
    data = _batch([0, 0])
    data["agents", "pos"] = torch.tensor([[[1, 2]], [[3, 4]]])
    NextStateReconstructor(["observation", ("agents", "pos")], fill_value=-1.0)(data)
    assert data["next", "agents", "pos"].tolist() == [[[3, 4]], [[-1, -1]]]
    assert data["next", "agents", "pos"].dtype is torch.int64
    assert _next(data) == [1.0, -1.0]
    with pytest.raises(DTypeError, match=r"int64, which cannot be nan.*fill_value"):
        NextStateReconstructor([("agents", "pos")])(data)


def test_trajectory_ids_can_be_left_out() -> None:
    """Without ids the whole row is one trajectory, where that was asked for; otherwise it is an error."""
    data = _batch([0, 1, 2]).exclude("collector")
    with pytest.raises(MissingKeyError, match=r"traj_ids.*strict=False"):
        NextStateReconstructor()(data)
    for transform in (NextStateReconstructor(strict=False), NextStateReconstructor(traj_key=None)):
        assert _next(transform(data.copy())) == [1.0, 2.0, None]
    assert _next(NextStateReconstructor(traj_key=None)(_batch([0, 1, 2]))) == [1.0, 2.0, None]


def test_what_was_stored_comes_back(toy: MakeEnv) -> None:
    """Observations left out of a rollout come back bit for bit, but for those at the end of an episode."""
    steps = toy((2,)).rollout(8, break_when_any_done=False)
    compact = steps.exclude(("next", "observation"))
    NextStateReconstructor(strict=False)(compact)
    inside = ~steps["next", "done"].squeeze(-1)
    inside[:, -1] = False
    assert torch.equal(compact["next", "observation"][inside], steps["next", "observation"][inside])
    assert compact["next", "observation"][~inside].isnan().all()
    assert inside.sum() > 8


def test_wrong_use(toy: MakeEnv) -> None:
    """A missing entry and use in an environment are errors."""
    with pytest.raises(MissingKeyError, match="keys="):
        NextStateReconstructor(["pixels"])(_batch([0]))
    with pytest.raises(SpecError, match="works on stored steps"):
        TransformedEnv(toy(), NextStateReconstructor())


def test_it_has_no_state() -> None:
    """A new one that loads the (empty) state gives the same."""
    transform, other = NextStateReconstructor(), NextStateReconstructor()
    expected = transform(_batch([0, 0, 1, 1, 2]))
    assert transform.state_dict() == {}
    other.load_state_dict(transform.state_dict())
    assert _next(other(_batch([0, 0, 1, 1, 2]))) == _next(expected)
