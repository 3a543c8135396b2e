"""Random parts of stored trajectories."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import RandomCropTensorDict, TransformedEnv
from rl_specs import MissingKeyError, ShapeError, SpecError

MakeEnv = Callable[..., Any]


def _batch(*shape: int) -> TensorDict:
    step = torch.arange(shape[-1]).expand(shape)
    return TensorDict({"step": step.clone(), "next": {"x": step.unsqueeze(-1) * 2.0}}, shape)


@pytest.mark.parametrize("shape", [(9,), (4, 9), (2, 3, 9)], ids=str)
def test_a_run_of_each_row(shape: tuple[int, ...]) -> None:
    """Every row gives consecutive steps, all of its entries from the same place; the batch given stays."""
    data = _batch(*shape)
    before = data.clone()
    found = RandomCropTensorDict(4)(data)
    assert found.shape == (*shape[:-1], 4)
    assert (found["step"].diff(dim=-1) == 1).all()
    assert torch.equal(found["next", "x"].squeeze(-1), found["step"] * 2.0)
    assert (data == before).all()
    assert data.shape == shape


def test_rows_start_at_places_of_their_own() -> None:
    """Every start that leaves room comes up about as often as the others, the first and the last among them."""
    found = RandomCropTensorDict(6, generator=torch.Generator().manual_seed(0))(_batch(8000, 9))
    counts = found["step"][:, 0].bincount()
    assert len(counts) == 4
    chi_square = ((counts - 2000.0) ** 2 / 2000).sum()
    assert chi_square < 16.3  # the 0.1 percent point of 3 degrees of freedom


def test_a_generator_decides() -> None:
    """The same generator state gives the same crops."""
    one, two = (RandomCropTensorDict(3, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert (one(_batch(50, 9)) == two(_batch(50, 9))).all()


def test_the_whole_row() -> None:
    """A crop as long as the rows is the rows."""
    assert (RandomCropTensorDict(9)(_batch(3, 9)) == _batch(3, 9)).all()


def test_another_dimension() -> None:
    """Time can be a dimension before the last one: entries after it are cropped together."""
    step = torch.arange(5).reshape(1, 5, 1).expand(2, 5, 3)
    found = RandomCropTensorDict(2, -2)(TensorDict({"step": step}, [2, 5, 3]))
    assert found.shape == (2, 2, 3)
    assert (found["step"][:, 1] - found["step"][:, 0] == 1).all()


def test_masked_steps_are_never_taken() -> None:
    """Of rows of 3, 5 and 9 real steps the crops hold real ones only."""
    data = _batch(300, 9)
    lengths = torch.tensor([3, 5, 9]).repeat(100)
    data["mask"] = torch.arange(9) < lengths.unsqueeze(-1)
    found = RandomCropTensorDict(3, mask_key="mask")(data)
    assert found["mask"].all()
    assert (found["step"][lengths == 3][:, 0] == 0).all()
    assert found["step"][lengths == 9].max() == 8
    with pytest.raises(ShapeError, match=r"at least 4, found 3"):
        RandomCropTensorDict(4, mask_key="mask")(data)
    with pytest.raises(MissingKeyError, match="mask_key"):
        RandomCropTensorDict(3, mask_key="valid")(data)


def test_wrong_use(toy: MakeEnv) -> None:
    """Rows that are too short, arguments out of range and use in an environment are errors."""
    with pytest.raises(ShapeError, match=r"at least 10, found 9"):
        RandomCropTensorDict(10)(_batch(2, 9))
    with pytest.raises(ShapeError, match="no dimension -2"):
        RandomCropTensorDict(2, -2)(_batch(9))
    with pytest.raises(ValueError, match="sub_seq_len"):
        RandomCropTensorDict(0)
    with pytest.raises(ValueError, match="negative"):
        RandomCropTensorDict(2, 0)
    with pytest.raises(SpecError, match="works on stored steps"):
        TransformedEnv(toy(), RandomCropTensorDict(2))


def test_its_state_is_that_of_the_generator() -> None:
    """Nothing of it is in a checkpoint; with the state of its generator another one goes on with the same crops."""
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    first, second = (RandomCropTensorDict(3, generator=generator) for generator in generators)
    first(_batch(50, 9))
    assert first.state_dict() == {}
    second.load_state_dict(first.state_dict())
    generators[1].set_state(generators[0].get_state())
    assert (first(_batch(50, 9)) == second(_batch(50, 9))).all()
