"""Actions that the environment does not have."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import DiscreteActionProjection, TransformedEnv, check_env_specs
from rl_specs import Categorical, OneHot, ShapeError, SpecError

MakeEnv = Callable[..., Any]


def discrete(base: Any, *, one_hot: bool) -> Any:
    """The toy with three actions."""
    batch = base.batch_size
    base.action_spec = OneHot(3, (*batch, 3)) if one_hot else Categorical(3, batch)
    return base


@pytest.mark.parametrize("one_hot", [True, False])
@pytest.mark.parametrize("batch_size", [(), (3,), (2, 2)], ids=str)
def test_actions_of_the_environment_stay_and_others_are_drawn(
    toy: MakeEnv, batch_size: tuple[int, ...], one_hot: bool
) -> None:
    """Actions 0 to 2 are handed on; 3 and 4 become any of these, all of them over many steps."""
    transform = DiscreteActionProjection(3, 5)
    env = TransformedEnv(discrete(toy(batch_size, horizon=1000), one_hot=one_hot), transform)
    check_env_specs(env)
    assert isinstance(env.action_spec, OneHot if one_hot else Categorical)
    root = env.reset(seed=0)
    drawn = set()
    for index in [0, 1, 2] + 30 * [3, 4]:
        value = torch.full(batch_size, index)
        action = torch.nn.functional.one_hot(value, 5).bool() if one_hot else value
        env.step(root.set("action", action))
        given = env.base_env.actions[-1]  # type: ignore[attr-defined]  # the toy
        assert env.base_env.action_spec.is_in(given)
        indices = given.int().argmax(-1) if one_hot else given
        if index < 3:
            assert (indices == index).all()
        else:
            drawn |= set(indices.flatten().tolist())
    assert drawn == {0, 1, 2}


def test_seed_and_state(toy: MakeEnv) -> None:
    """Draws are those of the seed, and go on from a loaded state."""

    def draws(env: TransformedEnv) -> list[int]:
        root = env.reset()
        for _ in range(6):
            env.step(root.set("action", torch.tensor(4)))
        found: list[int] = [int(action) for action in env.base_env.actions[-6:]]  # type: ignore[attr-defined]  # the toy
        return found

    env = TransformedEnv(discrete(toy(), one_hot=False), DiscreteActionProjection(3, 5))
    other = TransformedEnv(discrete(toy(), one_hot=False), DiscreteActionProjection(3, 5))
    env.set_seed(1)
    first = draws(env)
    other.load_state_dict(env.state_dict())
    assert draws(other) == draws(env)
    env.set_seed(1)
    assert draws(env) == first


def test_forward_widens(toy: MakeEnv) -> None:
    """Stored one-hot actions get zeros, numbers stay; with `include_forward=False` both do."""
    stored = torch.tensor([[0, 1, 0], [1, 0, 0]]).bool()
    found = DiscreteActionProjection(3, 5)(TensorDict({"action": stored}, [2]))["action"]
    assert found.int().tolist() == [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
    assert found.dtype is torch.bool
    env = TransformedEnv(discrete(toy(), one_hot=False), DiscreteActionProjection(3, 5))
    assert env.transform[0](TensorDict({"action": torch.tensor([0, 2, 1])}, [3]))["action"].tolist() == [0, 2, 1]
    same = DiscreteActionProjection(3, 5, include_forward=False)(TensorDict({"action": stored}, [2]))["action"]
    assert torch.equal(same, stored)
    with pytest.raises(ShapeError, match="another width"):
        DiscreteActionProjection(4, 5)(TensorDict({"action": stored}, [2]))


def test_wiring(toy: MakeEnv) -> None:
    """Numbers that do not fit each other, or not the environment, are told."""
    with pytest.raises(ValueError, match="num_actions_effective <= max_actions"):
        DiscreteActionProjection(5, 3)
    with pytest.raises(SpecError, match="has 3 actions"):
        TransformedEnv(discrete(toy(), one_hot=True), DiscreteActionProjection(2, 5))
    with pytest.raises(SpecError, match="neither one-hot nor a number"):
        TransformedEnv(toy(), DiscreteActionProjection(2, 5))
    with pytest.raises(SpecError, match='"actoin"'):
        TransformedEnv(toy(), DiscreteActionProjection(2, 5, action_key="actoin"))
