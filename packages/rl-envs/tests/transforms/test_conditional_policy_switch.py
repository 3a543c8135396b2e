"""Another policy in between."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs import (
    ConditionalPolicySwitch,
    InitTracker,
    RewardClipping,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    UnsqueezeTransform,
    check_env_specs,
)
from rl_envs.testing import CountingEnv
from rl_specs import Bounded

MakeEnv = Callable[..., Any]


def opponent(data: TensorDictBase) -> TensorDictBase:
    """Takes 0.5."""
    return data.set("action", torch.full((*data.batch_size, 1), 0.5))


def user(data: TensorDictBase) -> TensorDictBase:
    """Takes 0."""
    return data.set("action", torch.zeros(*data.batch_size, 1))


def test_alternating_turns() -> None:
    """The user moves at odd counts, the opponent answers in the same step; rewards add up, actions are the user's."""
    switch = ConditionalPolicySwitch(opponent, lambda td: td["step_count"] % 2 == 1)
    env = TransformedEnv(CountingEnv(max_steps=100), [StepCounter(), switch, RewardSum()])
    check_env_specs(env)
    data = env.rollout(3, user)
    assert data["next", "step_count"].flatten().tolist() == [2, 4, 6]
    assert data["next", "reward"].flatten().tolist() == [1 + 2.5, 3 + 4.5, 5 + 6.5]
    assert data["action"].flatten().tolist() == [0.0, 0.0, 0.0]
    assert data["next", "episode_reward"].flatten().tolist() == [3.5, 11.0, 22.5]


def test_the_opponent_may_begin() -> None:
    """Where the condition holds after a reset, the first move is the opponent's, in partial resets, too."""
    switch = ConditionalPolicySwitch(opponent, lambda td: td["step_count"] % 2 == 0)
    env = TransformedEnv(SerialEnv(2, lambda: CountingEnv(max_steps=4)), [StepCounter(), switch])
    check_env_specs(env)
    root = env.reset()
    assert root["step_count"].flatten().tolist() == [1, 1]
    after = env.reset(env.step(user(root))["next"].exclude("reward").set("_reset", torch.tensor([[True], [False]])))
    assert after["step_count"].flatten().tolist() == [1, 3]
    assert after["observation"].flatten().tolist() == [1.0, 3.0]


def test_a_partial_reset_moves_its_own_rows_alone() -> None:
    """A first move after the reset of one row leaves the environment of another where it is."""
    base = SerialEnv(2, CountingEnv)
    env = TransformedEnv(base, ConditionalPolicySwitch(opponent, lambda td: td.get("reward", None) is None))
    root = env.reset()
    assert root["observation"].flatten().tolist() == [1.0, 1.0]
    env.reset(root.set("_reset", torch.tensor([[True], [False]])))
    assert [inner.get_state()["count"].item() for inner in base.envs] == [1.0, 1.0]


def test_an_end_is_not_stepped_over() -> None:
    """A step of the user that ends the episode is the last one; other rows of the batch are answered."""
    switch = ConditionalPolicySwitch(opponent, lambda td: td.get("reward", None) is not None)
    env = TransformedEnv(CountingEnv((2,), max_steps=[3, 100]), switch)
    check_env_specs(env)
    data = env.rollout(3, user, break_when_any_done=False)
    assert data["next", "observation"].squeeze(-1).tolist() == [[2.0, 3.0, 2.0], [2.0, 4.0, 6.0]]
    assert data["next", "reward"].squeeze(-1).tolist() == [[3.5, 3.0, 3.5], [3.5, 7.5, 11.5]]


def test_rows_that_differ() -> None:
    """Rows of a `SerialEnv` are answered one by one; where all rows step together the error names the way out."""
    only = torch.tensor([[True], [False]])
    switch = ConditionalPolicySwitch(opponent, lambda td: only if td.get("reward", None) is not None else False)
    env = TransformedEnv(SerialEnv(2, CountingEnv), switch)
    assert env.rollout(2, user)["next", "observation"].squeeze(-1).tolist() == [[2.0, 4.0], [1.0, 2.0]]
    whole = TransformedEnv(CountingEnv((2,)), switch.clone())
    with pytest.raises(RuntimeError, match=r"ConditionalPolicySwitch: some rows .*SerialEnv"):
        whole.rollout(2, user)
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        switch.clone()(TensorDict({"reward": torch.zeros(1)}))


def test_the_users_first_step_is_the_first() -> None:
    """After a first move of the opponent the flag of `InitTracker` is up, inside of a `SerialEnv` too."""
    for base, before in (
        (CountingEnv(max_steps=4), [InitTracker()]),
        (SerialEnv(2, lambda: TransformedEnv(CountingEnv(max_steps=4), InitTracker())), []),
    ):
        switch = ConditionalPolicySwitch(opponent, lambda td: td["observation"] % 2 == 0)
        env = TransformedEnv(base, [*before, switch])
        check_env_specs(env)
        root = env.reset()
        assert root["observation"].flatten()[0] == 1.0
        assert root["is_init"].all()
        stepped, root = env.step_and_maybe_reset(user(root))
        assert not stepped["next", "is_init"].any()
        assert not root["is_init"].any()
        root = env.step_and_maybe_reset(user(root))[1]
        assert root["is_init"].all()
        assert root["observation"].flatten()[0] == 1.0


def test_bounds_of_the_rewards(toy: MakeEnv) -> None:
    """One reward or two, each from 0 to 1, are 0 to 2 together."""
    switch = ConditionalPolicySwitch(lambda td: td.set("action", torch.zeros(2, dtype=torch.float64)), lambda td: True)
    env = TransformedEnv(toy(), [RewardClipping(0.0, 1.0), switch])
    assert env.full_reward_spec["reward"] == Bounded(0.0, 2.0, shape=(1,))
    check_env_specs(env)


def test_a_partial_reset_under_transforms_that_change_observations() -> None:
    """The first move after the reset of one row sees what the environment returned, not what transforms further out
    have made of the observations of the other rows."""
    seen: list[torch.Tensor] = []

    def noting(data: TensorDictBase) -> TensorDictBase:
        seen.append(data["observation"])
        return opponent(data)

    switch = ConditionalPolicySwitch(noting, lambda td: td.get("reward", None) is None)
    env = TransformedEnv(SerialEnv(2, CountingEnv), [switch, UnsqueezeTransform(-1, ["observation"])])
    check_env_specs(env)
    root = env.reset()
    after = env.reset(root.set("_reset", torch.tensor([[True], [False]])))
    assert after["observation"].flatten().tolist() == [1.0, 1.0]
    assert seen[-1].shape == (2, 1)
