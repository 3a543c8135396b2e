"""Windows over time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from rl_envs.transforms._trajectories import take_steps, trajectory_windows, window_steps
from rl_specs import MissingKeyError, ShapeError


def test_by_hand() -> None:
    """Windows of three over steps 0 1 | 2 3 4 stay within their trajectory."""
    steps, is_before = window_steps(torch.tensor([False, True, False, False, False]), 3)
    assert steps.tolist() == [[0, 0, 0], [0, 0, 1], [2, 2, 2], [2, 2, 3], [2, 3, 4]]
    assert is_before.tolist()[1] == [True, False, False]
    assert is_before.tolist()[4] == [False, False, False]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=3), st.integers(1, 8))
def test_equals_a_loop(done: list[list[bool]], size: int) -> None:
    """Each window is what a loop that keeps a queue and empties it at episode ends has in it."""
    value = torch.arange(len(done) * 6).reshape(len(done), 6, 1)
    steps, _ = window_steps(torch.tensor(done), size)
    found = take_steps(value, steps)[..., 0]
    for row, flags in enumerate(done):
        queue: list[int] = []
        for step, flag in enumerate(flags):
            frame = int(value[row, step])
            queue = [*(queue or [frame] * size), frame][-size:]
            assert found[row, step].tolist() == queue
            if flag:
                queue = []


def test_next_entries_follow_their_root() -> None:
    """A window under `"next"` has root values before the next one, at the start of a trajectory too."""
    data = TensorDict(
        {"x": torch.tensor([[0.0], [1.0], [5.0]]), "next": {"x": torch.tensor([[1.0], [2.0], [6.0]])}}, batch_size=[3]
    )
    data["next", "done"] = torch.tensor([[False], [True], [False]])
    root, following = trajectory_windows("X", data, ["x", ("next", "x")], size=2, done_key="done")
    assert root[..., 0].tolist() == [[0, 0], [0, 1], [5, 5]]
    assert following[..., 0].tolist() == [[0, 1], [1, 2], [5, 6]]
    padded = trajectory_windows("X", data, ["x"], size=2, done_key="done", padding=-1)[0]
    assert padded[..., 0].tolist() == [[-1, 0], [0, 1], [-1, 5]]
    alone = trajectory_windows("X", data.exclude("x"), [("next", "x")], size=2, done_key="done")[0]
    assert alone[..., 0].tolist() == [[1, 1], [1, 2], [6, 6]]


@pytest.mark.parametrize("batch", [(0,), (0, 4), (4, 0)], ids=str)
def test_no_steps(batch: tuple[int, ...]) -> None:
    """Of no rows, or rows without steps, there are no windows."""
    data = TensorDict({"x": torch.zeros(*batch, 3), "next": {"done": torch.zeros(*batch, 1, dtype=torch.bool)}}, batch)
    (found,) = trajectory_windows("x", data, ["x"], size=2, done_key="done")
    assert found.shape == (*batch, 2, 3)


def test_misuse() -> None:
    """Data without time, without the flag or without the entry are refused by name."""
    data = TensorDict({"x": torch.zeros(2, 1), "next": {"done": torch.zeros(2, 1, dtype=torch.bool)}}, [2])
    with pytest.raises(ShapeError, match="X: no time dimension"):
        trajectory_windows("X", data[0], ["x"], size=2, done_key="done")
    with pytest.raises(MissingKeyError, match=r'X: key \("next", "end"\) missing.*done_key'):
        trajectory_windows("X", data, ["x"], size=2, done_key="end")
    with pytest.raises(MissingKeyError, match=r'X: key "y" missing.*in_keys'):
        trajectory_windows("X", data, ["y"], size=2, done_key="done")
