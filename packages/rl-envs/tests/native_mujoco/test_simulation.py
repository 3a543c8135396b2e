"""Tests of `rl_envs.mujoco.Simulation` and what it is made into."""

from pathlib import Path

import pytest
import torch

from rl_envs.mujoco import Simulation
from rl_envs.mujoco._simulation import load_model
from rl_envs.mujoco._simulator import Simulator, available_cores

BALL = """
<mujoco>
  <worldbody>
    <geom type="plane" size="5 5 0.1"/>
    <body pos="0 0 0.099"><freejoint/><geom type="sphere" size="0.1" mass="1"/></body>
  </worldbody>
</mujoco>
"""


def test_fields_are_checked() -> None:
    """A field that MuJoCo does not have is an error with the nearest names."""
    with pytest.raises(ValueError, match="site_xpos"):
        Simulator(Simulation(BALL, reads=("sitexpos",)), 1, 1)


def test_frame_skip_is_checked() -> None:
    """At least one physics step makes a step."""
    with pytest.raises(ValueError, match="frame_skip too small"):
        Simulation(BALL, frame_skip=0)


def test_contact_forces_are_of_the_last_evaluation() -> None:
    """Fields computed after the step cannot be combined with `is_current`."""
    with pytest.raises(ValueError, match="cfrc_ext"):
        Simulation(BALL, reads=("cfrc_ext",), is_current=True)


def test_models_of_other_kinds(tmp_path: Path) -> None:
    """A file that is not there and a value that is no model are errors that say what to pass."""
    with pytest.raises(FileNotFoundError, match="no model file"):
        load_model(tmp_path / "none.xml")
    with pytest.raises(TypeError, match="found int"):
        load_model(3)


def test_contact_force_carries_the_weight() -> None:
    """A ball at rest on the floor is pushed up by its weight, 9.81 N; at the start of an episode by nothing."""
    simulator = Simulator(Simulation(BALL, frame_skip=500, reads=("cfrc_ext",)), 2, 1)
    force = simulator.now["cfrc_ext"]
    assert not force.any()
    simulator.step()
    expected = torch.full((2,), 9.81, dtype=torch.float64)
    torch.testing.assert_close(force[:, 1, 5], expected, rtol=1e-4, atol=0.0)
    qpos, qvel = simulator.now["qpos"].clone(), simulator.now["qvel"].clone()
    simulator.start(torch.tensor([1]), qpos[1:], qvel[1:])
    assert not force[1].any()
    torch.testing.assert_close(force[:1, 1, 5], expected[:1], rtol=1e-4, atol=0.0)


def test_threads_at_hand() -> None:
    """The default is a thread per core that the process may use, and never more than simulations."""
    assert available_cores() >= 1
    assert Simulator(Simulation(BALL), 64, None).num_threads == min(64, available_cores())
    assert Simulator(Simulation(BALL), 2, 5).num_threads == 2
