"""Several actions in one step."""

from functools import partial

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs import (
    EnvBase,
    MultiAction,
    RewardSum,
    SerialEnv,
    StepCounter,
    TensorDictPrimer,
    TimeMaxPool,
    TransformedEnv,
    check_env_specs,
)
from rl_envs.testing import CountingEnv, DiscreteCountingEnv
from rl_specs import ShapeError, SpecError, Unbounded


def _ending(max_steps: int) -> EnvBase:
    return CountingEnv(max_steps=max_steps)


def make(kind: str) -> EnvBase:
    """Rows that end after 4 and 5 steps, in one environment or in two."""
    if kind == "whole":
        return CountingEnv((2,), max_steps=[4, 5])
    return SerialEnv(2, [partial(_ending, n) for n in (4, 5)])


def _tenths(data: TensorDictBase) -> TensorDictBase:
    return data.set("action", torch.tensor([0.1, 0.2, 0.3]).reshape(3, 1).expand(*data.batch_size, 3, 1))


def test_actions_in_turn() -> None:
    """The rewards are those of count plus action for each action of the stack, the observation the last."""
    transforms = [StepCounter(), MultiAction(num_actions=3), StepCounter(step_count_key="outer")]
    env = TransformedEnv(CountingEnv((2,), max_steps=100), transforms)
    check_env_specs(env)
    assert env.action_spec.shape == (2, 3, 1)
    assert env.reward_spec.shape == (2, 3, 1)
    data = env.rollout(2, _tenths)
    assert torch.allclose(data["next", "reward"][0, 0].flatten(), torch.tensor([1.1, 2.2, 3.3]))
    assert torch.allclose(data["next", "reward"][1, 1].flatten(), torch.tensor([4.1, 5.2, 6.3]))
    assert data["next", "observation"].squeeze(-1).tolist() == [[3.0, 6.0]] * 2
    assert data["next", "step_count"][0].flatten().tolist() == [3, 6]
    assert data["next", "outer"][0].flatten().tolist() == [1, 2]


@pytest.mark.parametrize("kind", ["whole", "rows"])
def test_a_row_stops_at_its_end(kind: str) -> None:
    """Rows that end after 4 and 5 steps take 1 and 2 of the second stack; what is left gives rewards of zero."""
    env = TransformedEnv(make(kind), MultiAction(num_actions=3))
    check_env_specs(env)
    data = env.rollout(3, _tenths, break_when_any_done=False)
    assert torch.allclose(data["next", "reward"][0, 1].flatten(), torch.tensor([4.1, 0.0, 0.0]))
    assert torch.allclose(data["next", "reward"][1, 1].flatten(), torch.tensor([4.1, 5.2, 0.0]))
    assert data["next", "observation"].squeeze(-1).tolist() == [[3.0, 4.0, 3.0], [3.0, 5.0, 3.0]]
    assert data["next", "done"].squeeze(-1).tolist() == [[False, True, False]] * 2


@pytest.mark.parametrize("kind", ["whole", "rows"])
def test_the_last_reward_alone(kind: str) -> None:
    """Without stacked rewards a row gives that of the last step it has taken, also where it ended before the others."""
    env = TransformedEnv(make(kind), [MultiAction(num_actions=3, stack_rewards=False), RewardSum()])
    check_env_specs(env)
    assert env.full_reward_spec["reward"].shape == (2, 1)
    data = env.rollout(2, _tenths, break_when_any_done=False)
    assert torch.allclose(data["next", "reward"].squeeze(-1), torch.tensor([[3.3, 4.1], [3.3, 5.2]]))


@pytest.mark.parametrize("kind", ["whole", "rows"])
def test_stacked_observations(kind: str) -> None:
    """Each step has all observations of the stack, a reset its own three times; the environment reads the last."""
    env = TransformedEnv(make(kind), [StepCounter(), MultiAction(num_actions=3, stack_observations=True)])
    check_env_specs(env)
    root = env.reset()
    assert root["observation"].shape == (2, 3, 1)
    data = env.rollout(3, _tenths, break_when_any_done=False)
    assert data["next", "observation"][0].squeeze(-1).tolist() == [[1.0, 2.0, 3.0], [4.0, 4.0, 4.0], [1.0, 2.0, 3.0]]
    assert data["next", "step_count"][1].squeeze(-1).tolist() == [[1, 2, 3], [4, 5, 5], [1, 2, 3]]
    assert data["observation"][1].squeeze(-1).tolist() == [[0.0] * 3, [1.0, 2.0, 3.0], [0.0] * 3]


def test_another_dimension() -> None:
    """With `dim=2` the stack lies after the first dimension of the action."""
    base = CountingEnv((2,))
    env = TransformedEnv(base, MultiAction(num_actions=3, dim=2))
    check_env_specs(env)
    assert env.action_spec.shape == (2, 1, 3)
    given = torch.tensor([0.1, 0.2, 0.3]).expand(2, 1, 3)
    reward = env.step(env.reset().set("action", given))["next", "reward"]
    assert torch.allclose(reward[0], torch.tensor([[1.1, 2.2, 3.3]]))


def test_as_many_actions_as_are_given() -> None:
    """Without `num_actions` each step takes the actions that it is given; the specs leave their number open."""
    env = TransformedEnv(CountingEnv((2,), max_steps=100), MultiAction())
    assert env.action_spec.shape == (2, -1, 1)
    assert env.reward_spec.shape == (2, -1, 1)
    root = env.reset()
    for count, reached in ((1, 1.0), (4, 5.0), (2, 7.0)):
        stepped, root = env.step_and_maybe_reset(root.set("action", torch.zeros(2, count, 1)))
        assert stepped["next", "reward"].shape == (2, count, 1)
        assert stepped["next", "reward"][0].flatten().tolist() == [reached - count + 1 + step for step in range(count)]
        assert root["observation"].flatten().tolist() == [reached] * 2
    data = env.rollout(2, _tenths)
    assert torch.allclose(data[0, 1]["next", "reward"].flatten(), torch.tensor([4.1, 5.2, 6.3]))
    last = TransformedEnv(CountingEnv(max_steps=100), [MultiAction(stack_rewards=False), RewardSum()])
    assert last.rollout(2, _tenths)["next", "episode_reward"].flatten().tolist() == pytest.approx([3.3, 9.6])


def test_kinds_whose_number_can_be_left_open() -> None:
    """Categories can; one-hot actions, stacked observations and stacks of nothing are told."""
    env = TransformedEnv(DiscreteCountingEnv(), MultiAction())
    assert env.action_spec.shape[-1] == -1
    with pytest.raises(SpecError, match=r'num_actions: action "action" is of kind OneHot.*Give num_actions'):
        TransformedEnv(DiscreteCountingEnv(encoding="one_hot"), MultiAction())
    with pytest.raises(ValueError, match="stack_observations without num_actions"):
        MultiAction(stack_observations=True)
    env = TransformedEnv(CountingEnv(), MultiAction())
    with pytest.raises(ShapeError, match=r"another length. Expected 1 or more along dimension 0"):
        env._step({"action": torch.zeros(0, 1)})


def test_nested_keys() -> None:
    """Nested actions and rewards are stacked, too."""
    env = TransformedEnv(CountingEnv((2,), prefix=("agents",)), MultiAction(num_actions=2))
    check_env_specs(env)
    assert env.rollout(2)["next", "agents", "reward"].shape == (2, 2, 2, 1)


def test_bad_use() -> None:
    """Numbers below 1, a dimension that is not there, a stack of another length and stored data are refused."""
    with pytest.raises(ValueError, match="num_actions"):
        MultiAction(num_actions=0)
    with pytest.raises(ValueError, match="dim"):
        MultiAction(num_actions=2, dim=0)
    with pytest.raises(SpecError, match="has no place 3"):
        TransformedEnv(CountingEnv(), MultiAction(num_actions=2, dim=3))
    env = TransformedEnv(CountingEnv(), MultiAction(num_actions=2))
    with pytest.raises(ShapeError, match="another length"):
        env._step({"action": torch.zeros(3, 1)})
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        MultiAction(num_actions=2)(TensorDict({"reward": torch.zeros(1)}))
    assert isinstance(env.reward_spec, Unbounded)


def test_stacked_observations_that_are_states() -> None:
    """What a transform inside reads back, a hidden state say, is stacked in both specs and goes on from its last."""
    primer = TensorDictPrimer(hidden=Unbounded(shape=(2,)), default_value=3.0)
    pool = TimeMaxPool(["observation"], ["maximum"], T=2)
    multi = MultiAction(num_actions=2, stack_observations=True)
    env = TransformedEnv(CountingEnv((2,), max_steps=9), [primer, pool, multi])
    check_env_specs(env)
    assert env.full_state_spec["hidden"].shape == (2, 2, 2)
    data = env.rollout(3)
    assert data["next", "maximum"][0].flatten().tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert (data["hidden"] == 3).all()
