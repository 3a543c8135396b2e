"""Trajectories in batches."""

import warnings

import pytest
import torch
from tensordict import TensorDict

from rl_specs import MissingKeyError, ShapeError
from rl_specs.trajectories import iter_trajectories, split_trajectories


def _batch(done: list[list[int]]) -> TensorDict:
    """A batch `[N, T]` whose `number` counts the steps of the whole batch."""
    flags = torch.tensor(done, dtype=torch.bool).unsqueeze(-1)
    number = torch.arange(flags.numel()).reshape(flags.shape)
    return TensorDict({"number": number, "next": {"done": flags}}, batch_size=flags.shape[:2])


def test_trajectories_one_after_another() -> None:
    """Pieces are views of the batch, cut by ids where there are such, and else by any flag of an end."""
    data = _batch([[0, 1, 0, 0, 1, 0]]).reshape(-1)
    assert [piece["number"].flatten().tolist() for piece in iter_trajectories(data)] == [[0, 1], [2, 3, 4], [5]]
    data["next", "truncated"] = torch.tensor([0, 0, 1, 0, 0, 0]).bool().view(6, 1)
    assert [len(piece) for piece in iter_trajectories(data)] == [2, 1, 2, 1]
    data["episode"] = torch.tensor([0, 0, 0, 0, 1, 1])
    assert [len(piece) for piece in iter_trajectories(data)] == [4, 2]
    data["other"] = torch.tensor([0, 1, 1, 1, 1, 1])
    pieces = list(iter_trajectories(data, "other"))
    assert [len(piece) for piece in pieces] == [1, 5]
    pieces[0]["number"].fill_(50)
    assert data["number"][0] == 50
    assert list(iter_trajectories(data[:0])) == []


def test_trajectories_side_by_side() -> None:
    """Without ids each row of the batch is cut after its flags, padded with zeros, and the mask tells real steps."""
    out = split_trajectories(_batch([[0, 1, 0, 0], [0, 0, 0, 1]]))
    assert out["number"].squeeze(-1).tolist() == [[0, 1, 0, 0], [2, 3, 0, 0], [4, 5, 6, 7]]
    assert out["mask"].sum(-1).tolist() == [2, 2, 4]
    assert out.names == [None, "time"]
    data = _batch([[0, 0, 0, 0]])
    data["collector", "traj_ids"] = torch.tensor([[5, 5, 5, 9]])
    out = split_trajectories(data)
    assert out["number"].squeeze(-1).tolist() == [[0, 1, 2], [3, 0, 0]]
    assert out["collector", "mask"].sum(-1).tolist() == [3, 1]
    data["a", "id"] = torch.tensor([[0, 0, 1, 1]])
    assert split_trajectories(data, trajectory_key=("a", "id"))["a", "mask"].sum(-1).tolist() == [2, 2]


@pytest.mark.parametrize("as_nested", [True, torch.jagged, torch.strided])
def test_trajectories_as_nested_tensors(as_nested: bool | torch.layout) -> None:
    """Padded, nested tensors are what is returned without `as_nested`; entries of one layout go into one sum."""
    done = torch.tensor([[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]).bool().unsqueeze(-1)
    x = torch.arange(1.0, 11).view(2, 5)
    data = TensorDict({"x": x, "next": {"done": done, "y": x.unsqueeze(-1).expand(2, 5, 3)}}, [2, 5])
    padded = split_trajectories(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of torch, that strided ones are a prototype
        nested = split_trajectories(data, as_nested=as_nested)
    assert nested.batch_size == (3,)
    assert set(nested.keys(True, True)) == {"x", ("next", "done"), ("next", "y")}
    for key in nested.keys(True, True):
        value = nested.get(key)
        assert value.is_nested
        assert value.layout == (torch.strided if as_nested is torch.strided else torch.jagged)
        assert [len(part) for part in value.unbind()] == [2, 3, 5]
        if value.dtype != torch.bool:
            assert torch.equal(torch.nested.to_padded_tensor(value, 0.0), padded.get(key))
        else:
            assert [part.any().item() for part in value.unbind()] == [True, False, True]
    if as_nested is not torch.strided:
        assert (nested["x"].unsqueeze(-1) + nested["next", "y"]).unbind()[1][2].tolist() == [10.0] * 3
    with pytest.raises(ValueError, match="as_nested"):
        split_trajectories(data, as_nested="jagged")  # type: ignore[arg-type]  # wrong on purpose


def test_what_is_missing_is_named() -> None:
    """A batch that says nothing of its trajectories, or has no dimension of time, is refused."""
    data = TensorDict({"a": torch.zeros(2, 3)}, batch_size=[2, 3])
    with pytest.raises(MissingKeyError, match="split_trajectories"):
        split_trajectories(data)
    with pytest.raises(MissingKeyError, match="trajectory_key"):
        split_trajectories(data, trajectory_key="id")
    with pytest.raises(MissingKeyError, match="iter_trajectories"):
        list(iter_trajectories(data.reshape(-1)))
    with pytest.raises(ShapeError, match="Flatten it"):
        list(iter_trajectories(data))


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3), ()])
def test_a_batch_without_steps_has_no_trajectories_to_split(shape: tuple[int, ...]) -> None:
    """A batch of no steps cannot be padded to the longest of its trajectories, and is refused by name."""
    done = torch.zeros(*shape, 1, dtype=torch.bool)
    with pytest.raises(ShapeError, match=r"split_trajectories: the batch has no step\. Expected at least one step"):
        split_trajectories(TensorDict({"next": {"done": done}}, shape))
