"""Tests of `rl_envs.stateless_pendulum`."""

import math

import pytest
import torch
from tensordict import TensorDictBase

from rl_envs import PendulumEnv, StatelessPendulumEnv, StepCounter, TransformedEnv, check_env_specs


def test_steps_are_those_of_the_pendulum() -> None:
    """From the same states and torques, every pendulum of a batch moves as a `PendulumEnv` does, bit for bit."""
    env, other = StatelessPendulumEnv(), PendulumEnv((64,), seed=0)
    root: TensorDictBase = env.reset(env.gen_params(batch_size=[64]), seed=1)
    first: TensorDictBase = other.reset()
    other.set_state({"angle": root["th"], "speed": root["thdot"]})
    for _ in range(50):
        action = other.rand_action()["action"]
        following = env.step(root.set("action", action))["next"]
        expected = other.step(first.set("action", action))["next"]
        assert torch.equal(following["th"].cos(), expected["observation"][:, 0])
        assert torch.equal(following["thdot"], expected["observation"][:, 2])
        assert torch.equal(following["reward"], expected["reward"])
        root, first = env.step_mdp(root), other.step_mdp(first)


def test_constants_of_each_pendulum() -> None:
    """A step uses the constants in the data: gravity, limits and time step of each row, which stay with it."""
    env = StatelessPendulumEnv()
    params = env.gen_params(g=4.0, batch_size=[3])
    params["params", "g"][1] = 8.0
    params["params", "max_speed"][2] = 0.1
    params["params", "max_torque"][0] = 1.0
    root = env.reset(params)
    root.update({"th": torch.full((3,), math.pi / 2), "thdot": torch.zeros(3), "action": torch.full((3, 1), 2.0)})
    following = env.step(root)["next"]
    pull = torch.tensor([6.0, 12.0, 6.0])
    push = torch.tensor([3.0, 6.0, 6.0])
    expected = ((pull + push) * 0.05).minimum(torch.tensor([8.0, 8.0, 0.1]))
    assert torch.allclose(following["thdot"], expected)
    assert torch.equal(following["params", "g"], params["params", "g"])


def test_rollouts_from_parameters() -> None:
    """A rollout from a reset with parameters has their batch size; specs hold at every one."""
    env = StatelessPendulumEnv(seed=0)
    rolled = env.rollout(5, auto_reset=False, tensordict=env.reset(env.gen_params(batch_size=[10])))
    assert rolled.batch_size == torch.Size((10, 5))
    assert rolled["params", "g"].shape == torch.Size((10, 5))
    check_env_specs(env, seed=0)
    counted = TransformedEnv(env, StepCounter(max_steps=3))
    again = counted.rollout(9, tensordict=env.gen_params(batch_size=[2]))
    assert again.batch_size == torch.Size((2, 3))


def test_learning_through_the_simulator() -> None:
    """The return is differentiable in actions and constants."""
    env = StatelessPendulumEnv(seed=0)
    params = env.gen_params(batch_size=[4])
    mass = torch.ones(4, requires_grad=True)
    params["params", "m"] = mass
    torque = torch.zeros(4, 1, requires_grad=True)
    rolled = env.rollout(4, lambda data: data.set("action", torque), tensordict=params)
    rolled["next", "reward"].sum().backward()
    assert torque.grad is not None
    assert (torque.grad != 0).all()
    assert mass.grad is not None


def test_first_states() -> None:
    """First states fill their ranges, and a seed fixes them."""
    env = StatelessPendulumEnv()
    first = env.reset(env.gen_params(batch_size=[20_000]), seed=3)
    assert first["th"].std().item() == pytest.approx(2 * math.pi / math.sqrt(12), rel=0.02)
    assert first["thdot"].abs().max() <= 1
    assert torch.equal(first["th"], env.reset(env.gen_params(batch_size=[20_000]), seed=3)["th"])


def test_a_move_keeps_the_stream() -> None:
    """The seed holds after a move to a device."""
    first, second = (StatelessPendulumEnv(seed=3) for _ in range(2))
    assert torch.equal(first.to("cpu").reset()["th"], second.reset()["th"])
