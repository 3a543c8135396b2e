"""Tests of `rl_envs.mujoco.MujocoEnv`."""

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mujoco  # type: ignore[import-untyped]  # ships no types
import pytest
import torch
from torch import Tensor

from rl_envs import (
    ClosedEnvError,
    Compose,
    DoubleToFloat,
    EnvBase,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    VecNorm,
)
from rl_envs.mujoco import (
    AntEnv,
    Draws,
    HalfCheetahEnv,
    HopperEnv,
    InvertedDoublePendulumEnv,
    InvertedPendulumEnv,
    MujocoEnv,
    ReacherEnv,
    Simulation,
)
from rl_envs.testing import EnvConformance
from rl_specs import MissingKeyError, ShapeError

CART = """
<mujoco>
  <option timestep="0.01" gravity="0 0 0"/>
  <worldbody>
    <body name="cart">
      <joint name="slide" type="slide" axis="1 0 0"/>
      <geom type="sphere" size="0.1" mass="2"/>
    </body>
  </worldbody>
  <actuator><motor joint="slide" gear="4" ctrllimited="true" ctrlrange="-1 1"/></actuator>
  <sensor><jointpos joint="slide"/><actuatorfrc actuator="0"/></sensor>
</mujoco>
""".replace('<motor joint="slide"', '<motor name="0" joint="slide"')


class CartEnv(MujocoEnv):
    """A cart of 2 kg pushed by up to 4 N; its observations are the very tensors that it is given."""

    def __init__(self, num_envs: int = 2, *, model: Any = CART, is_current: bool = False, **options: Any) -> None:
        simulation = Simulation(model, frame_skip=2, reads=("xpos",), remembers=("qpos", "xpos"), is_current=is_current)
        super().__init__(simulation, num_envs, **options)

    def _observe(self, now: Mapping[str, Tensor]) -> Tensor:
        return now["qpos"]

    def _reward(self, before: Mapping[str, Tensor], now: Mapping[str, Tensor], action: Tensor) -> Tensor:
        return now["qpos"][:, 0] - before["qpos"][:, 0]

    def _terminated(self, now: Mapping[str, Tensor]) -> Tensor:
        return now["qpos"][:, 0] > 1.0


class SensorEnv(CartEnv):
    """Observes what the sensors and the positions of bodies say."""

    def _observe(self, now: Mapping[str, Tensor]) -> Tensor:
        return torch.cat((now["qpos"], now["xpos"][:, 1, :1], now["sensordata"]), -1)


class TestCart(EnvConformance):
    """A custom env that hands out its own tensors keeps every promise."""

    def make_env(self) -> EnvBase:
        """Three carts, episodes of five steps."""
        return CartEnv(3, max_episode_steps=5, num_threads=2)


class TestHopper(EnvConformance):
    """An env that falls keeps every promise."""

    def make_env(self) -> EnvBase:
        """Five, in float32."""
        return HopperEnv(5, max_episode_steps=7, dtype=torch.float32)


class TestDevice(EnvConformance):
    """An env that declares its device keeps every promise."""

    def make_env(self) -> EnvBase:
        """Two reachers, moved to the CPU after they were made."""
        return ReacherEnv(2, max_episode_steps=4).to("cpu")


class TestAnt(EnvConformance):
    """An env with contact forces, which keeps a simulation per env, keeps every promise."""

    def make_env(self) -> EnvBase:
        """Two."""
        return AntEnv(2, num_threads=2)


class TestDoublePendulum(EnvConformance):
    """An env that reads derived quantities keeps every promise, alone too."""

    def make_env(self) -> EnvBase:
        """One."""
        return InvertedDoublePendulumEnv()


class TestTransformed(EnvConformance):
    """Transforms that carry state over a batch of simulations keep every promise."""

    def make_env(self) -> EnvBase:
        """Summed, counted, cut off and in float32."""
        return TransformedEnv(HopperEnv(3), Compose(RewardSum(), StepCounter(max_steps=4), DoubleToFloat()))


def test_rollout_with_normalisation() -> None:
    """A rollout through `VecNorm`, `RewardSum` and `DoubleToFloat` adds up rewards over each episode."""
    env = TransformedEnv(HopperEnv(4), Compose(VecNorm(in_keys=["observation"]), RewardSum(), DoubleToFloat()))
    env.set_seed(0)
    steps = env.rollout(80, break_when_any_done=False)
    assert steps.shape == (4, 80)
    assert steps["next", "observation"].dtype == torch.float32
    assert steps["next", "done"].sum() >= 4
    total = torch.zeros(4, 1)
    for t in range(80):
        total += steps["next", "reward"][:, t]
        torch.testing.assert_close(steps["next", "episode_reward"][:, t], total)
        total = torch.where(steps["next", "done"][:, t], 0.0, total)


def test_step_by_hand() -> None:
    """4 N push 2 kg with 2 m/s^2: after two Euler steps of 0.01 s the speed is 0.04 m/s, the way 2 (1 + 2) 1e-4 m."""
    env = CartEnv(2)
    root = env.reset()
    action = torch.tensor([[1.0], [-0.5]])
    following = env.step(root.set("action", action))["next"]
    way = torch.tensor([[6e-4], [-3e-4]], dtype=torch.float64)
    torch.testing.assert_close(following["observation"], way)
    torch.testing.assert_close(following["reward"], way)
    assert env.time_step == pytest.approx(0.02)


def test_actions_are_clipped() -> None:
    """Actions beyond the actuators' ranges are those at the bounds, to the bit; the functions see the clipped ones."""
    wide, narrow = HalfCheetahEnv(1, seed=0), HalfCheetahEnv(1, seed=0)
    wide.reset()
    narrow.reset()
    far = wide._step({"action": torch.full((1, 6), 7.0)})
    bound = narrow._step({"action": torch.ones(1, 6)})
    assert torch.equal(far["observation"], bound["observation"])
    assert torch.equal(far["reward"], bound["reward"])


def test_actuators_without_a_range_are_unbounded() -> None:
    """An actuator without limits takes any finite action."""
    env = CartEnv(1, model=CART.replace('ctrllimited="true" ctrlrange="-1 1"', 'ctrllimited="false"'))
    env.reset()
    assert env._step({"action": torch.full((1, 1), 50.0)})["observation"].item() == pytest.approx(50 * 6e-4)
    assert env.action_spec.is_in(torch.full((1, 1), 50.0))


def test_models_come_in_four_forms(tmp_path: Path) -> None:
    """A path, a string, an `MjSpec` and an `MjModel` of one MJCF give one environment."""
    path = tmp_path / "cart.xml"
    path.write_text(CART)
    forms = [CART, path, str(path), mujoco.MjSpec.from_string(CART), mujoco.MjModel.from_xml_string(CART)]
    ends = []
    for form in forms:
        env = CartEnv(1, model=form)
        env.reset()
        ends.append(env._step({"action": torch.ones(1, 1)})["observation"])
    assert all(torch.equal(end, ends[0]) for end in ends)


@pytest.mark.parametrize("is_current", [False, True])
def test_derived_quantities_lag_unless_asked_not_to(is_current: bool) -> None:
    """Positions of bodies and sensors are those before the last physics step, or with `is_current` those after it."""
    env = SensorEnv(1, is_current=is_current)
    env.reset()
    qpos, xpos, sensor, force = env._step({"action": torch.ones(1, 1)})["observation"][0].tolist()
    assert qpos == pytest.approx(6e-4)
    assert xpos == pytest.approx(6e-4 if is_current else 2e-4)
    assert sensor == xpos
    assert force == 1.0


def test_threads_do_not_change_the_data() -> None:
    """One thread and three give the same steps, bit for bit, resets included."""
    first, second = (_steps(HopperEnv(7, num_threads=threads, seed=3, max_episode_steps=20)) for threads in (1, 3))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("make", [AntEnv, InvertedDoublePendulumEnv, ReacherEnv, HalfCheetahEnv])
def test_streams_do_not_depend_on_the_batch(make: Any) -> None:
    """Env `i` goes the same way alone, in a batch, and in a part of a split batch, from reset to reset."""
    whole = make(5, max_episode_steps=6)
    whole.set_seed(4)
    part = make(2, max_episode_steps=6)
    part.set_seed(4, first_index=3)
    alone = SerialEnv(2, lambda: make(1, max_episode_steps=6))
    alone.set_seed(4, first_index=3)
    actions = whole.action_spec.rand((13,))
    expected = [value[3:] for value in _follow(whole, actions)]
    split = _follow(part, actions[:, 3:])
    single = _follow(alone, actions[:, 3:].unsqueeze(2))
    for one, two, three in zip(expected, split, single, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three.squeeze(1))


def test_episodes_start_anew_each_time() -> None:
    """Rows and successive resets of a row start in different states; a seed repeats them."""
    env = HalfCheetahEnv(4)
    first, second = env.reset(seed=5)["observation"], env.reset()["observation"]
    again = env.reset(seed=5)["observation"]
    assert torch.equal(first, again)
    assert len({tuple(row.tolist()) for row in torch.cat((first, second))}) == 8


def test_first_states_fill_their_ranges() -> None:
    """Positions are uniform within 0.1 of rest and velocities normal with deviation 0.1, as Gymnasium's."""
    env = HalfCheetahEnv(4000, num_threads=2, seed=0)
    observation = env.reset()["observation"]
    position, velocity = observation[:, :8], observation[:, 8:]
    assert position.abs().max() <= 0.1
    assert position.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.02)
    assert velocity.std().item() == pytest.approx(0.1, rel=0.02)
    assert velocity.mean().item() == pytest.approx(0.0, abs=0.002)


def test_targets_fill_a_disc() -> None:
    """Reacher's targets are uniform in a disc: half of them within 0.2 / sqrt(2) m, none beyond 0.2 m."""
    target = ReacherEnv(4000, num_threads=2, seed=0).reset()["observation"][:, 4:6]
    radius = target.norm(dim=-1)
    assert radius.max() <= 0.2
    assert radius.median().item() == pytest.approx(0.2 / 2**0.5, rel=0.03)
    assert target.mean(0).abs().max() < 0.01


def test_time_limit_truncates() -> None:
    """The last step of the limit is truncated and not terminated; a partial reset starts that row's count anew."""
    env = CartEnv(2, max_episode_steps=3)
    root = env.reset()
    action = torch.zeros(2, 1)
    for step in range(5):
        following = env._step({"action": action})
        expected = torch.tensor([[step == 4], [step >= 2]])
        assert torch.equal(following["truncated"], expected)
        assert torch.equal(following["done"], expected)
        assert not following["terminated"].any()
        if step == 1:
            env.reset(root.clone().set("_reset", torch.tensor([[True], [False]])))


def test_terminated_and_truncated_are_apart() -> None:
    """An episode that ends by its own rule at its last step is both; without a limit only the former."""
    for limit, truncated in ((1, True), (None, False)):
        env = CartEnv(1, max_episode_steps=limit)
        env.reset()
        state = env.get_state()
        state["simulator"]["rows"][:, 1] = 2.0  # after the time comes the position
        env.set_state(state)
        following = env._step({"action": torch.zeros(1, 1)})
        assert following["terminated"].item() is True
        assert following["truncated"].item() is truncated


def test_default_limits_are_those_of_gymnasium() -> None:
    """1,000 steps, 50 for the reacher."""
    assert InvertedPendulumEnv()._max_episode_steps == 1000
    assert ReacherEnv()._max_episode_steps == 50


@pytest.mark.parametrize("make", [AntEnv, HopperEnv, InvertedDoublePendulumEnv])
def test_state_survives_a_file(make: Any) -> None:
    """A state saved, loaded with `weights_only=True` and put into a fresh env goes on bit for bit, warm start too."""
    env = make(3, max_episode_steps=30)
    env.set_seed(1)
    actions = env.action_spec.rand((60,))
    _follow(env, actions[:25])
    file = io.BytesIO()
    torch.save(env.state_dict(), file)
    file.seek(0)
    other = make(3, max_episode_steps=30)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other._physics.rows.shape == env._physics.rows.shape
    first, second = (_follow(each, actions[25:], reset=False) for each in (env, other))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_state_of_another_batch_is_refused() -> None:
    """A state for another number of envs, or of another model, is an error that says so."""
    with pytest.raises(ValueError, match="another model or number of envs"):
        HopperEnv(3).set_state(HopperEnv(2).get_state())


def test_what_is_written_into_a_batch_does_not_reach_the_simulation() -> None:
    """Overwriting what a step has returned changes neither the next step nor its reward."""
    env, other = CartEnv(2, seed=0), CartEnv(2, seed=0)
    action = torch.ones(2, 1)
    for each in (env, other):
        each.reset()
    env._step({"action": action})["observation"].fill_(100.0)
    other._step({"action": action})
    first, second = env._step({"action": action}), other._step({"action": action})
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_dtype_of_observations_and_rewards() -> None:
    """float32 is the float64 physics rounded; the specs say which it is."""
    single, double = HalfCheetahEnv(2, seed=0, dtype=torch.float32), HalfCheetahEnv(2, seed=0)
    action = torch.ones(2, 6)
    single.reset()
    double.reset()
    for _ in range(5):
        one, two = single._step({"action": action}), double._step({"action": action})
        assert torch.equal(one["observation"], two["observation"].float())
        assert torch.equal(one["reward"], two["reward"].float())
    assert double.observation_spec["observation"].dtype == torch.float64
    assert single.full_reward_spec["reward"].dtype == torch.float32


def test_controls_handed_out_as_rewards_stay() -> None:
    """A reward that is a view of the controls is not overwritten by the next step."""

    class Pushed(CartEnv):
        def _reward(self, before: Mapping[str, Tensor], now: Mapping[str, Tensor], action: Tensor) -> Tensor:
            return action[:, 0]

    env = Pushed(2)
    env.reset()
    first = env._step({"action": torch.ones(2, 1)})["reward"]
    env._step({"action": torch.zeros(2, 1)})
    assert torch.equal(first, torch.ones(2, 1, dtype=torch.float64))


def test_gradients_stop_at_the_simulator() -> None:
    """Actions with a gradient are stepped with; nothing that comes back has one."""
    env = CartEnv(2)
    env.reset()
    following = env._step({"action": torch.ones(2, 1, requires_grad=True)})
    assert not any(value.requires_grad for value in following.values())


def test_close_ends_it() -> None:
    """A closed env says so, and its threads are gone."""
    env = CartEnv(4, num_threads=3)
    threads = _num_threads()
    env.close()
    env.close()
    assert _num_threads() == threads - 2
    with pytest.raises(ClosedEnvError):
        env.reset()


@pytest.mark.parametrize("name", ["num_envs", "num_threads", "max_episode_steps"])
def test_counts_are_checked(name: str) -> None:
    """A count below 1 is an error that names it."""
    counts: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"{name} too small"):
        CartEnv(**counts)


def test_wrong_functions_are_found_when_the_env_is_made() -> None:
    """Functions that return another shape or no masks are errors of the constructor, by name."""
    shapes = {"_observe": torch.zeros(2), "_reward": torch.zeros(2, 1), "_terminated": torch.zeros(3).bool()}
    for name, value in shapes.items():
        wrong = type("Wrong", (CartEnv,), {name: lambda self, *args, value=value: value})
        with pytest.raises(ShapeError, match=name):
            wrong()
    numbers = type("Numbers", (CartEnv,), {"_terminated": lambda self, now: torch.zeros(2)})
    with pytest.raises(TypeError, match=r"torch\.bool"):
        numbers()


def test_missing_mujoco_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MuJoCo the error names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(ImportError, match=r"rl-envs\[mujoco\]"):
        CartEnv()


def test_first_states_of_another_shape_are_refused() -> None:
    """Positions for one env are not taken for all."""
    wrong = type("Wrong", (CartEnv,), {"_initial": lambda self, draws: (torch.zeros(1, 1), torch.zeros(1, 1))})
    with pytest.raises(ShapeError, match="_initial"):
        wrong().reset()


class NoisyCartEnv(CartEnv):
    """Starts anywhere between 0 and 1 m."""

    def _initial(self, draws: Draws) -> tuple[Tensor, Tensor]:
        _, qvel = self._rest(draws.num_envs)
        return draws.uniform(0.0, 1.0, 1), qvel


def test_partial_resets_advance_only_their_rows() -> None:
    """A row's next first state depends on how often that row has been reset, not on the others."""
    often, once = NoisyCartEnv(2), NoisyCartEnv(2)
    root = often.reset(seed=0)
    once.reset(seed=0)
    for _ in range(3):
        often.reset(root.clone().set("_reset", torch.tensor([[True], [False]])))
    last, second = often.reset()["observation"], once.reset()["observation"]
    assert torch.equal(last[1], second[1])
    assert not torch.equal(last[0], second[0])


def test_a_mask_without_rows_changes_nothing() -> None:
    """A reset of no row leaves the state as it was."""
    env = NoisyCartEnv(2, seed=0)
    root = env.reset()
    before = env.get_state()
    env.reset(root.clone().set("_reset", torch.zeros(2, 1, dtype=torch.bool)))
    after = env.get_state()
    assert torch.equal(before["simulator"]["rows"], after["simulator"]["rows"])
    assert torch.equal(before["resets"], after["resets"])


def _steps(env: MujocoEnv) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    actions = torch.rand(60, *env.action_spec.shape, generator=generator) * 2 - 1
    return _follow(env, actions)


def _follow(env: EnvBase, actions: Tensor, *, reset: bool = True) -> list[Tensor]:
    """Observations and rewards of the actions, done rows reset."""
    root = env.reset() if reset else env.fake_tensordict().exclude("next")
    found = [root["observation"]] if reset else []
    for action in actions:
        stepped, root = env.step_and_maybe_reset(root.copy().set("action", action))
        found += [stepped["next", "observation"], stepped["next", "reward"], root["observation"]]
    return found


def _num_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


class UnreadEnv(CartEnv):
    """It observes a field that it has not asked for."""

    def _observe(self, now: Mapping[str, Tensor]) -> Tensor:
        return now["qacc"]


class ForgottenEnv(CartEnv):
    """Its reward needs a field from before the step that it has not asked for."""

    def _reward(self, before: Mapping[str, Tensor], now: Mapping[str, Tensor], action: Tensor) -> Tensor:
        return now["qvel"][:, 0] - before["qvel"][:, 0]


def test_fields_that_were_not_asked_for() -> None:
    """The message names the field and the option that adds it."""
    with pytest.raises(MissingKeyError, match=r'key "qacc" .*Simulation\(\.\.\., reads=\("qacc",\)\)'):
        UnreadEnv()
    with pytest.raises(MissingKeyError, match=r'key "qvel" .*Simulation\(\.\.\., remembers=\("qvel",\)\)'):
        ForgottenEnv()


def test_a_part_of_a_state_is_refused() -> None:
    """What is missing from a state is named, and the environment stays as it is."""
    env = CartEnv(seed=0)
    env.reset()
    before = env.get_state()
    for name in before:
        with pytest.raises(MissingKeyError, match=rf'CartEnv.set_state: key "{name}".*whole'):
            env.set_state({key: value for key, value in before.items() if key != name})
    assert torch.equal(env.get_state()["simulator"]["rows"], before["simulator"]["rows"])
