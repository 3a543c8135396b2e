"""Tests of `rl_envs.gym._envpool`, over the real EnvPool."""

from typing import Any

import envpool
import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDictBase

from rl_envs import (
    BaseInfoDictReader,
    EnvBase,
    GymEnv,
    GymWrapper,
    MultiThreadedEnv,
    RewardSum,
    StepCounter,
    TransformedEnv,
    check_env_specs,
    default_info_dict_reader,
)
from rl_envs._seeding import stream_seed
from rl_envs.testing import EnvConformance
from rl_specs import TensorSpec, Unbounded


def pool(name: str, num_envs: int = 3, **options: Any) -> GymEnv:
    """Environments of EnvPool, with indices for discrete actions."""
    return GymEnv(name, num_envs=num_envs, backend="envpool", categorical_action_encoding=True, **options)


def seeded_rollout(env: EnvBase, steps: int) -> TensorDictBase:
    """A rollout with fixed actions."""
    env.set_seed(5)
    torch.manual_seed(0)
    return env.rollout(steps, break_when_any_done=False)


class TestMujoco(EnvConformance):
    """A MuJoCo environment of EnvPool keeps every promise."""

    def make_env(self) -> EnvBase:
        """Three inverted double pendulums, whose episodes end at different times."""
        return pool("InvertedDoublePendulum-v5")


class TestDiscrete(EnvConformance):
    """An environment with one-hot actions keeps every promise."""

    def make_env(self) -> EnvBase:
        """Three cart poles."""
        return GymEnv("CartPole-v1", num_envs=3, backend="envpool")


class TestTimeLimit(EnvConformance):
    """An environment whose episodes end by a time limit keeps every promise."""

    def make_env(self) -> EnvBase:
        """Three pendulums."""
        return pool("Pendulum-v1", max_episode_steps=4)


@pytest.mark.parametrize("name", ["HalfCheetah-v5", "FrozenLake-v1", "MiniGrid-Empty-5x5-v0", "CartpoleBalance-v1"])
def test_specs_are_true(name: str) -> None:
    """Environments with continuous, discrete and several observations return what their specs say."""
    check_env_specs(pool(name))


def test_specs_are_those_of_gymnasium() -> None:
    """Specs of observations and actions are those that Gymnasium's environment of that name has."""
    for name in ("HalfCheetah-v5", "Pendulum-v1"):
        ours, theirs = pool(name), GymEnv(name, num_envs=3, categorical_action_encoding=True)
        assert ours.observation_spec == theirs.observation_spec
        assert ours.action_spec == theirs.action_spec


def test_actions_stay_inside_the_bounds_of_the_env() -> None:
    """Actions arrive in double precision inside EnvPool's bounds, which single precision may round outwards."""

    class Recorder:
        def __init__(self, inner: Any) -> None:
            self.inner = inner
            self.actions: list[Any] = []

        def _send(self, arrays: list[Any]) -> None:
            self.actions.append(arrays[-1])
            self.inner._send(arrays)

        def _recv(self) -> Any:
            return self.inner._recv()

    env = pool("Humanoid-v5", 2)
    root = env.reset()
    backend: Any = env._backend
    recorder = backend._pool = Recorder(backend._pool)
    env.step(root.set("action", env.action_spec.space.high.nextafter(torch.tensor(9.0))))
    bound = backend._recipe.spec().action_array_spec["action"].maximum
    assert recorder.actions[0].dtype == np.float64
    assert (recorder.actions[0] <= bound).all()
    assert float(np.float32(0.4)) > bound == 0.4


def test_atari_frames() -> None:
    """Atari games are stacks of four grey frames, uint8, which a time limit truncates."""
    env = pool("Pong-v5", 2, max_episode_steps=3)
    check_env_specs(env)
    rolled = seeded_rollout(env, 7)
    assert rolled["observation"].shape == (2, 7, 4, 84, 84)
    assert rolled["observation"].dtype is torch.uint8
    assert rolled["next", "truncated"].squeeze(-1)[0].tolist() == [False, False, True, False, False, True, False]
    assert not rolled["next", "terminated"].any()


def gymnasium_from(name: str, observation: np.ndarray[Any, Any]) -> Any:
    """Gymnasium's environment in the state in which `observation` was made."""
    env: Any = gymnasium.make(name)
    env.reset(seed=0)
    inner = env.unwrapped
    if name == "CartPole-v1":
        inner.state = observation.astype(np.float64)
    elif name == "Pendulum-v1":
        cosine, sine, speed = observation.astype(np.float64)
        inner.state = np.array([np.arctan2(sine, cosine), speed])
    else:
        inner.set_state(np.concatenate(([0.0], observation[:8])), observation[8:])
    return env


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "HalfCheetah-v5"])
def test_dynamics_are_those_of_gymnasium(name: str) -> None:
    """From the same start and the same actions, observations, rewards and flags are those of Gymnasium."""
    env = pool(name, 2)
    rolled = seeded_rollout(env, 12)
    for row in range(2):
        raw = gymnasium_from(name, rolled["observation"][row, 0].numpy())
        for step in rolled[row]:
            observation, reward, terminated, truncated, _ = raw.step(step["action"].numpy())
            assert step["next", "observation"].numpy() == pytest.approx(observation, abs=1e-4)
            assert step["next", "reward"].item() == pytest.approx(float(reward), abs=1e-4)
            assert (step["next", "terminated"].item(), step["next", "truncated"].item()) == (terminated, truncated)
            if terminated:
                break


@pytest.mark.filterwarnings("ignore:.*precision lowered")
def test_no_phantom_transition() -> None:
    """Each row is what EnvPool returns under its seed, less the steps in which it resets: no row lost, none added."""
    env, steps = pool("CartPole-v1", 4), 60
    env.set_seed(5)
    rolled = env.rollout(steps, lambda root: root.set("action", torch.tensor([0, 1, 0, 1])), break_when_any_done=False)
    assert int(rolled["next", "done"].sum()) > 12
    seeds = [stream_seed(5, row) & 0x7FFFFFFF for row in range(4)]
    raw = envpool.make("CartPole-v1", env_type="gymnasium", num_envs=4, seed=seeds)
    observation, _ = raw.reset()
    rows: list[list[Any]] = [[] for _ in range(4)]
    restarted = np.zeros(4, dtype=np.bool_)
    while min(map(len, rows)) < steps:
        following, reward, terminated, _, _ = raw.step(np.array([0, 1, 0, 1], dtype=np.int32))
        for row in np.flatnonzero(~restarted):
            rows[row].append((observation[row], following[row], reward[row], terminated[row]))
        observation, restarted = following, terminated
    for index, expected in enumerate(rows):
        before, after, reward, terminated = (np.stack(column) for column in zip(*expected[:steps], strict=True))
        assert np.array_equal(rolled["observation"][index].numpy(), before)
        assert np.array_equal(rolled["next", "observation"][index].numpy(), after)
        assert np.array_equal(rolled["next", "reward"][index, :, 0].numpy(), reward)
        assert np.array_equal(rolled["next", "terminated"][index, :, 0].numpy(), terminated)


def test_a_time_limit_truncates_and_hides_no_termination() -> None:
    """`truncated` is the step of the time limit, `terminated` the end by itself; they may fall together."""

    def flags(limit: int) -> tuple[int, bool, bool]:
        env = pool("CartPole-v1", 1, max_episode_steps=limit)
        env.set_seed(0)
        rolled = env.rollout(50, lambda root: root.set("action", torch.tensor([0])))
        last = rolled[0, -1]["next"]
        return rolled.shape[1], bool(last["terminated"]), bool(last["truncated"])

    length, terminated, truncated = flags(500)
    assert (terminated, truncated) == (True, False)
    assert flags(length + 1) == (length, True, False)
    assert flags(length) == (length, True, True)
    assert flags(length - 1) == (length - 1, False, True)


def test_transforms_see_the_ends_of_episodes() -> None:
    """Sums and counts over an episode end with it and start anew with the next."""
    env = TransformedEnv(pool("Pendulum-v1", max_episode_steps=4))
    env.append_transform(RewardSum())
    env.append_transform(StepCounter())
    rolled = seeded_rollout(env, 11)
    assert rolled["step_count"][0, :, 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2]
    assert rolled["next", "step_count"][0, :, 0].tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3]
    summed = rolled["next", "reward"][:, 4:8].sum(1)
    assert torch.allclose(rolled["next", "episode_reward"][:, 7], summed)


def test_rows_have_streams_of_their_own() -> None:
    """Row `i` depends on the seed and `i` alone: not on the number of rows or threads; rows differ."""
    few, many = pool("Pendulum-v1", 2, num_threads=1), pool("Pendulum-v1", 4, num_threads=2)
    first, second = few.reset(seed=3)["observation"], many.reset(seed=3)["observation"]
    assert torch.equal(first, second[:2])
    assert len({tuple(row) for row in second.tolist()}) == 4
    few.set_seed(3, first_index=2)
    assert torch.equal(few.reset()["observation"], second[2:])


def test_data_do_not_depend_on_threads() -> None:
    """A seeded rollout with ends of episodes in it is the same, bit for bit, with one thread and with several."""
    one, several = (seeded_rollout(pool("Hopper-v5", 4, num_threads=count), 60) for count in (1, 3))
    assert one["next", "done"].any()
    assert (one == several).all()


def test_seeds_hold_from_the_next_full_reset() -> None:
    """A seed waits for a reset of all rows: one of some rows goes on in their old streams."""
    env, same = pool("Pendulum-v1"), pool("Pendulum-v1")
    roots = [each.reset(seed=0) for each in (env, same)]
    env.set_seed(9)
    mask = torch.tensor([True, False, True])
    partial = [each.reset(root.set("_reset", mask)) for each, root in zip((env, same), roots, strict=True)]
    assert (partial[0] == partial[1]).all()
    assert torch.equal(env.reset()["observation"], same.reset(seed=9)["observation"])


def test_unseeded_environments_differ() -> None:
    """Without a seed, two pools start differently, and so do two resets of one."""
    first, second = pool("Pendulum-v1"), pool("Pendulum-v1")
    start = first.reset()["observation"]
    assert not torch.equal(start, second.reset()["observation"])
    assert not torch.equal(start, first.reset()["observation"])


def test_arrays_that_were_handed_on_are_not_written_again() -> None:
    """Every tensor that steps and resets have returned stays as it was over hundreds of further steps."""
    env = pool("CartPole-v1")
    root = env.reset(seed=0)
    held = []
    for _ in range(300):
        stepped, root = env.step_and_maybe_reset(env.rand_action(root.copy()))
        held.append((stepped.copy(), stepped.clone()))
    assert all((kept == copy).all() for kept, copy in held)


def test_state_is_out_of_reach() -> None:
    """EnvPool's simulators cannot be read out, and the environment says so."""
    env = pool("Pendulum-v1")
    assert not env.has_exact_state
    assert env.unwrapped_envs == []
    with pytest.raises(NotImplementedError, match=r"EnvPool's native simulators.*episode boundary"):
        env.get_state()


def test_repr_names_the_environment() -> None:
    """`repr` and `env_name` give EnvPool's name."""
    env = pool("Pendulum-v1")
    assert env.env_name == "Pendulum-v1"
    assert repr(env) == "GymEnv(env=Pendulum-v1, batch_size=torch.Size([3]), device=None)"


def test_step_before_reset() -> None:
    """A step before the first reset is an error that says so."""
    env = pool("Pendulum-v1")
    with pytest.raises(RuntimeError, match="before the first reset"):
        env.step(env.fake_tensordict())


@pytest.mark.parametrize(
    ("name", "options", "error", "told"),
    [
        ("HalfCheeta-v5", {}, ValueError, r'no environment of this name.*backend="serial".*Did you mean HalfCheetah'),
        ("ALE/Pong-v5", {}, ValueError, "Did you mean Pong-v5"),
        ("Go9x9-v1", {}, ValueError, "several players"),
        ("HalfCheetah-v5", {"frame_skip": 2}, ValueError, "frame_skip not available over EnvPool"),
        ("HalfCheetah-v5", {"from_pixels": True}, ValueError, "from_pixels not available"),
        ("HalfCheetah-v5", {"render_mode": "rgb_array"}, ValueError, "render_mode not available"),
        ("HalfCheetah-v5", {"ctrl_cost_wight": 1.0}, TypeError, r"ctrl_cost_wight.*Did you mean ctrl_cost_weight"),
        ("HalfCheetah-v5", {"seed": 1}, TypeError, 'unknown keyword "seed"'),
        ("HalfCheetah-v5", {"num_envs": None}, ValueError, "Pass num_envs"),
        ("HalfCheetah-v5", {"num_threads": 0}, ValueError, r"num_threads.*>= 1"),
    ],
)
def test_what_it_does_not_take(name: str, options: dict[str, Any], error: type[Exception], told: str) -> None:
    """Unknown names and options that EnvPool does not take are refused when the environment is made."""
    with pytest.raises(error, match=told):
        GymEnv(name, backend="envpool", **{"num_envs": 2, **options})


def test_options_reach_envpool() -> None:
    """Keywords that are not the adapter's are options of EnvPool's environment."""
    cheap = seeded_rollout(pool("HalfCheetah-v5", ctrl_cost_weight=0.0), 3)
    dear = seeded_rollout(pool("HalfCheetah-v5", ctrl_cost_weight=5.0), 3)
    cost = 5.0 * cheap["action"].square().sum(-1, keepdim=True)
    assert torch.allclose(cheap["next", "reward"] - cost, dear["next", "reward"], atol=1e-4)


def test_a_pool_made_elsewhere_is_refused() -> None:
    """A pool handed to `GymWrapper` resets by steps that ignore their action: the way that does not is named."""
    raw = envpool.make("HalfCheetah-v5", env_type="gymnasium", num_envs=2)
    with pytest.raises(ValueError, match='backend="envpool"'):
        GymWrapper(raw)


def test_infos() -> None:
    """Infos of EnvPool are entries of every reset and step, of the row that they are of."""
    env = pool("HalfCheetah-v5", max_episode_steps=3).auto_register_info_dict()
    check_env_specs(env)
    assert env.observation_spec["x_position"].dtype is torch.float64
    data = seeded_rollout(env, 7)
    told = data["next", "reward_run"] + data["next", "reward_ctrl"]
    assert torch.allclose(told.float(), data["next", "reward"].squeeze(-1), atol=1e-5)
    assert told.unique().numel() == 3 * 7
    moved = (data["next", "x_position"] - data["x_position"]) / 0.05
    later = [1, 2, 4, 5]  # EnvPool does not say where an episode starts
    assert torch.allclose(moved[:, later], data["next", "x_velocity"][:, later], atol=1e-6)
    assert "env_id" not in data["next"]


def test_infos_of_rows_that_are_reset() -> None:
    """A reset of some rows changes the infos of these alone, and seeds that wait are left when infos are looked at."""
    env = MultiThreadedEnv(3, "HalfCheetah-v5")
    env.set_seed(3)
    env.set_info_dict_reader(default_info_dict_reader(["x_position"]))
    root = env.reset()
    assert torch.equal(root["observation"], pool("HalfCheetah-v5").reset(seed=3)["observation"])
    for _ in range(3):
        _, root = env.step_and_maybe_reset(env.rand_action(root))
    before = root["x_position"].clone()
    after = env.reset(root.set("_reset", torch.tensor([[False], [True], [False]])))["x_position"]
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert after[1] != before[1]


class LivesReader(BaseInfoDictReader):
    """Twice the lives."""

    @property
    def info_spec(self) -> dict[Any, TensorSpec]:
        """One number."""
        return {"twice": Unbounded(shape=(1,), dtype=torch.int32)}

    def __call__(self, info_dict: dict[str, Any], tensordict: TensorDictBase) -> TensorDictBase:
        """Read it."""
        return tensordict.set("twice", torch.as_tensor(2 * info_dict["lives"]).reshape(1))


def test_readers_of_infos() -> None:
    """A reader of one's own is given the dictionary of each row."""
    env = pool("Breakout-v5", 2).set_info_dict_reader(LivesReader())
    env.set_info_dict_reader(default_info_dict_reader(["lives"]))
    stepped = env.rand_step(env.reset())
    assert stepped["next", "twice"].tolist() == [[10], [10]]
    assert stepped["lives"].tolist() == stepped["next", "lives"].tolist() == [5, 5]
