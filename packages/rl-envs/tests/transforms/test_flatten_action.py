"""Actions of several dimensions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import FlattenAction, TransformedEnv, check_env_specs
from rl_specs import Bounded, Composite, MissingKeyError, NestedKey, ShapeError, SpecError

MakeEnv = Callable[..., Any]


def matrix(base: Any, *shape: int) -> Any:
    """The toy with an action of this shape per row."""
    base.action_spec = Bounded(-1.0, 1.0, shape=(*base.batch_size, *shape))
    return base


@pytest.mark.parametrize("batch_size", [(), (3,), (2, 2)], ids=str)
@pytest.mark.parametrize("dims", [(-2, -1), (0, 1)], ids=str)
def test_flat_outside_whole_inside(toy: MakeEnv, batch_size: tuple[int, ...], dims: tuple[int, int]) -> None:
    """The policy gives 6 numbers, the environment gets them as 2 rows of 3."""
    transform = FlattenAction(*dims, allow_positive_dim=True)
    env = TransformedEnv(matrix(toy(batch_size), 2, 3), transform)
    check_env_specs(env)
    assert env.action_spec.shape == (*batch_size, 6)
    action = (torch.arange(6) / 10).expand(*batch_size, 6)
    env.step(env.reset().set("action", action))
    given = env.base_env.actions[-1]  # type: ignore[attr-defined]  # the toy
    assert given.shape == (*batch_size, 2, 3)
    assert torch.equal(given.reshape(-1, 2, 3)[0], torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.4, 0.5]]))


def test_dimensions_in_the_middle(toy: MakeEnv) -> None:
    """Dimensions after the last one stay as they are."""
    env = TransformedEnv(matrix(toy((3,)), 2, 4, 5), FlattenAction(-3, -2))
    assert env.action_spec.shape == (3, 8, 5)
    action = torch.rand(3, 8, 5)
    env.step(env.reset().set("action", action))
    assert torch.equal(env.base_env.actions[-1], action.reshape(3, 2, 4, 5))  # type: ignore[attr-defined]  # the toy


def test_forward_flattens_stored_actions() -> None:
    """`forward` flattens on any batch; positive dimensions need the shape of an action."""
    stored = torch.rand(4, 7, 2, 3)
    assert FlattenAction()(TensorDict({"action": stored}, [4, 7]))["action"].shape == (4, 7, 6)
    named = FlattenAction(in_keys=["a"], out_keys=["flat"])(TensorDict({"a": stored}, [4]))
    assert torch.equal(named["flat"], stored.reshape(4, 7, 6))
    positive = FlattenAction(0, 1, allow_positive_dim=True, action_shape=(2, 3))
    assert positive(TensorDict({"action": stored}, [4, 7]))["action"].shape == (4, 7, 6)
    assert torch.equal(positive._inv_call({"action": stored.reshape(4, 7, 6)})["action"], stored)
    with pytest.raises(RuntimeError, match="action_shape"):
        FlattenAction(0, 1, allow_positive_dim=True)(TensorDict({"action": stored}, [4]))
    with pytest.raises(RuntimeError, match="action_shape"):
        FlattenAction()._inv_call({"action": stored})
    with pytest.raises(ShapeError, match="too few dimensions"):
        FlattenAction()(TensorDict({"action": torch.zeros(2)}, []))
    with pytest.raises(MissingKeyError, match="FlattenAction"):
        FlattenAction()(TensorDict({"other": stored}, [4]))


def test_several_actions_one_renamed(toy: MakeEnv) -> None:
    """The same dimensions of each action are flattened, and names can change."""
    base = toy((2,))
    actions = {"action": Bounded(-1.0, 1.0, shape=(2, 2, 3)), ("n", "b"): Bounded(0.0, 1.0, shape=(2, 5, 2, 2))}
    base.action_spec = Composite(actions, shape=(2,))
    keys: list[NestedKey] = ["action", ("n", "b")]
    env = TransformedEnv(base, FlattenAction(in_keys_inv=keys, out_keys_inv=["action", "flat"]))
    check_env_specs(env)
    assert env.full_action_spec["flat"].shape == (2, 5, 4)
    with pytest.raises(SpecError, match="different numbers of dimensions"):
        TransformedEnv(base, FlattenAction(0, 1, in_keys_inv=keys, allow_positive_dim=True))


def test_bad_dimensions(toy: MakeEnv) -> None:
    """Positive dimensions without leave, a wrong order, ones that the action lacks, and another shape are refused."""
    with pytest.raises(ValueError, match="allow_positive_dim"):
        FlattenAction(0, 1)
    with pytest.raises(ValueError, match="wrong order"):
        FlattenAction(-1, -2)
    with pytest.raises(SpecError, match="no such dimensions"):
        TransformedEnv(toy(), FlattenAction())
    with pytest.raises(SpecError, match=r"action_shape: \(3, 2\)"):
        TransformedEnv(matrix(toy(), 2, 3), FlattenAction(action_shape=(3, 2)))
    with pytest.raises(SpecError, match='"actoin"'):
        TransformedEnv(toy(), FlattenAction(in_keys_inv=["actoin"]))
