"""Tests of `rl_envs.gym`: single and looped environments."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rl_envs import EnvBase, GymEnv, GymWrapper, check_env_specs
from rl_envs.testing import EnvConformance
from rl_specs import Bounded, Categorical, OneHot, ShapeError, SpecError


class StepsEnv(gymnasium.Env[Any, Any]):
    """Counts its steps in one array that it writes again and again; records the actions it is given."""

    def __init__(self, length: int = 3) -> None:
        self.observation_space = spaces.Dict({"count": spaces.Box(-np.inf, np.inf, (1,), np.float64)})
        self.action_space = spaces.Box(-0.3, 0.3, (2,), np.float32)
        self.length = length
        self.count = np.zeros(1)
        self.actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start from 0."""
        super().reset(seed=seed)
        self.count[:] = 0
        return {"count": self.count}, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Count."""
        assert self.action_space.contains(action)
        self.actions.append(action)
        self.count += 1
        return {"count": self.count}, 1.0, bool(self.count[0] >= self.length), False, {}


class TestSingle(EnvConformance):
    """A Gymnasium environment keeps every promise."""

    def make_env(self) -> EnvBase:
        """CartPole."""
        return GymEnv("CartPole-v1")


class TestLoop(EnvConformance):
    """Several Gymnasium environments keep every promise."""

    def make_env(self) -> EnvBase:
        """Three of them, which end at different times."""
        return GymEnv("CartPole-v1", num_envs=3, categorical_action_encoding=True)


class TestMujoco(EnvConformance):
    """A MuJoCo environment keeps every promise."""

    def make_env(self) -> EnvBase:
        """An inverted double pendulum."""
        return GymEnv("InvertedDoublePendulum-v5", num_envs=2)


@pytest.mark.parametrize("name", ["Pendulum-v1", "FrozenLake-v1", "Blackjack-v1", "MountainCarContinuous-v0"])
@pytest.mark.parametrize("num_envs", [None, 2])
def test_specs_are_true(name: str, num_envs: int | None) -> None:
    """Environments with continuous, discrete and tuple observations return what their specs say."""
    check_env_specs(GymEnv(name, num_envs=num_envs))


def test_data_are_those_of_gymnasium() -> None:
    """Observations, rewards and flags are those of the raw environment with the same seed, in its dtype."""
    raw = gymnasium.make("InvertedDoublePendulum-v5")
    env = GymEnv("InvertedDoublePendulum-v5")
    env.set_seed(7)
    root = env.reset()
    expected, _ = raw.reset(seed=7)
    torch.manual_seed(0)
    for _ in range(30):
        assert root["observation"].dtype is torch.float64
        assert np.array_equal(root["observation"].numpy(), expected)
        stepped = env.rand_step(root)
        expected, reward, terminated, truncated, _ = raw.step(stepped["action"].numpy())
        assert stepped["next", "reward"].item() == pytest.approx(reward, rel=1e-6)
        assert stepped["next", "terminated"].item() == terminated
        assert stepped["next", "truncated"].item() == truncated
        if terminated:
            break
        root = stepped["next"].exclude("reward")


def test_discrete_actions_are_one_hot_by_default() -> None:
    """Discrete actions are one-hot, or indices when asked for."""
    assert isinstance(GymEnv("CartPole-v1").action_spec, OneHot)
    assert isinstance(GymEnv("CartPole-v1", categorical_action_encoding=True).action_spec, Categorical)


@pytest.mark.parametrize("num_envs", [None, 2])
def test_time_limit_truncates(num_envs: int | None) -> None:
    """The end of an episode by a time limit is `truncated` and not `terminated`."""
    rolled = GymEnv("Pendulum-v1", num_envs=num_envs, max_episode_steps=5).rollout(20)
    assert rolled.batch_size[-1] == 5
    assert rolled["next", "truncated"][..., -1, :].all()
    assert rolled["next", "done"][..., -1, :].all()
    assert not rolled["next", "terminated"].any()


def test_keywords_reach_gymnasium() -> None:
    """Keywords that are not the adapter's are handed on to `gymnasium.make`; unknown ones are its error."""
    env = GymEnv("Pendulum-v1", g=1.5)
    assert env.unwrapped_envs[0].unwrapped.g == 1.5
    with pytest.raises(TypeError, match="no_such_option"):
        GymEnv("Pendulum-v1", no_such_option=1)


def test_unknown_name_lists_near_matches() -> None:
    """An unknown name is an error with the names close to it."""
    with pytest.raises(TypeError, match=r"env_name. Expected an id.*found TimeLimit. Pass .* to GymWrapper"):
        GymEnv(gymnasium.make("CartPole-v1"))  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match=r'not registered.*"HalfCheeta-v5".*Did you mean HalfCheetah-v5'):
        GymEnv("HalfCheeta-v5")


@pytest.mark.parametrize("wrapped", [StepsEnv(), [StepsEnv(), StepsEnv()]])
def test_frame_skip_sums_rewards_and_stops_at_the_end(wrapped: Any) -> None:
    """An action is repeated, rewards are added, and nothing is stepped past the end of an episode."""
    rolled = GymWrapper(wrapped, frame_skip=2).rollout(5)
    assert rolled["next", "count"].reshape(-1, 2)[0].tolist() == [2.0, 3.0]
    assert rolled["next", "reward"].reshape(-1, 2)[0].tolist() == [2.0, 1.0]
    with pytest.raises(ValueError, match="frame_skip too small"):
        GymWrapper(StepsEnv(), frame_skip=0)


def test_observations_are_copies() -> None:
    """An environment that returns the same array every step does not change what has been returned."""
    rolled = GymWrapper(StepsEnv()).rollout(3)
    assert rolled["count"].flatten().tolist() == [0.0, 1.0, 2.0]
    assert rolled["next", "count"].flatten().tolist() == [1.0, 2.0, 3.0]


def test_actions_stay_inside_the_bounds_of_the_env() -> None:
    """Actions arrive in the dtype of the environment and inside its bounds, whatever rounding the policy makes."""
    inner = StepsEnv(length=9)
    env = GymWrapper(inner)
    beyond = torch.tensor([0.3, -0.3]).nextafter(torch.tensor([9.0, -9.0]))
    env.step(env.reset().set("action", beyond))
    assert inner.action_space.contains(inner.actions[0])
    assert inner.actions[0].dtype == np.float32


def test_partial_reset_touches_no_other_env() -> None:
    """Only the environments of the mask are reset; a mask of none resets none."""
    inner = [StepsEnv(9), StepsEnv(9)]
    env = GymWrapper(inner)
    root = env.step_and_maybe_reset(env.rand_action(env.reset()))[1]
    after = env.reset(root.clone().set("_reset", torch.tensor([False, True])))
    assert [each.count[0] for each in inner] == [1.0, 0.0]
    assert after["count"].flatten().tolist() == [1.0, 0.0]
    env.reset(root.clone().set("_reset", torch.tensor([False, False])))
    assert [each.count[0] for each in inner] == [1.0, 0.0]


def test_rows_have_streams_of_their_own() -> None:
    """Row `i` of a batch depends on the seed and `i` alone: not on how many rows there are, and rows differ."""
    few, many = GymEnv("Pendulum-v1", num_envs=2), GymEnv("Pendulum-v1", num_envs=4)
    first, second = few.reset(seed=3)["observation"], many.reset(seed=3)["observation"]
    assert torch.equal(first, second[:2])
    assert len({tuple(row) for row in second.tolist()}) == 4
    few.set_seed(3, first_index=2)
    assert torch.equal(few.reset()["observation"], second[2:])
    assert torch.equal(GymEnv("Pendulum-v1").reset(seed=3)["observation"], second[0])


class OldRandomEnv(gymnasium.Env[Any, Any]):
    """Draws from a generator of numpy's older kind, which takes seeds of 32 bits."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """The first draw."""
        self.random = np.random.RandomState(seed)
        return self.random.random((1,)).astype(np.float32), {}

    def step(self, action: Any) -> Any:
        """The next draw."""
        return self.random.random((1,)).astype(np.float32), 0.0, False, False, {}


def test_seeds_of_rows_have_32_bits() -> None:
    """Rows after the first get seeds that simulators of the older kind take, each a stream of its own, wherever the
    row is.
    """
    whole = GymWrapper([OldRandomEnv() for _ in range(20)])
    observed = whole.reset(seed=3)["observation"]
    assert len(set(observed.flatten().tolist())) == 20
    alone = GymWrapper(OldRandomEnv())
    alone.set_seed(3, first_index=17)
    assert torch.equal(alone.reset()["observation"], observed[17])


def test_dtype_of_flags_and_reward() -> None:
    """Rewards are float32 and flags bool, each with a last dimension of one."""
    following = GymEnv("CartPole-v1").rollout(1)[0]["next"]
    assert following["reward"].dtype is torch.float32
    assert all(following[name].dtype is torch.bool for name in ("done", "terminated", "truncated"))
    assert all(following[name].shape == torch.Size((1,)) for name in ("reward", "done"))


class PixelsEnv(StepsEnv):
    """Renders its count."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"

    def render(self) -> Any:
        """A frame filled with the count."""
        return np.full((4, 5, 3), int(self.count[0]), dtype=np.uint8)


@pytest.mark.parametrize("pixels_only", [True, False])
def test_pixels(pixels_only: bool) -> None:
    """Frames are under "pixels", next to the observations or instead of them."""
    env = GymWrapper([PixelsEnv(), PixelsEnv()], from_pixels=True, pixels_only=pixels_only)
    check_env_specs(env)
    assert env.observation_spec["pixels"] == Bounded(0, 255, shape=(2, 4, 5, 3), dtype=torch.uint8)
    assert ("count" in env.observation_keys) is not pixels_only
    rolled = env.rollout(2)
    assert rolled["next", "pixels"][..., 0, 0, 0].tolist() == [[1, 2], [1, 2]]


def test_single_env_pixels() -> None:
    """One environment with frames returns what its specs say."""
    check_env_specs(GymWrapper(PixelsEnv(), from_pixels=True))


def test_spaces_without_spec() -> None:
    """An environment with a space of nobody knows what kind, or without a limit, is refused when it is wrapped."""
    env = StepsEnv()
    env.action_space = spaces.Space()
    with pytest.raises(SpecError, match="a space whose values are no arrays"):
        GymWrapper(env)
    env.action_space = spaces.Sequence(spaces.Discrete(2))
    with pytest.raises(SpecError, match="Pass max_sequence_length="):
        GymWrapper(env)


def test_repr_and_close() -> None:
    """`repr` names the environment; `close` closes it."""
    env = GymEnv("Pendulum-v1")
    assert repr(env) == "GymEnv(env=Pendulum-v1, batch_size=torch.Size([]), device=None)"
    assert env.env_name == "Pendulum-v1"
    env.close()
    assert env.is_closed


def test_device_is_declared() -> None:
    """With a device, every TensorDict declares it."""
    assert GymEnv("Pendulum-v1", device="cpu").rollout(1).device == torch.device("cpu")


class OddEnv(gymnasium.Env[Any, Any]):
    """Breaks one rule of Gymnasium's protocol.

    Args:
        mistake: `"reset"`: leaves out the info. `"step"`: returns one flag. None: keeps to all rules.
        reward: what a step returns.
        observation: what is observed.
    """

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, mistake: str | None = None, reward: Any = 1.5, observation: Any = (0.0, 0.0)) -> None:
        self.mistake, self.given, self.observation = mistake, reward, observation

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """The observation."""
        seen = np.array(self.observation, np.float32)
        return seen if self.mistake == "reset" else (seen, {})

    def step(self, action: Any) -> Any:
        """The observation and the reward."""
        seen = np.array(self.observation, np.float32)
        return (seen, self.given, False, {}) if self.mistake == "step" else (seen, self.given, False, False, {})


@pytest.mark.parametrize("frame_skip", [1, 2])
@pytest.mark.parametrize("is_batch", [False, True])
@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("reset", r"OddEnv.reset: another protocol. Expected \(observation, info\), found ndarray.*LegacyGymEnv"),
        ("step", r"OddEnv.step: another protocol. Expected \(observation, reward, term.*found 4 values.*LegacyGymEnv"),
    ],
)
def test_another_protocol_is_told(mistake: str, told: str, is_batch: bool, frame_skip: int) -> None:
    """An env whose methods return other than Gymnasium's is an error with its name, alone and in a batch."""
    with pytest.raises(TypeError, match=told):
        GymWrapper([OddEnv(), OddEnv(mistake)] if is_batch else OddEnv(mistake), frame_skip=frame_skip).rollout(2)


def test_rewards_of_one_element_are_rewards() -> None:
    """An array of one number is as good a reward as the number, alone and in a batch."""
    for reward in (np.array([1.5]), np.float64(1.5), np.array(1.5, np.float16), torch.tensor(1.5)):
        alone = GymWrapper(OddEnv(reward=reward)).rollout(2)["next", "reward"]
        batch = GymWrapper([OddEnv(reward=reward)]).rollout(2)["next", "reward"]
        assert alone.tolist() == batch[0].tolist() == [[1.5], [1.5]]
    with pytest.raises(ShapeError, match=r'"reward" has another shape than its spec. Expected \(1,\), found \(2,\)'):
        GymWrapper(OddEnv(reward=np.ones(2))).rollout(2)


@pytest.mark.parametrize("observation", [0.5, (0.5,), (0.1, 0.2, 0.3), ((0.1, 0.2),) * 2])
def test_observations_of_another_shape_are_told(observation: Any) -> None:
    """An observation that is not of the space's shape is an error with both shapes, and is broadcast nowhere."""
    for env in (GymWrapper(OddEnv(observation=observation)), GymWrapper([OddEnv(), OddEnv(observation=observation)])):
        with pytest.raises(ShapeError, match=r"observation.* has another shape than its.*Expected \(2,\), found"):
            env.rollout(3)
    flat = GymWrapper([OddEnv(), OddEnv(observation=((0.1,), (0.2,)))]).rollout(1)["observation"]
    assert flat[1, 0].tolist() == pytest.approx([0.1, 0.2])
