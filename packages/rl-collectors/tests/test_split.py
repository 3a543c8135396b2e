"""Cutting batches into trajectories."""

import pytest
import torch
from tensordict import TensorDict

from rl_collectors import split_trajectories
from rl_specs import MissingKeyError


def batch(done: list[list[int]]) -> TensorDict:
    """A batch `[N, T]` whose observation counts the steps of the whole batch."""
    flags = torch.tensor(done, dtype=torch.bool).unsqueeze(-1)
    count = torch.arange(flags.numel(), dtype=torch.float32).reshape(flags.shape)
    return TensorDict({"observation": count, "next": {"done": flags}}, batch_size=flags.shape[:2])


def test_trajectories_end_where_done_is_set() -> None:
    """Without ids, a row of the batch is cut after each done step, and rows never run into each other."""
    out = split_trajectories(batch([[0, 1, 0, 0], [0, 0, 0, 1]]))
    assert out["observation"].squeeze(-1).tolist() == [[0, 1, 0, 0], [2, 3, 0, 0], [4, 5, 6, 7]]
    assert out["collector", "mask"].sum(-1).tolist() == [2, 2, 4]
    assert out.names == [None, "time"]


def test_trajectories_follow_their_ids() -> None:
    """With ids, a trajectory is cut where the id changes, done or not."""
    data = batch([[0, 0, 0, 0]])
    data["collector", "traj_ids"] = torch.tensor([[5, 5, 5, 9]])
    assert split_trajectories(data)["observation"].squeeze(-1).tolist() == [[0, 1, 2], [3, 0, 0]]


def test_neither_ids_nor_flags_is_an_error() -> None:
    """A batch that says nothing of its trajectories is refused."""
    with pytest.raises(MissingKeyError, match="split_trajectories"):
        split_trajectories(TensorDict({"a": torch.zeros(2, 3)}, batch_size=[2, 3]))
