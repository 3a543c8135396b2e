"""An entry expanded to the shape of another."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import ExpandAs, TransformedEnv, check_env_specs
from rl_specs import Composite, MissingKeyError, ShapeError, SpecError, TensorMap, Unbounded

MakeEnv = Callable[..., Any]


def _agents(toy: MakeEnv) -> Any:
    """The toy with rewards `[2, 3, 1]` of three agents."""

    base = toy((2,), horizon=2)
    base.reward_spec = Composite({("agents", "reward"): Unbounded(shape=(2, 3, 1))}, shape=(2,))
    base_step = base._step

    def step(data: TensorMap) -> TensorMap:
        found: dict[Any, Any] = base_step(data)
        found["agents", "reward"] = found.pop("reward").unsqueeze(-1).expand(2, 3, 1)
        return found

    base._step = step
    return base


def test_by_hand(toy: MakeEnv) -> None:
    """A shared flag is repeated for each agent under a new name, False after a reset, and ends no episode itself."""
    transform = ExpandAs("done", ("agents", "reward"), out_key=("agents", "is_done"))
    env = TransformedEnv(_agents(toy), transform)
    check_env_specs(env)
    data = env.rollout(2, break_when_any_done=False)
    assert data["next", "agents", "is_done"][:, 1, :, 0].tolist() == [[True] * 3, [False] * 3]
    assert not env.reset()["agents", "is_done"].any()
    assert env.done_keys == ["done", "terminated", "truncated"]


def test_in_place(toy: MakeEnv) -> None:
    """Without an out key the entry itself has the new shape, a flag too."""
    flags = ("done", "terminated", "truncated")
    env = TransformedEnv(_agents(toy), [ExpandAs(key, ("agents", "reward")) for key in flags])
    assert env.full_done_spec["done"].shape == (2, 3, 1)
    data = env.rollout(4, break_when_any_done=False)
    assert data["next", "done"].shape == (2, 4, 3, 1)
    assert data["next", "done"][0, :, 0, 0].tolist() == [False, True, False, True]
    observed = TransformedEnv(toy((2,)), ExpandAs("reward", ("agents", "x"), out_key="rewards"))
    assert observed.full_reward_spec["rewards"].shape == (2, 2)


def test_stored_data() -> None:
    """On stored data the reference's shape counts, under `"next"` too."""
    data = TensorDict({"next": {"done": torch.tensor([[True], [False]]), "reward": torch.zeros(2, 3, 1)}}, [2])
    found = ExpandAs(("next", "done"), ("next", "reward"), out_key="flags")(data)["flags"]
    assert found[..., 0].tolist() == [[True] * 3, [False] * 3]


def test_misuse(toy: MakeEnv) -> None:
    """Shapes that do not fit on the right, and keys that are not there, are refused."""
    with pytest.raises(SpecError, match=r'shape of "observation", \(3,\) does not expand on the right to \(2,\)'):
        TransformedEnv(toy(), ExpandAs("observation", ("agents", "x"), out_key="y"))
    with pytest.raises(SpecError, match='ref_key: key "nothing" missing'):
        TransformedEnv(toy(), ExpandAs("reward", "nothing"))
    data = TensorDict({"a": torch.zeros(2, 3), "b": torch.zeros(2, 4)}, [2])
    with pytest.raises(ShapeError, match="does not expand on the right"):
        ExpandAs("a", "b")(data)
    with pytest.raises(MissingKeyError, match='ExpandAs: key "c" missing'):
        ExpandAs("a", "c")(data)
    assert repr(ExpandAs("a", "b")) == "ExpandAs(in_key='a', ref_key='b', out_key='a')"
