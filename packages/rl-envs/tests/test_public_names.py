"""The public names of the package."""

import subprocess
import sys

import rl_envs
import rl_envs.gym
import rl_envs.mujoco
import rl_envs.parallel
import rl_envs.testing

NAMES = [
    "AntEnv",
    "CatTensors",
    "ClipTransform",
    "ClosedEnvError",
    "Compose",
    "DoubleToFloat",
    "EnvBase",
    "EnvPlan",
    "EnvSpecs",
    "ExplorationType",
    "GymEnv",
    "GymWrapper",
    "HalfCheetahEnv",
    "HopperEnv",
    "HumanoidEnv",
    "InitTracker",
    "InvertedDoublePendulumEnv",
    "InvertedPendulumEnv",
    "ModelBasedEnvBase",
    "MujocoEnv",
    "NoopResetEnv",
    "ObservationNorm",
    "ParallelEnv",
    "PendulumEnv",
    "PolicyPlan",
    "ReacherEnv",
    "RewardScaling",
    "RewardSum",
    "SerialEnv",
    "StateNotSupportedError",
    "StatelessPendulumEnv",
    "StepCounter",
    "SwimmerEnv",
    "TicTacToeEnv",
    "ToTensorImage",
    "Transform",
    "TransformedEnv",
    "VecNorm",
    "Walker2dEnv",
    "WorkerError",
    "WorkerTimeoutError",
    "WorldModelEnv",
    "__version__",
    "check_env_specs",
    "exploration_type",
    "pack_flat",
    "plan_policy",
    "register_gym",
    "set_exploration_type",
    "step_mdp",
    "to_gymnasium",
    "to_gymnasium_vector",
    "unpack_flat",
]


def test_public_names() -> None:
    """The package offers these names; a change here is a change of the interface."""
    assert sorted(rl_envs.__all__) == NAMES
    assert all(getattr(rl_envs, name) is not None for name in NAMES)
    pool = ["Layout", "PoolOptions", "StartMethod", "Table", "Task", "TensorForm", "WorkerPool"]
    assert sorted(rl_envs.parallel.__all__) == sorted(["ParallelEnv", *pool])
    assert sorted(rl_envs.gym.__all__) == ["GymEnv", "GymWrapper", "space_from_spec", "spec_from_space"]
    assert set(rl_envs.mujoco.__all__) - set(NAMES) == {"Draws", "Simulation"}


def test_import_is_silent_and_light() -> None:
    """Importing the package prints nothing and loads neither Gymnasium nor a simulator."""
    code = "import sys, rl_envs; print(sorted({'gymnasium', 'mujoco', 'pygame'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert result.stderr == ""
