"""Tests of `rl_envs.pendulum`."""

import math

import gymnasium
import pytest
import torch

from rl_envs import EnvBase, PendulumEnv
from rl_envs.testing import EnvConformance
from rl_specs import ShapeError


class TestBatch(EnvConformance):
    """A batch of pendulums keeps every promise."""

    def make_env(self) -> EnvBase:
        """Two by three."""
        return PendulumEnv((2, 3))


class TestOne(EnvConformance):
    """A single pendulum keeps every promise."""

    def make_env(self) -> EnvBase:
        """Without batch dimensions."""
        return PendulumEnv()


def test_dynamics_are_those_of_gymnasium() -> None:
    """From the same state, a step equals one of Gymnasium's Pendulum-v1 to float32 rounding, at speed limits too."""
    raw = gymnasium.make("Pendulum-v1").unwrapped
    raw.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        angle, speed, torque = (
            (torch.rand(3, generator=generator) * 2 - 1) * torch.tensor([math.pi, 8.0, 2.0])
        ).tolist()
        raw.state = torch.tensor([angle, speed], dtype=torch.float64).numpy()  # type: ignore[attr-defined]  # of Pendulum
        env = PendulumEnv()
        root = env.reset()
        env.set_state({"angle": torch.tensor(angle), "speed": torch.tensor(speed)})
        expected, reward, *_ = raw.step(torch.tensor([torque]).numpy())
        following = env.step(root.set("action", torch.tensor([torque])))["next"]
        assert torch.allclose(following["observation"], torch.from_numpy(expected), atol=1e-5)
        assert following["reward"].item() == pytest.approx(float(reward), abs=1e-5)


def test_step_by_hand() -> None:
    """From angle pi/2 at rest with torque 1: speed (15 + 3) * 0.05 = 0.9, cost (pi/2)^2 + 0.001."""
    env = PendulumEnv()
    root = env.reset()
    env.set_state({"angle": torch.tensor(math.pi / 2), "speed": torch.tensor(0.0)})
    following = env.step(root.set("action", torch.tensor([1.0])))["next"]
    assert following["observation"][2].item() == pytest.approx(0.9)
    assert following["reward"].item() == pytest.approx(-((math.pi / 2) ** 2) - 0.001)
    assert following["observation"][0].item() == pytest.approx(math.cos(math.pi / 2 + 0.045), abs=1e-6)


def test_streams_do_not_depend_on_the_batch() -> None:
    """A pendulum draws the same first states alone, in a batch, and in a later part of a split batch."""
    whole = PendulumEnv((6,))
    first = whole.reset(seed=3)["observation"]
    again = whole.reset()["observation"]
    part = PendulumEnv((2,))
    part.set_seed(3, first_index=4)
    assert torch.equal(part.reset()["observation"], first[4:])
    assert torch.equal(part.reset()["observation"], again[4:])
    shaped = PendulumEnv((2, 3)).reset(seed=3)["observation"]
    assert torch.equal(shaped.reshape(6, 3), first)
    assert not torch.equal(first, again)


def test_partial_resets_advance_only_their_rows() -> None:
    """A row's next first state depends on how often that row has been reset, not on the others."""
    often, once = PendulumEnv((2,)), PendulumEnv((2,))
    root = often.reset(seed=0)
    once.reset(seed=0)
    for _ in range(3):
        often.reset(root.clone().set("_reset", torch.tensor([True, False])))
    last, second = often.reset()["observation"], once.reset()["observation"]
    assert torch.equal(last[1], second[1])
    assert not torch.equal(last[0], second[0])


def test_first_states_fill_their_ranges() -> None:
    """Angles are uniform in [-pi, pi) and speeds in [-1, 1), independently."""
    observation = PendulumEnv((20_000,)).reset(seed=1)["observation"]
    angle, speed = torch.atan2(observation[:, 1], observation[:, 0]), observation[:, 2]
    assert abs(angle.mean().item()) < 0.05
    assert angle.std().item() == pytest.approx(2 * math.pi / math.sqrt(12), rel=0.02)
    assert speed.std().item() == pytest.approx(2 / math.sqrt(12), rel=0.02)
    assert abs(torch.corrcoef(torch.stack((angle, speed)))[0, 1].item()) < 0.03
    assert angle.abs().max() <= math.pi
    assert speed.abs().max() < 1


def test_physical_constants() -> None:
    """Gravity, mass, length and time step enter as the equation says."""
    env = PendulumEnv(gravity=2.0, mass=3.0, length=0.5, time_step=0.1)
    root = env.reset()
    env.set_state({"angle": torch.tensor(math.pi / 2), "speed": torch.tensor(0.0)})
    following = env.step(root.set("action", torch.tensor([1.0])))["next"]
    assert following["observation"][2].item() == pytest.approx((3 * 2 / (2 * 0.5) + 3 / (3 * 0.25)) * 0.1)


def test_no_step_reads_a_value_back() -> None:
    """Steps and partial resets work on a device that has no values to read."""
    env = PendulumEnv((3,))
    env.to("meta")
    mask = torch.zeros(3, 1, dtype=torch.bool, device="meta")
    assert env._step({"action": torch.zeros(3, 1, device="meta")})["reward"].device.type == "meta"
    assert env._reset({"_reset": mask})["observation"].device.type == "meta"


def test_a_state_of_other_names_is_refused() -> None:
    """A misspelt entry of a state is an error, and changes nothing."""
    env = PendulumEnv(seed=0)
    env.reset()
    before = env.get_state()
    with pytest.raises(KeyError, match=r"unknown entries.*angel"):
        env.set_state({"angel": torch.zeros(()), "speed": torch.ones(())})
    assert all(torch.equal(value, before[name]) for name, value in env.get_state().items())


def test_states_of_another_batch_are_refused() -> None:
    """A state is for as many pendulums as it was taken from: their random streams would be one otherwise."""
    one, three = PendulumEnv(batch_size=(1,)), PendulumEnv(batch_size=(3,))
    one.reset()
    before = three.get_state()
    with pytest.raises(ShapeError, match=r"another batch. Expected \(3,\), found \(1,\)"):
        three.set_state(one.get_state())
    assert all(torch.equal(value, before[name]) for name, value in three.get_state().items())
