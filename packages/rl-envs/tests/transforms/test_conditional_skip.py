"""Steps that are left out."""

import pytest
import torch
from tensordict import TensorDict

from rl_envs import (
    ConditionalSkip,
    ObservationNorm,
    RewardClipping,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    check_env_specs,
)
from rl_envs.testing import CountingEnv, TensorDictCountingEnv
from rl_specs import Bounded, ShapeError, SpecError


def test_every_second_step_is_left_out() -> None:
    """The counter before it counts the steps taken, the one after it all; rewards are zero where nothing moves."""
    skip = ConditionalSkip(lambda td: td["step_count"] % 2 == 1)
    inner = StepCounter(step_count_key="inner")
    env = TransformedEnv(CountingEnv(max_steps=100), [inner, skip, StepCounter(), RewardSum()])
    check_env_specs(env)
    data = env.rollout(5, lambda td: td.set("action", torch.zeros(1)))
    assert data["next", "step_count"].flatten().tolist() == [1, 2, 3, 4, 5]
    assert data["next", "inner"].flatten().tolist() == [1, 1, 2, 2, 3]
    assert data["next", "observation"].flatten().tolist() == [1.0, 1.0, 2.0, 2.0, 3.0]
    assert data["next", "reward"].flatten().tolist() == [1.0, 0.0, 2.0, 0.0, 3.0]
    assert data["next", "episode_reward"].flatten().tolist() == [1.0, 1.0, 3.0, 3.0, 6.0]
    assert env.base_env.get_state()["count"].item() == 3.0


@pytest.mark.parametrize("shape", [(3,), (3, 1)], ids=str)
def test_rows_of_a_serial_env_differ(shape: tuple[int, ...]) -> None:
    """Where rows differ, those of a `SerialEnv` move and stand by themselves, around it and with partial resets."""
    rows = torch.tensor([True, False, True]).reshape(shape)
    base = SerialEnv(3, lambda: CountingEnv(max_steps=3))
    env = TransformedEnv(base, [ConditionalSkip(lambda td: rows), StepCounter()])
    check_env_specs(env)
    data = env.rollout(5, break_when_any_done=False)
    assert data["next", "observation"].squeeze(-1).tolist() == [[0.0] * 5, [1.0, 2.0, 3.0, 1.0, 2.0], [0.0] * 5]
    assert data["next", "done"][1].flatten().tolist() == [False, False, True, False, False]
    assert not data["next", "reward"][[0, 2]].any()


def test_inside_each_environment() -> None:
    """Within the environments of a row, each decides for itself."""

    def make() -> TransformedEnv:
        return TransformedEnv(TensorDictCountingEnv(), ConditionalSkip(lambda td: bool(td["action"] > 0)))

    env = SerialEnv(2, make)
    check_env_specs(env)
    root = env.reset().set("action", torch.tensor([[0.5], [-0.5]]))
    assert env.step(root)["next", "observation"].flatten().tolist() == [0.0, 1.0]


def test_an_environment_that_steps_all_rows_says_so() -> None:
    """Rows that differ are an error there that names the way out; all or none are fine."""
    mask = torch.tensor([[True], [True]])
    env = TransformedEnv(CountingEnv((2,)), ConditionalSkip(lambda td: mask))
    assert env.rollout(2)["next", "observation"].flatten().tolist() == [0.0] * 4
    mask[0] = False
    with pytest.raises(RuntimeError, match=r"ConditionalSkip: some rows .*SerialEnv"):
        env.step(env.rand_action(env.reset()))


def test_bad_use() -> None:
    """An answer of another shape, and stored data, are refused."""
    env = TransformedEnv(CountingEnv((2,)), ConditionalSkip(lambda td: torch.ones(3)))
    with pytest.raises(ShapeError, match=r"ConditionalSkip: cond.*\(2, 1\).*\(3,\)"):
        env.step(env.rand_action(env.reset()))
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        ConditionalSkip(lambda td: True)(TensorDict({"reward": torch.zeros(1)}))


def test_bounds_of_the_rewards() -> None:
    """A step that is left out has the reward 0, which the bounds hold."""
    env = TransformedEnv(CountingEnv(max_steps=9), [RewardClipping(1.0, 2.0), ConditionalSkip(lambda td: True)])
    assert env.full_reward_spec["reward"] == Bounded(0.0, 2.0, shape=(1,))
    check_env_specs(env)


def test_observations_are_not_changed_twice() -> None:
    """A transform behind it that changes observations in place, or takes them away, would do so to those of the root
    once more: it is refused, around a `SerialEnv` too; before it, or with another out key, it is fine."""

    def skipped() -> TransformedEnv:
        return TransformedEnv(CountingEnv(max_steps=9), ConditionalSkip(lambda td: td["observation"] == 1))

    norm = ObservationNorm(0.0, 2.0, in_keys=["observation"])
    for env, name in ((skipped(), "ConditionalSkip,"), (SerialEnv(2, skipped), "the environment inside")):
        with pytest.raises(SpecError, match=f'{name} reads "observation" back, and ObservationNorm changes it'):
            TransformedEnv(env, norm.clone())
    skip = ConditionalSkip(lambda td: td["observation"] == 2)
    env = TransformedEnv(CountingEnv(max_steps=9), [norm, skip])
    assert env.rollout(3)["next", "observation"].flatten().tolist() == [2.0, 2.0, 2.0]
    double = ObservationNorm(0.0, 2.0, in_keys=["observation"], out_keys=["double"])
    assert TransformedEnv(skipped(), double).rollout(3)["next", "double"].flatten().tolist() == [2.0, 2.0, 2.0]
    counted = TransformedEnv(CountingEnv(), [StepCounter(), ConditionalSkip(lambda td: True)])
    assert counted._carried_keys() == {"step_count": True, "observation": False}
