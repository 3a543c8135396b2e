"""Steps stored with the reward and the next observation of several steps."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from rl_envs import Compose, MultiStepTransform, TransformedEnv
from rl_specs import MissingKeyError, ShapeError, SpecError

MakeEnv = Callable[..., Any]


def _steps(
    rewards: list[float], *, terminated: tuple[int, ...] = (), truncated: tuple[int, ...] = (), first: int = 0
) -> TensorDict:
    """Steps `[T]` whose observation is the number of the step, and whose next observation is one more."""
    count = len(rewards)
    numbers = torch.arange(first, first + count, dtype=torch.float32).unsqueeze(-1)
    ends = [torch.zeros(count, 1, dtype=torch.bool) for _ in range(2)]
    for flag, places in zip(ends, (terminated, truncated), strict=True):
        flag[list(places)] = True
    following = {
        "observation": numbers + 1,
        "reward": torch.tensor(rewards).unsqueeze(-1),
        "terminated": ends[0],
        "truncated": ends[1],
        "done": ends[0] | ends[1],
    }
    return TensorDict({"observation": numbers, "action": numbers * 10, "next": following}, [count])


def _column(data: TensorDictBase, *key: str) -> list[Any]:
    value: Tensor = data[key]
    values: list[Any] = value.flatten().tolist()
    return values


def _reference(data: TensorDictBase, n_steps: int, gamma: float) -> list[dict[str, Any]]:
    """The n-step form of steps `[T]`, by a loop; steps whose window is not complete are left out."""
    rows = [data[step] for step in range(len(data))]
    found: list[dict[str, Any]] = []
    for start in range(len(rows)):
        reward, end = 0.0, start
        for offset in range(n_steps):
            end = start + offset
            if end == len(rows):
                return found
            reward += gamma**offset * rows[end]["next", "reward"].item()
            if rows[end]["next", "done"].item():
                break
        length = end - start + 1
        if length < n_steps and start + n_steps > len(rows):
            return found  # complete, but its turn comes with the steps that follow
        found.append(
            {
                "observation": rows[start]["observation"].item(),
                "reward": reward,
                "next": rows[end]["next", "observation"].item(),
                "terminated": rows[end]["next", "terminated"].item(),
                "steps": length,
                "gamma": gamma**length,
            }
        )
    return found


def _as_rows(data: TensorDictBase) -> list[dict[str, Any]]:
    columns = {
        "observation": _column(data, "observation"),
        "reward": _column(data, "next", "reward"),
        "next": _column(data, "next", "observation"),
        "terminated": _column(data, "next", "terminated"),
        "steps": _column(data, "steps_to_next_obs"),
        "gamma": _column(data, "gamma"),
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_by_hand() -> None:
    """Rewards 1, 2, 4, 8, 16 in windows of 3 with a discount of 1/2; two steps wait."""
    data = _steps([1.0, 2.0, 4.0, 8.0, 16.0])
    before = data.clone()
    stored = MultiStepTransform(3, 0.5).inv(data)
    assert _column(stored, "next", "reward") == [3.0, 6.0, 12.0]
    assert _column(stored, "next", "reward_orig") == [1.0, 2.0, 4.0]
    assert _column(stored, "next", "observation") == [3.0, 4.0, 5.0]
    assert _column(stored, "observation") == [0.0, 1.0, 2.0]
    assert _column(stored, "action") == [0.0, 10.0, 20.0]
    assert _column(stored, "steps_to_next_obs") == [3, 3, 3]
    assert _column(stored, "gamma") == [0.125] * 3
    assert stored["steps_to_next_obs"].dtype is torch.int64
    assert stored["gamma"].shape == stored["next", "reward"].shape == (3, 1)
    assert (data == before).all()
    assert set(data.keys(True, True)) == set(before.keys(True, True))


def test_termination_and_truncation() -> None:
    """Either ends a window; the flags are those of its last step, so that a truncated one is bootstrapped from."""
    data = _steps([1.0] * 7, terminated=(1,), truncated=(4,))
    stored = MultiStepTransform(3, 0.5).inv(data)
    assert _column(stored, "next", "reward") == [1.5, 1.0, 1.75, 1.5, 1.0]
    assert _column(stored, "next", "observation") == [2.0, 2.0, 5.0, 5.0, 5.0]
    assert _column(stored, "next", "terminated") == [True, True, False, False, False]
    assert _column(stored, "next", "truncated") == [False, False, True, True, True]
    assert _column(stored, "next", "done") == [True] * 5
    assert _column(stored, "gamma") == [0.25, 0.5, 0.125, 0.25, 0.5]


def test_any_flag_ends_a_window() -> None:
    """A truncation that `done` does not repeat ends a window too, unless the flags to look at are named."""
    data = _steps([1.0, 1.0, 1.0])
    data["next", "truncated"][0] = True
    assert _column(MultiStepTransform(2, 1.0).inv(data), "next", "reward") == [1.0, 2.0]
    assert _column(MultiStepTransform(2, 1.0, done_keys=["done"]).inv(data), "next", "reward") == [2.0, 2.0]


def test_waiting_steps_belong_to_the_transform() -> None:
    """What happens to a batch after it was stored does not reach the steps that wait."""
    transform = MultiStepTransform(2, 1.0)
    data = _steps([1.0, 2.0])
    transform.inv(data)
    data["next", "reward"].zero_()
    assert _column(transform.inv(_steps([4.0], first=2)), "next", "reward") == [6.0]


def test_one_step_is_the_identity() -> None:
    """With windows of 1 every step is given at once, as it was."""
    data = _steps([1.0, 2.0, 3.0], terminated=(1,))
    stored = MultiStepTransform(1, 0.9).inv(data)
    assert (stored.select(*data.keys(True, True)) == data).all()
    assert _column(stored, "gamma") == pytest.approx([0.9] * 3)


@pytest.mark.parametrize("cuts", [[1] * 12, [5, 7], [2, 1, 9], [11, 1]], ids=str)
def test_batches_do_not_matter(cuts: list[int]) -> None:
    """However a stream is cut into batches, the same steps come out in the same order, each once."""
    data = _steps([float(i % 5) for i in range(12)], terminated=(3,), truncated=(8,))
    whole = MultiStepTransform(4, 0.5).inv(data)
    transform = MultiStepTransform(4, 0.5)
    parts = [transform.inv(part) for part in data.split(cuts)]
    joined = TensorDict.cat([part for part in parts if len(part)])
    assert (joined == whole).all()
    assert len(whole) == 9


@settings(deadline=None, max_examples=60)
@given(
    ends=st.lists(st.sampled_from(["", "", "", "terminated", "truncated"]), min_size=1, max_size=15),
    n_steps=st.integers(1, 6),
    gamma=st.sampled_from([0.0, 0.5, 1.0]),
    cut=st.integers(1, 15),
)
def test_as_a_slow_reference(ends: list[str], n_steps: int, gamma: float, cut: int) -> None:
    """What is stored is what a loop over each window gives, in two batches cut anywhere."""
    places = {kind: tuple(i for i, end in enumerate(ends) if end == kind) for kind in ("terminated", "truncated")}
    rewards = [float(2**i) for i in range(len(ends))]
    data = _steps(rewards, terminated=places["terminated"], truncated=places["truncated"])
    transform = MultiStepTransform(n_steps, gamma)
    found = [row for part in (data[:cut], data[cut:]) if len(part) for row in _as_rows(transform.inv(part))]
    expected = _reference(data, n_steps, gamma)
    assert len(found) == max(len(ends) - n_steps + 1, 0)
    assert found == expected[: len(found)]


def test_rows_of_several_environments() -> None:
    """Of a batch `[B, T]` each row is what it would be alone; time stays last."""
    rows = [_steps([1.0, 2.0, 4.0, 8.0], terminated=(1,)), _steps([1.0, 1.0, 1.0, 1.0], first=100)]
    stored = MultiStepTransform(2, 0.5).inv(TensorDict.stack(rows))
    assert stored.shape == (2, 3)
    for row, data in zip(stored, rows, strict=True):
        assert (row == MultiStepTransform(2, 0.5).inv(data)).all()


def test_trajectory_ids_end_windows() -> None:
    """Where the id changes, without a flag, a window stops and its last state is bootstrapped from."""
    data = _steps([1.0] * 5)
    data["collector", "traj_ids"] = torch.tensor([0, 0, 1, 1, 1])
    stored = MultiStepTransform(3, 0.5).inv(data)
    assert _column(stored, "steps_to_next_obs") == [2, 1, 3]
    assert _column(stored, "next", "observation") == [2.0, 2.0, 5.0]
    assert not stored["next", "done"].any()


def test_padding_is_in_no_window() -> None:
    """Steps outside the mask end the windows before them, and have windows of their own."""
    data = _steps([1.0, 1.0, 7.0, 7.0, 1.0, 1.0])
    data["mask"] = torch.tensor([True, True, False, False, True, True])
    stored = MultiStepTransform(3, 1.0).inv(data)
    assert _column(stored, "next", "reward") == [2.0, 1.0, 7.0, 7.0]
    renamed = MultiStepTransform(3, 1.0, mask_key="valid").inv(data.rename_key_("mask", "valid"))
    assert _column(renamed, "next", "reward") == [2.0, 1.0, 7.0, 7.0]
    with pytest.raises(MissingKeyError, match="real"):
        MultiStepTransform(3, 1.0, mask_key="real").inv(data)


def test_several_rewards_and_nested_keys() -> None:
    """Each reward has its own sum and original; one flag of several agents ends a window."""
    done = torch.tensor([[False, False], [False, True], [False, False]]).unsqueeze(-1)
    agents = {"reward": torch.ones(3, 2, 1), "done": done, "x": torch.arange(3.0).reshape(3, 1, 1).expand(3, 2, 1)}
    following = {"agents": agents, "cost": torch.full((3, 1), 2.0)}
    data = TensorDict({"next": following}, [3])
    transform = MultiStepTransform(2, 0.5, reward_keys=[("agents", "reward"), "cost"], done_keys=[("agents", "done")])
    stored = transform.inv(data)
    assert stored["next", "agents", "reward"].squeeze(-1).tolist() == [[1.5, 1.5], [1.0, 1.0]]
    assert stored["next", "agents", "reward_orig"].squeeze(-1).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert _column(stored, "next", "cost") == [3.0, 2.0]
    assert _column(stored, "next", "cost_orig") == [2.0, 2.0]
    assert stored["next", "agents", "x"][:, 0, 0].tolist() == [1.0, 1.0]
    assert stored["next", "agents", "done"][:, 1, 0].tolist() == [True, True]


def test_the_window_can_change() -> None:
    """A longer window lets more steps wait, a shorter one gives those that it does not need."""
    transform = MultiStepTransform(3, 1.0)
    assert len(transform.inv(_steps([1.0] * 4))) == 2
    transform.n_steps = 5
    assert len(transform.inv(_steps([1.0] * 2, first=4))) == 0
    transform.n_steps = 2
    stored = transform.inv(_steps([1.0], first=6))
    assert _column(stored, "observation") == [2.0, 3.0, 4.0, 5.0]
    assert _column(stored, "next", "reward") == [2.0] * 4


def test_waiting_steps_are_state() -> None:
    """A transform that loads the state of another one goes on where that stopped; `clear` forgets."""
    first = MultiStepTransform(3, 0.5)
    first.inv(_steps([1.0, 2.0, 4.0]))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second, fresh = MultiStepTransform(3, 0.5), MultiStepTransform(3, 0.5)
    second.load_state_dict(torch.load(file, weights_only=True))
    following = _steps([8.0], first=3)
    assert (second.inv(following) == first.clone().inv(following)).all()
    first.clear()
    assert len(first.inv(following)) == 0
    second.load_state_dict(fresh.state_dict())
    assert len(second.inv(following)) == 0


def test_in_a_compose() -> None:
    """It takes its turn among the inverses of a `Compose`."""
    stored = Compose(MultiStepTransform(2, 1.0)).inv(_steps([1.0, 2.0, 4.0]))
    assert _column(stored, "next", "reward") == [3.0, 6.0]


def test_samples_pass_through() -> None:
    """A batch that was sampled is handed on as it is."""
    data = _steps([1.0])
    before = data.clone()
    assert MultiStepTransform(3, 0.5)(data) is data
    assert (data == before).all()


def test_steps_that_do_not_fit(toy: MakeEnv) -> None:
    """Other entries or rows than those waiting, a missing entry or no time are errors, after which it goes on."""
    transform = MultiStepTransform(2, 1.0)
    transform.inv(_steps([1.0, 2.0]))
    with pytest.raises(SpecError, match=r"other entries.*\"action\".*clear\(\)"):
        transform.inv(_steps([1.0]).exclude("action"))
    with pytest.raises(SpecError, match=r"other rows.*clear\(\)"):
        transform.inv(_steps([1.0]).unsqueeze(0))
    with pytest.raises(ShapeError, match=r"\[\*B, T\]"):
        transform.inv(_steps([1.0])[0])
    assert _column(transform.inv(_steps([4.0], first=2)), "next", "reward") == [6.0]
    with pytest.raises(MissingKeyError, match=r"\"rewrad\".*reward_keys"):
        MultiStepTransform(2, 1.0, reward_keys=["rewrad"]).inv(_steps([1.0]))
    with pytest.raises(MissingKeyError, match=r"\"finished\".*done_keys"):
        MultiStepTransform(2, 1.0, done_key="finished").inv(_steps([1.0]))
    with pytest.raises(SpecError, match=r"MultiStepTransform: works on stored steps.*replay buffer"):
        TransformedEnv(toy(), MultiStepTransform(2, 1.0))


@pytest.mark.parametrize("bad", [{"n_steps": 0}, {"gamma": 1.5}, {"n_steps": 1.0}], ids=str)
def test_bad_arguments(bad: dict[str, Any]) -> None:
    """Arguments out of range are refused."""
    with pytest.raises(ValueError, match=next(iter(bad))):
        MultiStepTransform(**({"n_steps": 2, "gamma": 0.5} | bad))
