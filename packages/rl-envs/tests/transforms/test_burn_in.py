"""Recurrent states made anew from the first steps of stored sequences."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import nn

from rl_envs import BurnInTransform, TransformedEnv
from rl_specs import MissingKeyError, ShapeError, SpecError

MakeEnv = Callable[..., Any]


class Adder(TensorDictModuleBase):
    """A recurrent module: its state is the weighted sum of the observations since the start."""

    def __init__(self) -> None:
        super().__init__()
        self.in_keys = ["observation", "hidden"]
        self.out_keys = ["output", ("next", "hidden")]
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[int] = []

    def forward(self, data: TensorDictBase) -> TensorDictBase:
        """Add up."""
        self.seen.append(data.shape[-1])
        time = data.ndim - 1
        start = data["hidden"].select(time, 0)
        state = start.unsqueeze(time) + (self.weight * data["observation"]).cumsum(time)
        data["output"] = state
        data["next", "hidden"] = state
        return data


def _sequence(*shape: int, hidden: bool = True) -> TensorDict:
    observation = torch.arange(1.0, shape[-1] + 1).expand(shape).unsqueeze(-1).clone()
    data = TensorDict({"observation": observation, "next": {"done": torch.zeros(*shape, 1, dtype=torch.bool)}}, shape)
    return data.set("hidden", torch.full((*shape, 1), 100.0)) if hidden else data


@pytest.mark.parametrize("shape", [(6,), (2, 6)], ids=str)
def test_by_hand(shape: tuple[int, ...]) -> None:
    """Observations 1, 2, 3 burnt in from a state of 100 give 106 for the fourth step; later states stay."""
    data = _sequence(*shape)
    before = data.clone()
    found = BurnInTransform([Adder()], 3)(data)
    assert found.shape == (*shape[:-1], 3)
    assert (found["hidden"][..., 0, :] == 106.0).all()
    assert (found["hidden"][..., 1:, :] == 100.0).all()
    assert torch.equal(found["observation"], data["observation"][..., 3:, :])
    assert "output" not in found
    assert (data == before).all()
    assert set(data.keys(True, True)) == set(before.keys(True, True))
    assert not found["hidden"].requires_grad


def test_states_that_were_not_stored() -> None:
    """Where no state was stored the other steps get zeros."""

    class FromZero(TensorDictModuleBase):
        in_keys = ["observation"]  # noqa: RUF012
        out_keys = [("next", "agents", "hidden")]  # noqa: RUF012

        def forward(self, data: TensorDictBase) -> TensorDictBase:
            return data.set(("next", "agents", "hidden"), data["observation"].cumsum(-2))

    found = BurnInTransform([FromZero()], 2)(_sequence(4, hidden=False))
    assert found["agents", "hidden"].flatten().tolist() == [3.0, 0.0]


def test_an_episode_that_ends_with_the_last_step_burnt_in() -> None:
    """The first step left starts another episode: it keeps the state that was stored for it."""
    data = _sequence(2, 6)
    data["next", "done"][0, 2] = True
    found = BurnInTransform([Adder()], 3)(data)
    assert found["hidden"][:, 0].flatten().tolist() == [100.0, 106.0]


def test_modules_run_in_order_with_the_weights_of_the_moment() -> None:
    """Modules see what those before wrote, only the steps burnt in, and their present weights, also in a clone."""
    adder = Adder()
    double = TensorDictModule(lambda x: 2 * x, in_keys=[("next", "hidden")], out_keys=[("next", "hidden")])
    transform = BurnInTransform([adder, double], 2)
    assert transform.out_keys == ["hidden"]
    assert transform(_sequence(5))["hidden"][0].item() == 206.0
    assert adder.seen == [2]
    with torch.no_grad():
        adder.weight.fill_(0.0)
    assert transform(_sequence(5))["hidden"][0].item() == 200.0
    assert transform.clone()(_sequence(5))["hidden"][0].item() == 200.0
    assert adder.seen == [2, 2, 2]
    assert list(transform.parameters()) == []
    assert transform.state_dict() == {}


def test_step_by_step_equals_burnt_in() -> None:
    """Going on from the burnt-in state gives what one run over the whole sequence gives."""
    adder = Adder()
    whole = adder(_sequence(3, 8).copy())["output"]
    rest = adder(BurnInTransform([adder], 5)(_sequence(3, 8)))["output"]
    torch.testing.assert_close(rest, whole[:, 5:])


def test_chosen_states() -> None:
    """`out_keys` says which states to carry over; one that no module writes is an error."""
    assert BurnInTransform([Adder()], 1, out_keys=["hidden"])(_sequence(3))["hidden"][0].item() == 101.0
    with pytest.raises(MissingKeyError, match="out_keys"):
        BurnInTransform([Adder()], 1, out_keys=["memory"])(_sequence(3))


def test_wrong_use(toy: MakeEnv) -> None:
    """Sequences without steps left, modules without state, wrong types and use in an environment are errors."""
    with pytest.raises(ShapeError, match="at least 4"):
        BurnInTransform([Adder()], 3)(_sequence(2, 3))
    with pytest.raises(ValueError, match="no module writes a state"):
        BurnInTransform([TensorDictModule(nn.Identity(), in_keys=["a"], out_keys=["b"])], 1)
    with pytest.raises(ValueError, match="burn_in"):
        BurnInTransform([Adder()], 0)
    with pytest.raises(TypeError, match="TensorDictModuleBase"):
        BurnInTransform([nn.Identity()], 1)  # type: ignore[list-item]  # wrong on purpose
    with pytest.raises(SpecError, match="works on stored steps"):
        TransformedEnv(toy(), BurnInTransform([Adder()], 1))


def test_it_has_no_state() -> None:
    """The modules belong to the loss: a checkpoint holds none of their weights, and another transform loads it."""
    module = TensorDictModule(nn.Linear(1, 1), in_keys=["observation"], out_keys=[("next", "hidden")])
    transform = BurnInTransform([module], 1)
    assert transform.state_dict() == {}
    BurnInTransform([Adder()], 2).load_state_dict(transform.state_dict())
