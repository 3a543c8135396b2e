"""Tests of `rl_envs.serial`."""

from functools import partial
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs import EnvBase, GymEnv, ParallelEnv, PendulumEnv, SerialEnv, check_env_specs
from rl_envs.testing import CountingEnv, EnvConformance, TensorDictCountingEnv
from rl_specs import MissingKeyError, SpecError


class TestOfSingles(EnvConformance):
    """Single Gymnasium environments in a row keep every promise."""

    def make_env(self) -> EnvBase:
        """Three cart poles."""
        return SerialEnv(3, lambda: GymEnv("CartPole-v1"))


class TestOfBatches(EnvConformance):
    """Batched environments in a row keep every promise."""

    def make_env(self) -> EnvBase:
        """Two pairs, nested keys, episodes of different lengths."""
        return SerialEnv(2, lambda: CountingEnv((2,), max_steps=[2, 3], prefix=("agents",)))


class TestOfTensorDictEnvs(EnvConformance):
    """Environments that take TensorDicts, in a row, keep every promise."""

    def make_env(self) -> EnvBase:
        """Two of them."""
        return SerialEnv(2, TensorDictCountingEnv)


def seeded_rollout(env: EnvBase, actions: list[torch.Tensor]) -> TensorDictBase:
    """Steps with these actions."""
    root: TensorDictBase = env.reset(seed=5)
    steps = []
    for action in actions:
        stepped, root = env.step_and_maybe_reset(root.set("action", action))
        steps.append(stepped.clone())
    batch: TensorDictBase = TensorDict.stack(steps, -1)
    return batch


def test_rows_equal_single_envs_bitwise() -> None:
    """Each row is what its environment gives alone with the same seed position and actions, across resets."""
    serial = SerialEnv(3, lambda: GymEnv("CartPole-v1"))
    actions = [serial.rand_action()["action"] for _ in range(60)]
    together = seeded_rollout(serial, actions)
    assert together["next", "done"].any()
    for index in range(3):
        alone = GymEnv("CartPole-v1")
        alone.set_seed(5, first_index=index)
        root: TensorDictBase = alone.reset()
        for time, action in enumerate(actions):
            stepped, root = alone.step_and_maybe_reset(root.set("action", action[index]))
            assert (stepped == together[index, time]).all()


@pytest.mark.parametrize("split", [(1, 4), (2, 2), (4, 1)])
def test_data_do_not_depend_on_the_split(split: tuple[int, int]) -> None:
    """Four pendulums give the same data as one batch and in any split over workers."""
    workers, rows = split
    whole, parts = PendulumEnv((4,)), SerialEnv(workers, lambda: PendulumEnv((rows,)))
    actions = [whole.rand_action()["action"] for _ in range(10)]
    expected = seeded_rollout(whole, actions)
    found = seeded_rollout(parts, [action.reshape(workers, rows, 1) for action in actions])
    assert (found.reshape(4, 10) == expected).all()


def test_list_of_makers() -> None:
    """Each environment may have a maker of its own, which may give other numbers but not other specs."""
    env = SerialEnv(2, [lambda: CountingEnv(max_steps=2), lambda: CountingEnv(max_steps=4)])
    check_env_specs(env)
    assert env.rollout(3, break_when_any_done=False)["next", "done"].squeeze(-1).tolist() == [
        [False, True, False],
        [False, False, False],
    ]
    with pytest.raises(ValueError, match="another number of callables"):
        SerialEnv(3, [CountingEnv, CountingEnv])


@pytest.mark.parametrize("kind", [SerialEnv, partial(ParallelEnv, start_method="fork")])
def test_keyword_arguments_of_the_makers(kind: Any) -> None:
    """One mapping goes to every environment, a list of them one to each; anything else is refused by name."""
    for options, done in (({"max_steps": 2}, [True, True]), ([{"max_steps": 1}, {"max_steps": 4}], [True, False])):
        with kind(2, CountingEnv, create_env_kwargs=options) as env:
            assert env.rollout(2, break_when_any_done=False)["next", "done"][:, 1].flatten().tolist() == done
    with pytest.raises(ValueError, match=r"another number of create_env_kwargs.*Expected 2, found 3"):
        kind(2, CountingEnv, create_env_kwargs=[{}] * 3)
    for wrong in (3, ["max_steps"], [{1: 2}, {}]):
        with pytest.raises(TypeError, match=r"create_env_kwargs.*a mapping from names"):
            kind(2, CountingEnv, create_env_kwargs=wrong)
    with pytest.raises(TypeError, match="max_step"):
        kind(2, CountingEnv, create_env_kwargs={"max_step": 3})


def test_other_specs_are_an_error() -> None:
    """Environments with different specs are refused, with a table of the differences."""
    with pytest.raises(SpecError, match=r"env 1 differ from those of env 0(.|\n)*agents"):
        SerialEnv(2, [CountingEnv, lambda: CountingEnv(prefix=("agents",))])


def test_life_is_passed_on() -> None:
    """Mode and closing reach every environment; states of another number of them are refused."""
    env = SerialEnv(2, CountingEnv)
    env.eval()
    assert not any(each.training for each in env.envs)
    with pytest.raises(ValueError, match="another number of envs"):
        SerialEnv(3, CountingEnv).set_state(env.get_state())
    env.close()
    assert all(each.is_closed for each in env.envs)


def test_a_step_of_some_rows_moves_these_alone() -> None:
    """With a mask `"_step"`, environments outside it stand still, singles and batches that know the mask alike."""
    env = SerialEnv(3, CountingEnv)
    assert env.steps_rows
    root = env.reset()
    mask = torch.tensor([[True], [False], [True]])
    for _ in range(2):
        following = env._step({"action": torch.zeros(3, 1), "observation": root["observation"], "_step": mask})
    assert following["observation"].tolist() == [[2.0], [0.0], [2.0]]
    assert [inner.get_state()["count"].item() for inner in env.envs] == [2.0, 0.0, 2.0]
    nested = SerialEnv(2, lambda: SerialEnv(2, CountingEnv))
    nested.reset()
    rows = torch.tensor([[[True], [False]], [[False], [False]]])
    nested._step({"action": torch.zeros(2, 2, 1), "_step": rows})
    assert nested.get_state()["envs"][0]["envs"][0]["count"].item() == 1.0
    assert nested.get_state()["envs"][0]["envs"][1]["count"].item() == 0.0
    none = env._step({"action": torch.zeros(3, 1), "_step": torch.zeros(3, 1, dtype=torch.bool)})
    assert set(none) == {"observation", "reward", "done", "terminated", "truncated"}
    assert not SerialEnv(2, lambda: CountingEnv((2,))).steps_rows


def test_random_actions_after_a_recurrent_policy() -> None:
    """A policy that writes its next state itself leaves nothing behind in the environments."""

    def policy(data: TensorDictBase) -> TensorDictBase:
        data["action"] = torch.zeros(2, 1)
        data["next", "hidden"] = torch.ones(2, 1)
        return data

    env = SerialEnv(2, CountingEnv)
    assert env.rollout(3, policy)["next", "hidden"].shape == (2, 3, 1)
    assert "hidden" not in env.rollout(3)["next"]


def test_a_state_without_environments_is_named() -> None:
    """An empty state says what it lacks."""
    with pytest.raises(MissingKeyError, match='"envs" missing'):
        SerialEnv(2, CountingEnv).set_state({})
