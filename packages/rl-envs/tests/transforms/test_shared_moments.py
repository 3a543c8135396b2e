"""Running moments that several objects update in turns."""

import copy

import torch
from torch import Size, Tensor

from rl_envs.transforms._shared_moments import SharedMoments
from rl_envs.transforms.running_moments import RunningMoments


def _moments(*shapes: tuple[int, ...]) -> list[RunningMoments]:
    return [RunningMoments(Size(shape), decay=1.0, eps=1e-4) for shape in shapes]


def _values(shared: SharedMoments) -> list[list[float]]:
    with shared:
        return [each.mean.flatten().tolist() for each in shared._moments]


def _update(shared: SharedMoments, *rows: Tensor) -> None:
    with shared:
        for each, value in zip(shared._moments, rows, strict=True):
            each.update_and_normalize(value)
        shared.push()


def test_copies_follow_each_other() -> None:
    """Moments of several shapes, scalars among them, are those of the last turn, whoever had it."""
    own = _moments((2,), (), (2, 2))
    first = SharedMoments(own)
    second = copy.deepcopy(first)
    assert all(one is not two for one, two in zip(first._moments, second._moments, strict=True))
    _update(first, torch.tensor([1.0, 2.0]), torch.tensor(4.0), torch.ones(2, 2))
    assert _values(second) == [[1.0, 2.0], [4.0], [1.0, 1.0, 1.0, 1.0]]
    _update(second, torch.tensor([3.0, 4.0]), torch.tensor(8.0), torch.zeros(2, 2))
    assert _values(first) == [[2.0, 3.0], [6.0], [0.5, 0.5, 0.5, 0.5]]
    assert first._moments[1] is own[1]
    torch.testing.assert_close(own[1].scale(), torch.tensor(2.0, dtype=torch.float64))


def test_sharing_starts_from_the_moments_as_they_are() -> None:
    """What was learned before is shared too."""
    own = _moments((1,))
    own[0].update_and_normalize(torch.tensor([5.0]))
    assert _values(copy.deepcopy(SharedMoments(own))) == [[5.0]]


def test_changes_that_are_not_pushed() -> None:
    """After `forget` the next turn starts from what is shared; `publish` makes what is here what is shared."""
    shared = SharedMoments(_moments((1,)))
    with shared:
        shared.forget()
        shared._moments[0].update_and_normalize(torch.tensor([5.0]))
    assert _values(shared) == [[0.0]]
    other = copy.deepcopy(shared)
    _update(other, torch.tensor([1.0]))
    shared._moments[0].mean.fill_(7.0)
    shared.publish()
    assert _values(other) == [[7.0]]
