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
    "AsyncEnvPool",
    "CatTensors",
    "ClipTransform",
    "ClosedEnvError",
    "Compose",
    "DoubleToFloat",
    "EnvBase",
    "EnvCreator",
    "EnvMetaData",
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
    "MujocoEnv",
    "MultiThreadedEnv",
    "NoopResetEnv",
    "ObservationNorm",
    "ParallelEnv",
    "PendulumEnv",
    "PolicyPlan",
    "ProcessorAsyncEnvPool",
    "ReacherEnv",
    "RewardScaling",
    "RewardSum",
    "SerialEnv",
    "StateNotSupportedError",
    "StepCounter",
    "SwimmerEnv",
    "ThreadingAsyncEnvPool",
    "ToTensorImage",
    "Transform",
    "TransformedEnv",
    "VecNorm",
    "Walker2dEnv",
    "WorkerError",
    "WorkerTimeoutError",
    "__version__",
    "check_env_specs",
    "exploration_type",
    "pack_flat",
    "plan_policy",
    "set_exploration_type",
    "step_mdp",
    "unpack_flat",
]


def test_public_names() -> None:
    """The package offers these names; a change here is a change of the interface."""
    assert sorted(rl_envs.__all__) == NAMES
    assert all(getattr(rl_envs, name) is not None for name in NAMES)
    pool = ["Layout", "PoolOptions", "StartMethod", "Table", "Task", "TensorForm", "WorkerPool"]
    envs = ["AsyncEnvPool", "ParallelEnv", "ProcessorAsyncEnvPool", "ThreadingAsyncEnvPool"]
    assert sorted(rl_envs.parallel.__all__) == sorted([*envs, *pool])
    assert sorted(rl_envs.gym.__all__) == ["GymEnv", "GymWrapper", "space_from_spec", "spec_from_space"]
    assert set(rl_envs.mujoco.__all__) - set(NAMES) == {"Draws", "Simulation"}


def test_import_is_silent_and_light() -> None:
    """Importing the package prints nothing and loads neither Gymnasium nor a simulator."""
    code = "import sys, rl_envs; print(sorted({'gymnasium', 'mujoco', 'pygame'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert result.stderr == ""
