"""Actions in a range of their own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import ActionScaling, EnvBase, StepCounter, TransformedEnv, check_env_specs
from rl_envs.testing import CountingEnv
from rl_specs import Bounded, Composite, MissingKeyError, ShapeError, SpecError, Unbounded

MakeEnv = Callable[..., Any]


def with_bounds(base: Any, low: Any, high: Any, dtype: torch.dtype = torch.float32) -> Any:
    """The toy with other bounds of its two-element action."""
    shape = (*base.batch_size, 2)
    base.action_spec = Bounded(torch.as_tensor(low), torch.as_tensor(high), shape=shape, dtype=dtype)
    return base


@pytest.mark.parametrize("batch_size", [(), (3,), (2, 2)], ids=str)
def test_the_environment_gets_its_own_bounds(toy: MakeEnv, batch_size: tuple[int, ...]) -> None:
    """-1, 0 and 1 become the lowest, middle and highest action, elementwise."""
    env = TransformedEnv(with_bounds(toy(batch_size), [0.0, -4.0], [2.0, 4.0]), ActionScaling())
    spec = env.action_spec
    assert isinstance(spec, Bounded)
    assert set(spec.low.flatten().tolist()) == {-1.0}
    assert set(spec.high.flatten().tolist()) == {1.0}
    check_env_specs(env)
    root = env.reset().set("action", torch.tensor([-1.0, 0.5]).expand(*batch_size, 2))
    stepped = env.step(root)
    assert env.base_env.actions[-1].reshape(-1, 2)[0].tolist() == [0.0, 2.0]  # type: ignore[attr-defined]  # the toy
    assert stepped["action"].reshape(-1, 2)[0].tolist() == [-1.0, 0.5]  # the data keep the policy's


def test_zero_to_one(toy: MakeEnv) -> None:
    """With `standard_normal=False`, 0 is the lowest action and 1 the highest."""
    transform = ActionScaling(standard_normal=False)
    env = TransformedEnv(with_bounds(toy(), [0.0, -4.0], [2.0, 4.0]), transform)
    assert isinstance(env.action_spec, Bounded)
    assert env.action_spec.low.tolist() == [0.0, 0.0]
    assert transform._inv_apply_transform(torch.tensor([0.25, 0.0])).tolist() == [0.5, -4.0]
    assert transform(TensorDict({"action": torch.tensor([0.5, 4.0])}))["action"].tolist() == [0.25, 1.0]


def test_rounding_never_leaves_the_bounds(toy: MakeEnv) -> None:
    """The highest action of the policy is inside the bounds of the environment, whatever these are."""
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        low = torch.randn(2, generator=generator)
        high = low + torch.rand(2, generator=generator) + 1e-3
        transform = ActionScaling()
        env = TransformedEnv(with_bounds(toy(), low, high), transform)
        inner = env.base_env.action_spec
        for end in (-1.0, 1.0):
            assert inner.is_in(transform._inv_apply_transform(torch.full((2,), end)))


def test_forward_is_the_way_back(toy: MakeEnv) -> None:
    """`forward` maps stored actions of the environment, of any batch shape, to those of the policy."""
    env = TransformedEnv(with_bounds(toy((3,)), [0.0, -4.0], [2.0, 4.0]), ActionScaling())
    free = env.transform[0].clone()
    stored = torch.tensor([[1.5, 0.0], [2.0, -4.0]])
    assert free(TensorDict({"action": stored}, [2]))["action"].tolist() == [[0.5, 0.0], [1.0, -1.0]]
    given = torch.rand(5, 4, 2) * 2 - 1
    inner = free._inv_apply_transform(given)
    assert torch.allclose(free(TensorDict({"action": inner}, [5, 4]))["action"], given, atol=1e-6)
    other = ActionScaling(in_keys=["a"], out_keys=["b"], loc=1.0, scale=2.0)
    assert other(TensorDict({"a": torch.tensor([3.0])}))["b"].tolist() == [1.0]
    with pytest.raises(MissingKeyError, match="ActionScaling"):
        free(TensorDict({"other": stored}, [2]))


def test_constants_of_ones_own(toy: MakeEnv) -> None:
    """`loc` and `scale` stand in for missing bounds, and give the bounds of the policy where there are some."""
    base = toy()
    base.action_spec = Unbounded(shape=(2,))
    env = TransformedEnv(base, ActionScaling(loc=1.0, scale=2.0))
    assert isinstance(env.action_spec, Unbounded)
    env.step(env.reset().set("action", torch.ones(2)))
    assert base.actions[-1].tolist() == [3.0, 3.0]
    env = TransformedEnv(with_bounds(toy(), [-1.0, -1.0], [3.0, 5.0]), ActionScaling(loc=1.0, scale=2.0))
    assert isinstance(env.action_spec, Bounded)
    assert (env.action_spec.low.tolist(), env.action_spec.high.tolist()) == ([-1.0, -1.0], [1.0, 2.0])


def test_nested_and_renamed_action() -> None:
    """A nested action can have another name outside."""
    env = TransformedEnv(CountingEnv((2,), prefix=("agents",)), ActionScaling([("agents", "action")], ["scaled"]))
    check_env_specs(env)
    assert env.action_keys == ["scaled"]
    assert env.rollout(2)["scaled"].shape == (2, 2, 1)


def test_several_actions_and_unequal_rows() -> None:
    """One transform for each action; rows with bounds of their own are scaled by these."""

    class Two(EnvBase):
        accepts_mapping = True

        def __init__(self) -> None:
            super().__init__(batch_size=(2,))
            wide = torch.tensor([[1.0], [10.0]])
            actions = {"a": Bounded(-wide, wide), "b": Bounded(0.0, 4.0, shape=(2, 1))}
            self.action_spec = Composite(actions, shape=(2,))
            self.observation_spec = Unbounded(shape=(2, 1))

        def _reset(self, data: Any) -> Any:
            return {"observation": torch.zeros(2, 1)}

        def _step(self, data: Any) -> Any:
            return {"observation": data["a"], "reward": data["b"], "done": torch.zeros(2, 1, dtype=torch.bool)}

        def _set_seed(self, seed: int) -> None:
            return None

    env = TransformedEnv(Two(), [ActionScaling("a"), ActionScaling("b")])
    given = {"a": torch.full((2, 1), 0.5), "b": torch.zeros(2, 1)}
    stepped = env.step(env.reset().update(given))
    assert stepped["next", "observation"].tolist() == [[0.5], [5.0]]
    assert stepped["next", "reward"].tolist() == [[2.0], [2.0]]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"in_keys_inv": ["a", "b"]}, "one"),
        ({"loc": 1.0}, "both or none"),
        ({"loc": 1.0, "scale": 0.0}, "not positive"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], part: str) -> None:
    """Several keys, half of the constants and a scale of zero are errors that say so."""
    with pytest.raises(ValueError, match=part):
        ActionScaling(**arguments)


def test_wiring(toy: MakeEnv) -> None:
    """A wrong key, and an action without bounds, are told when connected; a free transform says what it lacks."""
    with pytest.raises(SpecError, match=r'"actoin" missing .*Did you mean "action"'):
        TransformedEnv(toy(), ActionScaling(["actoin"]))
    base = toy()
    base.action_spec = Unbounded(shape=(2,))
    with pytest.raises(SpecError, match="no finite bounds"):
        TransformedEnv(base, [StepCounter(), ActionScaling()])
    with pytest.raises(RuntimeError, match="before loc and scale are known"):
        ActionScaling()(TensorDict({"action": torch.zeros(1)}))


@pytest.mark.parametrize("batch_size", [(2,), (2, 3)], ids=str)
def test_stored_actions_of_bounds_that_differ(toy: MakeEnv, batch_size: tuple[int, ...]) -> None:
    """Row 0 in [0, 4] and row 1 in [0, 8]: the stored action 4 is 1 there and 0 here, with time behind the batch too;
    data whose rows are not known are refused."""
    base = toy(batch_size)
    high = torch.tensor([4.0, 8.0]).reshape(2, *[1] * len(batch_size)).expand(*batch_size, 2).clone()
    base.action_spec = Bounded(torch.zeros_like(high), high, shape=high.shape, dtype=torch.float32)
    transform = ActionScaling()
    check_env_specs(TransformedEnv(base, transform))
    for lead in (batch_size, (*batch_size, 2)):
        found = transform(TensorDict({"action": torch.full((*lead, 2), 4.0)}, lead))["action"]
        assert found[0].eq(1).all()
        assert found[1].eq(0).all()
    with pytest.raises(ShapeError, match="bounds differ from row to row"):
        transform(TensorDict({"action": torch.zeros(7, 2)}, [7]))
