"""The maximum over the last observations."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rl_envs import ClipTransform, ObservationNorm, ParallelEnv, SerialEnv, TimeMaxPool, TransformedEnv
from rl_specs import Bounded, MissingKeyError, SpecError

MakeEnv = Callable[..., Any]


def _rollout(env: Any, steps: int) -> Any:
    action = torch.full_like(env.full_action_spec["action"].zero(), 0.05)
    return env.rollout(steps, lambda data: data.set("action", action), break_when_any_done=False)


def test_by_hand(toy: MakeEnv) -> None:
    """`-t` falls: its maximum over the last two is one step behind; `t / 2` rises: its maximum is the present one."""
    env = TransformedEnv(toy(), TimeMaxPool([("agents", "x")], T=2))
    data = env.rollout(5, break_when_any_done=False)
    assert data["next", "agents", "x"].tolist() == [[0.5, 0], [1, -1], [1.5, -2], [0.5, 0], [1, -1]]
    assert data["agents", "x_past"].tolist() == [[[0, 0]], [[0.5, -1]], [[1, -2]], [[0, 0]], [[0.5, -1]]]


def test_rows_reset_apart(toy: MakeEnv) -> None:
    """Rows that end at different times each forget the past at their own resets."""
    env = TransformedEnv(toy((2,), horizon=2), TimeMaxPool([("agents", "x")], ["m"], T=3))
    assert _rollout(env, 4)["next", "m"][..., 1].tolist() == [[0, 0, 0, 0], [0, 0, -1, 0]]
    assert _rollout(env, 4)["m"][..., 1].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0]]


def test_reset_key_of_ones_own(toy: MakeEnv) -> None:
    """With `reset_key`, rows outside that mask keep their past and their maximum."""
    env = TransformedEnv(toy((2,)), TimeMaxPool([("agents", "x")], T=2, reset_key="mine"))
    root: dict[Any, torch.Tensor] = {"mine": torch.tensor([[True], [False]])}
    root |= {("agents", "x"): torch.ones(2, 2), ("agents", "x_past"): torch.full((2, 1, 2), -1.0)}
    after = env.transform[0]._reset(root, {("agents", "x"): torch.zeros(2, 2)})
    assert after["agents", "x"].tolist() == [[0, 0], [1, 1]]
    assert after["agents", "x_past"].tolist() == [[[0, 0]], [[-1, -1]]]


def test_specs(toy: MakeEnv) -> None:
    """The result has the bounds of the entry; the values carried are a state, with a dimension more."""
    env = TransformedEnv(toy((2,)), TimeMaxPool(["pixels"], T=4))
    assert env.full_observation_spec["pixels"] == Bounded(0, 255, shape=(2, 4, 5, 3), dtype=torch.uint8)
    assert env.full_observation_spec["pixels_past"] == Bounded(0, 255, shape=(2, 3, 4, 5, 3), dtype=torch.uint8)
    assert env.full_state_spec["pixels_past"].shape == (2, 3, 4, 5, 3)
    assert TransformedEnv(toy(), TimeMaxPool(T=1)).full_state_spec.is_empty()


def test_the_past_is_guarded(toy: MakeEnv) -> None:
    """Later transforms may write over the result, and not over the past."""
    pool = TimeMaxPool(["observation"], T=2)
    env = TransformedEnv(toy((2,)), [pool, ObservationNorm(0, 2, in_keys=["observation"])])
    plain = TransformedEnv(toy((2,)), TimeMaxPool(["observation"], T=2))
    assert (_rollout(env, 5)["next", "observation"] == 2 * _rollout(plain, 5)["next", "observation"]).all()
    with pytest.raises(SpecError, match='"observation_past" is a state that the environment reads back'):
        env.append_transform(ClipTransform(in_keys=["observation_past"], low=0))


def test_vectorised_inside_and_outside(toy: MakeEnv) -> None:
    """Inside of a `SerialEnv` or `ParallelEnv` the results are those of a transform around it."""

    def make() -> TransformedEnv:
        return TransformedEnv(toy(), TimeMaxPool([("agents", "x")], T=2))

    expected = _rollout(TransformedEnv(SerialEnv(2, toy), TimeMaxPool([("agents", "x")], T=2)), 6)
    assert (_rollout(SerialEnv(2, make), 6) == expected).all()
    with ParallelEnv(2, make, start_method="fork") as env:
        assert (_rollout(env, 6) == expected).all()


def test_offline_equals_online(toy: MakeEnv) -> None:
    """Pooled from a stored batch, entries are those that the environment made."""
    single = _rollout(toy((2,), horizon=2), 7)
    online = _rollout(TransformedEnv(toy((2,), horizon=2), TimeMaxPool([("agents", "x")], T=3)), 7)
    result = TimeMaxPool([("agents", "x"), ("next", "agents", "x")], T=3)(single)
    for key in (("agents", "x"), ("next", "agents", "x")):
        assert torch.equal(result[key], online[key]), key


def test_misuse(toy: MakeEnv) -> None:
    """A bad `T`, a reward, and a root without the past are refused."""
    with pytest.raises(ValueError, match="bad T"):
        TimeMaxPool(T=0)
    with pytest.raises(SpecError, match='"reward" is no observation'):
        TransformedEnv(toy(), TimeMaxPool(["reward"], T=2))
    env = TransformedEnv(toy(), TimeMaxPool(T=2))
    with pytest.raises(MissingKeyError, match='"observation_past" missing'):
        env.step(env.rand_action(env.reset()).exclude("observation_past"))
