"""Batches of MuJoCo simulations, stepped by MuJoCo's own thread pool, and Gymnasium's tasks on them."""

from rl_envs.mujoco._draws import Draws
from rl_envs.mujoco._env import MujocoEnv
from rl_envs.mujoco._simulation import Simulation
from rl_envs.mujoco.ant import AntEnv
from rl_envs.mujoco.half_cheetah import HalfCheetahEnv
from rl_envs.mujoco.hopper import HopperEnv
from rl_envs.mujoco.humanoid import HumanoidEnv
from rl_envs.mujoco.inverted_double_pendulum import InvertedDoublePendulumEnv
from rl_envs.mujoco.inverted_pendulum import InvertedPendulumEnv
from rl_envs.mujoco.reacher import ReacherEnv
from rl_envs.mujoco.swimmer import SwimmerEnv
from rl_envs.mujoco.walker2d import Walker2dEnv

__all__ = [
    "AntEnv",
    "Draws",
    "HalfCheetahEnv",
    "HopperEnv",
    "HumanoidEnv",
    "InvertedDoublePendulumEnv",
    "InvertedPendulumEnv",
    "MujocoEnv",
    "ReacherEnv",
    "Simulation",
    "SwimmerEnv",
    "Walker2dEnv",
]
