"""Rows in another shape."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs import (
    BatchSizeTransform,
    EnvBase,
    RewardSum,
    SerialEnv,
    StatelessPendulumEnv,
    StepCounter,
    TransformedEnv,
    check_env_specs,
)
from rl_envs.testing import CountingEnv, EnvConformance, StatelessCountingEnv, TensorDictCountingEnv
from rl_specs import ShapeError, SpecError

MakeEnv = Callable[..., Any]


class TestConformance(EnvConformance):
    """An environment that was given a batch size keeps every promise."""

    def make_env(self) -> EnvBase:
        """Three rows of an environment without a batch size of its own."""
        return TransformedEnv(StatelessCountingEnv(max_steps=3), [StepCounter(), BatchSizeTransform(batch_size=[3])])


@pytest.mark.parametrize("mapping", [True, False])
def test_six_rows_as_two_by_three(toy: MakeEnv, mapping: bool) -> None:
    """Entries, flags, rewards and actions have the new shape, rows their order; transforms on both sides work."""
    base = toy((6,), horizon=2, accepts_mapping=mapping)
    env = TransformedEnv(base, [StepCounter(), BatchSizeTransform(batch_size=(2, 3)), RewardSum()])
    assert env.batch_size == (2, 3)
    check_env_specs(env)
    data = env.rollout(4, break_when_any_done=False)
    assert data.shape == (2, 3, 4)
    inner = TransformedEnv(toy((6,), horizon=2), [StepCounter(), RewardSum()]).rollout(4, break_when_any_done=False)
    for key in ("step_count", ("next", "observation"), ("next", "episode_reward"), ("next", "done")):
        assert torch.equal(data[key].reshape(inner[key].shape), inner[key]), key
    assert base.actions[0].shape == (6, 2)


FUNCTIONS: list[tuple[Callable[[TensorDictBase], TensorDictBase], tuple[int, ...]]] = [
    (lambda td: td.reshape(3, 2), (3, 2)),
    (lambda td: td.unsqueeze(0), (1, 2, 3)),
    (lambda td: td.flatten(0, 1), (6,)),
    (lambda td: td.unsqueeze(-1).squeeze(-1), (2, 3)),
    (lambda td: td.unflatten(1, (3, 1)), (2, 3, 1)),
]


@pytest.mark.parametrize(("function", "expected"), FUNCTIONS)
def test_functions_of_shape(function: Any, expected: tuple[int, ...]) -> None:
    """`reshape`, `unsqueeze`, `flatten`, `squeeze` and `unflatten` all give the shape that they give a TensorDict."""
    env = TransformedEnv(CountingEnv((2, 3), max_steps=2), BatchSizeTransform(reshape_fn=function))
    assert env.batch_size == expected
    check_env_specs(env)
    env.rollout(5, break_when_any_done=False)


def test_a_single_environment_as_a_batch_of_one() -> None:
    """A single environment can be a batch of one, also one that takes TensorDicts, and be put in a row."""
    makers = [lambda: TransformedEnv(TensorDictCountingEnv(), BatchSizeTransform(batch_size=[1])) for _ in range(2)]
    env = SerialEnv(2, makers)
    assert env.batch_size == (2, 1)
    check_env_specs(env)


def test_partial_resets() -> None:
    """A mask of the new shape resets its rows and no other."""
    base = CountingEnv((4,), max_steps=100)
    env = TransformedEnv(base, BatchSizeTransform(batch_size=(2, 2)))
    root = env.rollout(3)[..., -1]["next"].exclude("reward")
    mask = torch.tensor([[True, False], [False, True]])
    assert env.reset(root.set("_reset", mask))["observation"].squeeze(-1).tolist() == [[0.0, 3.0], [3.0, 0.0]]
    assert base.get_state()["count"].flatten().tolist() == [0.0, 3.0, 3.0, 0.0]


def test_a_function_of_the_reset() -> None:
    """`reset_func` sees what was given and what the reset made, in the new shape, and gives the root."""
    seen: list[TensorDictBase | None] = []

    def shifted(given: TensorDictBase | None, made: TensorDictBase) -> TensorDictBase:
        seen.append(given)
        return made.set("observation", made["observation"] + 5)

    env = TransformedEnv(CountingEnv((4,)), BatchSizeTransform(batch_size=(2, 2), reset_func=shifted))
    assert env.reset()["observation"].flatten().tolist() == [5.0] * 4
    assert seen == [None]


def test_the_environment_for_the_function_of_the_reset(toy: MakeEnv) -> None:
    """With `env_kwarg` the function is handed the environment before the transform, whose specs it can read."""
    seen: list[EnvBase] = []

    def from_specs(given: TensorDictBase | None, made: TensorDictBase, env: EnvBase) -> TensorDictBase:
        seen.append(env)
        return made.set("observation", made["observation"] + len(env.batch_size))

    transform = BatchSizeTransform(batch_size=(2, 2), reset_func=from_specs, env_kwarg=True)
    env = TransformedEnv(CountingEnv((4,)), [StepCounter(), transform])
    assert env.reset()["observation"].flatten().tolist() == [1.0] * 4
    assert seen[0].batch_size == (4,)
    assert "step_count" in seen[0].observation_spec.keys()  # noqa: SIM118  a spec is no dict
    with pytest.raises(ValueError, match="env_kwarg without reset_func"):
        BatchSizeTransform(batch_size=(2,), env_kwarg=True)


def test_an_environment_without_a_batch_size_gets_one() -> None:
    """Five of an environment that is not `batch_locked`: each row counts its own steps, partial resets and transforms
    on both sides included; the result has a batch size of its own."""
    base = StatelessCountingEnv(max_steps=3)
    env = TransformedEnv(base, [StepCounter(), BatchSizeTransform(batch_size=[5]), RewardSum()])
    assert env.batch_size == (5,)
    assert env.batch_locked
    check_env_specs(env)
    data = env.rollout(4, lambda td: td.set("action", torch.zeros(5, 1)), break_when_any_done=False)
    assert data.shape == (5, 4)
    assert data["next", "count"].squeeze(-1).tolist() == [[1.0, 2.0, 3.0, 1.0]] * 5
    assert data["next", "episode_reward"].squeeze(-1).tolist() == [[1.0, 3.0, 6.0, 1.0]] * 5
    root = data[:, -1]["next"].exclude("reward")
    mask = torch.tensor([True, False, False, True, False])
    fresh = env.reset(root.set("_reset", mask))
    assert fresh["count"].flatten().tolist() == [0.0, 1.0, 1.0, 0.0, 1.0]
    assert fresh["step_count"].flatten().tolist() == [0, 1, 1, 0, 1]
    assert base.batch_size == ()
    assert base.rollout(2).shape == (2,)
    with pytest.raises(ShapeError, match="another batch size"):
        env.step(TensorDict({"action": torch.zeros(3, 1), "count": torch.zeros(3, 1)}, batch_size=[3]))


def test_a_batch_size_for_a_batch_without_one_of_its_own() -> None:
    """Given `[2, 3]`, specs of `[3]` are repeated, and those of `[6]`, which it does not end in, reshaped."""
    for own in ((3,), (6,)):
        env = TransformedEnv(StatelessCountingEnv(own), BatchSizeTransform(batch_size=(2, 3)))
        assert env.batch_size == (2, 3)
        assert env.batch_locked
        check_env_specs(env)
    squeezed = TransformedEnv(StatelessCountingEnv(), BatchSizeTransform(reshape_fn=lambda td: td.unsqueeze(-1)))
    assert squeezed.batch_size == (1,)
    check_env_specs(squeezed)


def test_resets_that_are_made_up() -> None:
    """`reset_func` with the environment may make the reset of the whole batch from its specs."""

    def drawn(given: TensorDictBase | None, made: TensorDictBase, env: EnvBase) -> TensorDictBase:
        result = env.full_observation_spec.zero()
        result["count"] += torch.arange(4.0).reshape(4, 1)
        return result.update(env.full_done_spec.zero())

    env = TransformedEnv(
        StatelessCountingEnv(max_steps=9), BatchSizeTransform(batch_size=[4], reset_func=drawn, env_kwarg=True)
    )
    assert env.rollout(2)["next", "count"].squeeze(-1).tolist() == [[1.0, 2.0], [2.0, 3.0], [3.0, 4.0], [4.0, 5.0]]


def test_transforms_come_and_go_around_a_given_batch_size() -> None:
    """Without the transform the environment takes any batch size again; what is inside of it is at the given one."""
    env = TransformedEnv(StatelessPendulumEnv(seed=0), [StepCounter(), BatchSizeTransform(batch_size=[3])])
    assert env.transform[1].parent.batch_size == (3,)
    assert env.rollout(2)["next", "th"].shape == (3, 2)
    env.append_transform(RewardSum())
    assert env.rollout(2)["next", "episode_reward"].shape == (3, 2, 1)
    env.remove_transform(1)
    assert env.batch_size == ()
    assert not env.batch_locked
    assert env.rollout(2, tensordict=StatelessPendulumEnv.gen_params(batch_size=[4])).shape == (4, 2)


def test_batch_size_of_the_views(toy: MakeEnv) -> None:
    """`parent` of a transform has the batch size before it; removing the transform restores the old one."""
    env: Any = TransformedEnv(toy((4,)), [StepCounter(), BatchSizeTransform(batch_size=(2, 2)), RewardSum()])
    assert env.transform[1].parent.batch_size == (4,)
    assert env.transform[2].parent.batch_size == (2, 2)
    env.transform[2].parent.rollout(2)
    env.remove_transform(1)
    assert env.batch_size == (4,)
    assert isinstance(env, EnvBase)
    check_env_specs(env)


def test_bad_use() -> None:
    """Other numbers of rows, another order of rows, both ways at once and stored data are refused."""
    with pytest.raises(ValueError, match="exactly one"):
        BatchSizeTransform()
    with pytest.raises(ValueError, match="exactly one"):
        BatchSizeTransform(batch_size=(2,), reshape_fn=lambda td: td)
    with pytest.raises(SpecError, match="not as many rows"):
        TransformedEnv(CountingEnv((4,)), BatchSizeTransform(batch_size=(3,)))
    with pytest.raises(SpecError, match="changes their order"):
        TransformedEnv(CountingEnv((2, 2)), BatchSizeTransform(reshape_fn=lambda td: td.permute(1, 0)))
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        BatchSizeTransform(batch_size=(1,))(TensorDict({"reward": torch.zeros(1)}))
