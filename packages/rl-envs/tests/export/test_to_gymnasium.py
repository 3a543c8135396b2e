"""Tests of `rl_envs.export.to_gymnasium`."""

from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from rl_envs import (
    EnvBase,
    GymEnv,
    GymWrapper,
    PendulumEnv,
    RewardSum,
    StepCounter,
    TicTacToeEnv,
    TransformedEnv,
    to_gymnasium,
)
from rl_envs.testing import (
    CountingEnv,
    DiscreteCountingEnv,
    GrowingEnv,
    MultiKeyCountingEnv,
    NestedCountingEnv,
    ScheduledEnv,
    TextCountingEnv,
)
from rl_envs.testing.discrete import Encoding
from rl_specs import MissingKeyError, ShapeError

PLAYER = ("player0", "reward")


@pytest.mark.filterwarnings("ignore:.*Box.*|.*alternative render modes.*")
@pytest.mark.parametrize(
    ("make", "reward_key"),
    [
        (CountingEnv, None),
        (PendulumEnv, None),
        (lambda: TransformedEnv(GymEnv("CartPole-v1"), [RewardSum(), StepCounter()]), None),
        (TicTacToeEnv, PLAYER),
        (lambda: TicTacToeEnv(single_player=True), PLAYER),
        (lambda: MultiKeyCountingEnv(max_steps=9), ("left", "reward")),
        (TextCountingEnv, None),
    ],
)
def test_the_checker_passes(make: Callable[[], EnvBase], reward_key: tuple[str, ...] | None) -> None:
    """Gymnasium's own checker accepts the export."""
    check_env(to_gymnasium(make(), reward_key=reward_key))


def test_there_and_back_again() -> None:
    """An exported environment wrapped again gives the data of the original, bit for bit."""
    original, again = PendulumEnv(), GymWrapper(to_gymnasium(PendulumEnv()))
    original.set_seed(5)
    again.set_seed(5)
    policy = lambda data: data.set("action", data["observation"][2:].clamp(-2, 2) * 0.3)  # noqa: E731
    first, second = original.rollout(20, policy), again.rollout(20, policy)
    for key in ("observation", "action", ("next", "observation"), ("next", "reward")):
        assert torch.equal(first[key], second[key]), key


def test_same_numbers_as_raw_gymnasium() -> None:
    """A Gymnasium environment wrapped and exported is the raw one: observations, rewards, flags."""
    raw, exported = gymnasium.make("CartPole-v1"), to_gymnasium(GymEnv("CartPole-v1"))
    first, _ = raw.reset(seed=3)
    second, _ = exported.reset(seed=3)
    assert np.array_equal(first, second)
    for step in range(60):
        action = step % 2
        left, right = raw.step(np.int64(action)), exported.step(np.int64(action))
        assert np.array_equal(left[0], right[0])
        assert tuple(map(float, left[1:4])) == tuple(map(float, right[1:4]))
        if left[2]:
            break


@pytest.mark.parametrize(
    ("encoding", "space", "action", "reward"),
    [
        ("categorical", gymnasium.spaces.Discrete(4), 3, 4),
        ("one_hot", gymnasium.spaces.Discrete(4), 2, 4),
        ("multi_categorical", gymnasium.spaces.MultiDiscrete([2, 3]), np.array([1, 2]), 6),
        ("multi_one_hot", gymnasium.spaces.MultiDiscrete([2, 3]), np.array([1, 0]), 6),
        ("binary", gymnasium.spaces.MultiBinary(3), np.array([1, 0, 1]), 5),
    ],
)
def test_discrete_actions(encoding: Encoding, space: "gymnasium.Space[object]", action: object, reward: float) -> None:
    """One-hot actions are offered as indices, and each action reaches the environment in its own form."""
    exported = to_gymnasium(DiscreteCountingEnv(encoding=encoding))
    assert exported.action_space == space
    exported.reset()
    assert exported.step(action)[1] == reward


def test_flags_and_reward_are_plain() -> None:
    """The reward is a float, the flags are bools, and the two reasons of an end are apart."""
    exported = to_gymnasium(ScheduledEnv([1, 1], ["truncated", "terminated"]))
    for expected in ((False, True), (True, False)):
        exported.reset()
        _, reward, terminated, truncated, _ = exported.step(np.zeros(1, np.float32))
        assert (terminated, truncated) == expected
        assert type(reward) is float
        assert type(terminated) is type(truncated) is bool


def test_several_entries_are_dicts() -> None:
    """Nested observations and actions are nested dicts; rewards that were not chosen are in the info."""
    exported = to_gymnasium(MultiKeyCountingEnv(), reward_key=("left", "reward"))
    assert isinstance(exported.observation_space, gymnasium.spaces.Dict)
    assert set(exported.observation_space.spaces) == {"count", "right"}
    exported.reset()
    action = {"left": {"action": np.array([0.5], np.float32)}, "right": {"action": np.array([1, 2])}}
    observation, reward, _, _, info = exported.step(action)
    assert observation["right"]["count"].tolist() == [[1.0], [1.0]]
    assert reward == 1.5
    assert info["right"]["reward"].tolist() == [2.0, 3.0]


def test_observations_in_the_info() -> None:
    """Entries named in `info_keys` leave the observation for the info."""
    exported = to_gymnasium(TicTacToeEnv(), reward_key=PLAYER, info_keys=["mask", "turn"])
    assert exported.observation_space.shape == (3, 3)
    _, info = exported.reset()
    assert info["mask"].tolist() == [1] * 9
    assert info["turn"].tolist() == [0]


def test_text_is_text() -> None:
    """Text is a string of a `Text` space, or goes into the info as it is, as any object may."""
    exported = to_gymnasium(TextCountingEnv())
    observation, _ = exported.reset()
    assert observation["text"] == "step 0"
    assert observation in exported.observation_space
    assert exported.step(np.zeros(1, np.float32))[0]["text"] == "step 1"
    beside = to_gymnasium(TextCountingEnv(), info_keys=["text"])
    assert beside.reset()[1]["text"] == "step 0"


def test_rewards_of_members_are_added_up_on_request() -> None:
    """A reward of several members is an error that names the way out, and their sum where that is asked for."""
    key = ("agents", "reward")
    with pytest.raises(ShapeError, match=r'reward \("agents", "reward"\) has 2 members.*sum_rewards=True'):
        to_gymnasium(NestedCountingEnv(), reward_key=key)
    exported = to_gymnasium(NestedCountingEnv(), reward_key=key, sum_rewards=True)
    exported.reset()
    assert exported.step(np.array([[0.25], [0.5]], np.float32))[1] == 2.75


def test_open_sizes_have_no_space() -> None:
    """An observation of any size is refused by name, and may go into the info."""
    with pytest.raises(ShapeError, match="leaves a size open"):
        to_gymnasium(GrowingEnv())


@pytest.mark.filterwarnings("ignore:.*Box.*|.*alternative render modes.*")
def test_frames_are_passed_through() -> None:
    """With a `render_mode`, `render` gives the frames of the environment inside, and the checker passes."""
    raw = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    inner = TransformedEnv(GymEnv("CartPole-v1", render_mode="rgb_array"), StepCounter())
    exported = to_gymnasium(inner, render_mode="rgb_array")
    raw.reset(seed=3)
    exported.reset(seed=3)
    frame = exported.render()
    assert isinstance(frame, np.ndarray)
    assert frame.dtype == np.uint8
    assert np.array_equal(frame, np.asarray(raw.render()))
    assert exported.metadata["render_fps"] == raw.metadata["render_fps"]
    check_env(exported)
    raw.close()


def test_frames_that_are_not_there() -> None:
    """A `render_mode` without frames, another one, and `render` without one are errors with a way out."""
    with pytest.raises(ValueError, match=r"CountingEnv has no method render\(\)"):
        to_gymnasium(CountingEnv(), render_mode="rgb_array")
    with pytest.raises(ValueError, match="rgb_array"):
        to_gymnasium(GymEnv("CartPole-v1"), render_mode="human")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match='Export it with render_mode="rgb_array"'):
        to_gymnasium(CountingEnv()).render()


def test_arrays_belong_to_the_caller() -> None:
    """Writing into an observation changes neither the environment nor later observations."""
    exported = to_gymnasium(CountingEnv(max_steps=9))
    observation, _ = exported.reset()
    observation[:] = 100
    first = exported.step(np.zeros(1, np.float32))[0]
    assert first.tolist() == [1.0]
    first[:] = 100
    assert exported.step(np.zeros(1, np.float32))[0].tolist() == [2.0]


def test_mistakes() -> None:
    """Batches, several rewards, unknown names, no environment, a step before the reset: errors with a way out."""
    with pytest.raises(ShapeError, match="to_gymnasium_vector"):
        to_gymnasium(CountingEnv((2,)))
    with pytest.raises(KeyError, match=r"reward_key="):
        to_gymnasium(TicTacToeEnv())
    with pytest.raises(KeyError, match="names no reward"):
        to_gymnasium(TicTacToeEnv(), reward_key="reward")
    with pytest.raises(MissingKeyError, match="info_keys"):
        to_gymnasium(CountingEnv(), info_keys=["mask"])
    with pytest.raises(KeyError, match="no observation is left"):
        to_gymnasium(CountingEnv(), info_keys=["observation"])
    with pytest.raises(TypeError, match="no environment"):
        to_gymnasium(gymnasium.make("CartPole-v1"))  # type: ignore[arg-type]  # what is tested
    with pytest.raises(RuntimeError, match=r"Call reset\(\)"):
        to_gymnasium(CountingEnv()).step(np.zeros(1, np.float32))


@pytest.mark.parametrize(
    ("encoding", "action"),
    [
        ("categorical", np.zeros(3)),
        ("categorical", "left"),
        ("one_hot", 4),
        ("multi_one_hot", np.array([1])),
        ("binary", None),
    ],
)
def test_actions_of_another_form(encoding: Encoding, action: object) -> None:
    """An action that is not like those of the space is an error that shows the space."""
    exported = to_gymnasium(DiscreteCountingEnv(encoding=encoding))
    exported.reset()
    with pytest.raises(ValueError, match=r"no action of the action space. Expected (Multi)?(Discrete|Binary)\("):
        exported.step(action)
    exported = to_gymnasium(MultiKeyCountingEnv(), reward_key=("left", "reward"))
    exported.reset()
    with pytest.raises(ValueError, match=r"Expected Dict\(.*'left'"):
        exported.step({"left": {"action": np.array([0.5], np.float32)}})


def test_close() -> None:
    """Closing the export closes the environment."""
    env = CountingEnv()
    to_gymnasium(env).close()
    assert env.is_closed
