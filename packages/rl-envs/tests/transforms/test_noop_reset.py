"""Random starts."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rl_envs import (
    Compose,
    InitTracker,
    NoopResetEnv,
    RenameTransform,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    check_env_specs,
)
from rl_specs import SpecError

MakeEnv = Callable[..., Any]


def test_fixed_number(toy: MakeEnv) -> None:
    """With `random=False` a reset gives the observation after `noops` steps, flags down."""
    env = TransformedEnv(toy(horizon=100), Compose(StepCounter(step_count_key="inner"), NoopResetEnv(4, random=False)))
    env.append_transform(StepCounter())
    root = env.reset()
    assert root["observation"].tolist() == [4.0, 8.0, 12.0]
    assert (root["inner"].item(), root["step_count"].item()) == (4, 0)
    assert not root["done"].item()
    check_env_specs(env)


def test_actions_are_random_and_inside_the_bounds(toy: MakeEnv) -> None:
    """The actions differ and lie in the action spec."""
    base = toy(horizon=100)
    TransformedEnv(base, NoopResetEnv(5, random=False)).reset()
    actions = torch.stack(base.actions)
    assert actions.shape == (5, 2)
    assert len({tuple(action) for action in actions.tolist()}) == 5
    assert base.action_spec.is_in(actions)


def test_number_is_between_one_and_noops(toy: MakeEnv) -> None:
    """Over many resets every number from 1 to `noops` occurs and no other."""
    env = TransformedEnv(toy(horizon=100), NoopResetEnv(3))
    env.set_seed(0)
    assert {env.reset()["observation"][0].item() for _ in range(40)} == {1.0, 2.0, 3.0}


def test_an_episode_that_ends_is_started_anew(toy: MakeEnv) -> None:
    """With episodes of 3 steps, 4 steps end at the first step of the second episode, 3 at its start."""
    for noops, time in ((3, 0.0), (4, 1.0)):
        root = TransformedEnv(toy(horizon=3), NoopResetEnv(noops, random=False)).reset()
        assert root["observation"][0].item() == time
        assert not root["done"].item()


def test_stream_is_its_own(toy: MakeEnv) -> None:
    """The same seed gives the same starts, whatever torch's generator does, and leaves that one alone."""

    def starts(seed: int) -> list[float]:
        env = TransformedEnv(toy(horizon=100), NoopResetEnv(20))
        env.set_seed(seed)
        before = torch.get_rng_state()
        found = [env.reset()["observation"][0].item() for _ in range(6)]
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(3)
        return found

    assert starts(1) == starts(1)
    assert starts(1) != starts(2)


def test_stream_is_part_of_the_state(toy: MakeEnv) -> None:
    """A new env that loads the state has the same starts from then on."""
    env, other = (TransformedEnv(toy(horizon=100), NoopResetEnv(20)) for _ in range(2))
    env.reset()
    other.load_state_dict(env.state_dict())
    for _ in range(4):
        assert torch.equal(env.reset()["observation"], other.reset()["observation"])
    clone = TransformedEnv(toy(horizon=100), env.transform[0].clone())
    assert torch.equal(env.reset()["observation"], clone.reset()["observation"])


def test_sums_after_it_start_at_zero(toy: MakeEnv) -> None:
    """Rewards of the random steps are not part of the return."""
    data = TransformedEnv(toy(horizon=100), Compose(NoopResetEnv(2, random=False), RewardSum())).rollout(2)
    assert data["next", "episode_reward"].flatten().tolist() == [3.0, 7.0]


def test_misuse(toy: MakeEnv) -> None:
    """Batches and negative numbers are refused; 0 does nothing."""
    with pytest.raises(SpecError, match="Put NoopResetEnv into each environment"):
        TransformedEnv(toy((2,)), NoopResetEnv())
    with pytest.raises(ValueError, match="noops"):
        NoopResetEnv(-1)
    assert TransformedEnv(toy(), NoopResetEnv(0)).reset()["observation"].sum() == 0
    with pytest.raises(RuntimeError, match="not part of an environment"):
        NoopResetEnv(1)._reset({}, {})


def test_the_users_first_step_is_the_first(toy: MakeEnv) -> None:
    """The flag of `InitTracker` is up in the root that random steps lead to, under another name too, and down later."""
    names = RenameTransform(["is_init"], ["first"])
    env = TransformedEnv(toy(horizon=100), [InitTracker(), names, InitTracker(), NoopResetEnv(3)])
    check_env_specs(env)
    data = env.rollout(3)
    for key in ("first", "is_init"):
        assert data[key].flatten().tolist() == [True, False, False]
        assert not data["next", key].any()


def test_a_partial_reset_leaves_other_rows_alone(toy: MakeEnv) -> None:
    """Rows outside the mask stay bit-identical, in a row of environments and in a batch of one."""

    def make() -> TransformedEnv:
        return TransformedEnv(toy(horizon=100), NoopResetEnv(4, random=False))

    env = SerialEnv(2, make)
    root = env.step_and_maybe_reset(env.rand_action(env.reset()))[1]
    after = env.reset(root.clone().set("_reset", torch.tensor([[False], [True]])))
    assert after["observation"][:, 0].tolist() == [5.0, 4.0]
    assert env.step(env.rand_action(after))["next", "observation"][:, 0].tolist() == [6.0, 5.0]
    one = TransformedEnv(toy((1,), horizon=100), NoopResetEnv(4, random=False))
    root = one.step_and_maybe_reset(one.rand_action(one.reset()))[1]
    after = one.reset(root.clone().set("_reset", torch.tensor([[False]])))
    assert after["observation"][:, 0].tolist() == [5.0]
    assert one.step(one.rand_action(after))["next", "observation"][:, 0].tolist() == [6.0]
