"""Intervals of continuous actions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import ActionDiscretizer, StepCounter, TransformedEnv, check_env_specs
from rl_envs.testing import CountingEnv
from rl_specs import Bounded, Categorical, MultiCategorical, MultiOneHot, OneHot, ShapeError, SpecError, Unbounded

MakeEnv = Callable[..., Any]
Sampling = ActionDiscretizer.SamplingStrategy


def bounded(base: Any) -> Any:
    """The toy with actions in [0, 6] and [-1, 1]."""
    low, high = torch.tensor([0.0, -1.0]), torch.tensor([6.0, 1.0])
    shape = (*base.batch_size, 2)
    base.action_spec = Bounded(low, high, shape=shape, dtype=torch.float32)
    return base


def taken(env: TransformedEnv, action: torch.Tensor) -> list[float]:
    """What the first row of the base env gets."""
    env.step(env.reset().set(env.action_keys[0], action))
    found: list[float] = env.base_env.actions[-1].reshape(-1, 2)[0].tolist()  # type: ignore[attr-defined]  # the toy
    return found


@pytest.mark.parametrize("batch_size", [(), (3,), (2, 2)], ids=str)
@pytest.mark.parametrize(
    ("sampling", "expected"),
    [(None, [3.0, 0.75]), (Sampling.LOW, [2.0, 0.5]), (Sampling.HIGH, [4.0, 1.0])],
)
def test_values_of_intervals(toy: MakeEnv, batch_size: tuple[int, ...], sampling: Any, expected: list[float]) -> None:
    """[0, 6] in 3 intervals and [-1, 1] in 4: categories 1 and 3 are [2, 4] and [0.5, 1]."""
    transform = ActionDiscretizer(torch.tensor([3, 4]), sampling=sampling)
    env = TransformedEnv(bounded(toy(batch_size)), transform)
    assert isinstance(env.action_spec, MultiCategorical)
    assert env.action_spec.nvec == (3, 4)
    check_env_specs(env)
    assert taken(env, torch.tensor([1, 3]).expand(*batch_size, 2)) == expected


def test_one_hot(toy: MakeEnv) -> None:
    """One-hot vectors of all elements in a row mean the same."""
    env = TransformedEnv(bounded(toy((2,))), ActionDiscretizer(torch.tensor([3, 4]), categorical=False))
    assert isinstance(env.action_spec, MultiOneHot)
    action = torch.tensor([0, 1, 0, 0, 0, 0, 1], dtype=torch.bool).expand(2, 7)
    assert taken(env, action) == [3.0, 0.75]
    check_env_specs(env)


def test_random_values_lie_in_their_interval(toy: MakeEnv) -> None:
    """Draws are spread over the interval, are those of the seed, and go on from a loaded state."""
    env = TransformedEnv(bounded(toy()), ActionDiscretizer(3, sampling=Sampling.RANDOM))
    env.set_seed(3)
    action = torch.tensor([1, 0])
    first = [taken(env, action) for _ in range(40)]
    assert all(2.0 <= a <= 4.0 and -1.0 <= b <= -1 / 3 for a, b in first)
    assert min(a for a, _ in first) < 2.4 < 3.6 < max(a for a, _ in first)
    env.set_seed(3)
    assert [taken(env, action) for _ in range(3)] == first[:3]
    state = env.state_dict()
    other = TransformedEnv(bounded(toy()), ActionDiscretizer(3, sampling=Sampling.RANDOM))
    other.load_state_dict(state)
    assert taken(other, action) == taken(env, action)


@pytest.mark.parametrize("categorical", [True, False])
def test_scalar_action(toy: MakeEnv, categorical: bool) -> None:
    """An action without dimensions of its own gives one choice."""
    base = toy((3,))
    base.action_spec = Bounded(-1.0, 1.0, shape=(3,))
    env = TransformedEnv(base, ActionDiscretizer(4, categorical=categorical))
    assert isinstance(env.action_spec, Categorical if categorical else OneHot)
    check_env_specs(env)
    index = torch.tensor([0, 1, 3])
    env.step(env.reset().set("action", index if categorical else torch.nn.functional.one_hot(index, 4).bool()))
    assert base.actions[-1].tolist() == [-0.75, -0.25, 0.75]


def test_another_name_records_the_continuous_action(toy: MakeEnv) -> None:
    """Under another name the policy chooses, and each step has what the environment was given."""
    env = TransformedEnv(bounded(toy((2,))), [StepCounter(), ActionDiscretizer(3, out_action_key=("n", "choice"))])
    assert env.action_keys == [("n", "choice")]
    check_env_specs(env)
    root = env.reset()
    assert root["action"].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    stepped = env.step(root.set(("n", "choice"), torch.tensor([[1, 0], [2, 2]])))
    expected = torch.tensor([[3.0, -2 / 3], [5.0, 2 / 3]])
    assert torch.allclose(stepped["next", "action"], expected)
    assert torch.equal(stepped["next", "action"], env.base_env.actions[-1])  # type: ignore[attr-defined]  # the toy


def test_forward_gives_stored_actions_as_categories(toy: MakeEnv) -> None:
    """Each continuous action, bounds and values beyond them included, belongs to one interval; on any batch shape."""
    env = TransformedEnv(bounded(toy((3,))), ActionDiscretizer(torch.tensor([3, 4])))
    stored = torch.tensor([[[0.0, -1.0], [2.0, 0.49]], [[6.0, 1.0], [7.0, -9.0]]])
    found = env.transform[0].clone()(TensorDict({"action": stored}, [2, 2]))["action"]
    assert found.tolist() == [[[0, 0], [1, 2]], [[2, 3], [2, 0]]]
    hot = TransformedEnv(bounded(toy()), ActionDiscretizer(3, categorical=False, out_action_key="choice"))
    vectors = hot.transform[0](TensorDict({"action": stored[0]}, [2]))["choice"]
    assert vectors.int().tolist() == [[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 1]]
    with pytest.raises(RuntimeError, match="before the bounds are known"):
        ActionDiscretizer(3)(TensorDict({"action": stored}, [2]))


def test_every_category_maps_to_its_own_interval(toy: MakeEnv) -> None:
    """`forward` of the middle of an interval is its category."""
    env = TransformedEnv(bounded(toy()), ActionDiscretizer(torch.tensor([3, 4])))
    every = env.action_spec.enumerate()
    transform = env.transform[0]
    inner = transform._inv_call({"action": every})["action"]
    assert torch.equal(transform(TensorDict({"action": inner}, [12]))["action"], every)


def test_nested_action() -> None:
    """The continuous action may be nested."""
    env = TransformedEnv(CountingEnv((2,), prefix=("agents",)), ActionDiscretizer(2, ("agents", "action")))
    check_env_specs(env)
    data = env.rollout(1)
    assert set((data["next", "agents", "reward"] - 1).flatten().tolist()) <= {-0.5, 0.5}


def test_wiring(toy: MakeEnv) -> None:
    """A number below 1, a wrong key, missing bounds and a wrong number of numbers are told."""
    with pytest.raises(ValueError, match="num_intervals"):
        ActionDiscretizer(0)
    with pytest.raises(SpecError, match='"actoin"'):
        TransformedEnv(toy(), ActionDiscretizer(3, "actoin"))
    with pytest.raises(SpecError, match="action of 2 elements"):
        TransformedEnv(toy(), ActionDiscretizer(torch.tensor([3, 4, 5])))
    base = toy()
    base.action_spec = Unbounded(shape=(2,))
    with pytest.raises(SpecError, match="no floating-point action with bounds"):
        TransformedEnv(base, ActionDiscretizer(3))
    base.action_spec = Bounded(0.0, float("inf"), shape=(2,))
    with pytest.raises(SpecError, match="infinite bounds"):
        TransformedEnv(base, ActionDiscretizer(3))


@pytest.mark.parametrize("batch_size", [(2,), (2, 3)], ids=str)
def test_bounds_that_differ_from_row_to_row(toy: MakeEnv, batch_size: tuple[int, ...]) -> None:
    """Stored actions of row 0 in [0, 4] and of row 1 in [0, 8] are in the intervals of their row, time behind the
    batch; data whose rows are not known are refused."""
    base = toy(batch_size)
    scale = torch.tensor([4.0, 8.0]).reshape(2, *[1] * len(batch_size))
    high = scale.expand(*batch_size, 2).clone()
    base.action_spec = Bounded(torch.zeros_like(high), high, shape=high.shape, dtype=torch.float32)
    transform = ActionDiscretizer(4)
    env = TransformedEnv(base, transform)
    check_env_specs(env)
    for lead in (batch_size, (*batch_size, 5)):
        data = TensorDict({"action": torch.full((*lead, 2), 3.5)}, lead)
        found = transform(data)["action"]
        assert found[0].eq(3).all()
        assert found[1].eq(1).all()
    with pytest.raises(ShapeError, match="bounds differ from row to row"):
        transform(TensorDict({"action": torch.zeros(7, 2)}, [7]))
