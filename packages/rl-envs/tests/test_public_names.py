"""The public names of the package."""

import subprocess
import sys

import rl_envs
import rl_envs.gym
import rl_envs.mujoco
import rl_envs.parallel
import rl_envs.testing

NAMES = [
    "ActionDiscretizer",
    "ActionMask",
    "ActionScaling",
    "AntEnv",
    "AutoResetTransform",
    "BatchSizeTransform",
    "BinarizeReward",
    "CatFrames",
    "BurnInTransform",
    "BaseInfoDictReader",
    "AsyncEnvPool",
    "CatTensors",
    "CenterCrop",
    "ClipTransform",
    "ClosedEnvError",
    "Compose",
    "ConditionalPolicySwitch",
    "ConditionalSkip",
    "DiscreteActionProjection",
    "Crop",
    "DTypeCastTransform",
    "DeviceCastTransform",
    "DoubleToFloat",
    "EndOfLifeTransform",
    "EnvBase",
    "EnvCreator",
    "EnvMetaData",
    "EnvPlan",
    "EnvSpecs",
    "ExpandAs",
    "ExplorationType",
    "FlattenAction",
    "FrameSkipTransform",
    "FlattenObservation",
    "GrayScale",
    "ExcludeTransform",
    "ExplorationType",
    "FiniteTensorDictCheck",
    "FuncEnvAdapter",
    "GymEnv",
    "GymWrapper",
    "HalfCheetahEnv",
    "Hash",
    "HopperEnv",
    "HumanoidEnv",
    "InitTracker",
    "InvertedDoublePendulumEnv",
    "InvertedPendulumEnv",
    "MeanActionSelector",
    "ModuleTransform",
    "ModelBasedEnvBase",
    "LegacyGymEnv",
    "MujocoEnv",
    "MultiAction",
    "LineariseRewards",
    "MujocoEnv",
    "NextObservationDelta",
    "MultiStepTransform",
    "NextStateReconstructor",
    "MultiThreadedEnv",
    "NoopResetEnv",
    "ObservationNorm",
    "ParallelEnv",
    "PendulumEnv",
    "PermuteTransform",
    "PinMemoryTransform",
    "PolicyPlan",
    "RandomTruncationTransform",
    "ProcessorAsyncEnvPool",
    "ReacherEnv",
    "Resize",
    "RewardClipping",
    "RewardScaling",
    "RewardSum",
    "RunningMeanStd",
    "RandomCropTensorDict",
    "ReacherEnv",
    "RemoveEmptySpecs",
    "RenameTransform",
    "Reward2GoTransform",
    "RewardScaling",
    "RewardSum",
    "SelectTransform",
    "SerialEnv",
    "SignTransform",
    "SqueezeTransform",
    "Stack",
    "StateNotSupportedError",
    "StatelessPendulumEnv",
    "StepCounter",
    "SuccessReward",
    "SwimmerEnv",
    "TargetReturn",
    "TensorDictPrimer",
    "TerminateTransform",
    "TimeMaxPool",
    "Timer",
    "TicTacToeEnv",
    "ThreadingAsyncEnvPool",
    "ToTensorImage",
    "TrajCounter",
    "Transform",
    "TransformedEnv",
    "VecGymEnvTransform",
    "UnaryTransform",
    "UnsqueezeTransform",
    "VecNorm",
    "Walker2dEnv",
    "WorkerError",
    "WorkerTimeoutError",
    "WorldModelEnv",
    "__version__",
    "check_env_specs",
    "decode_text",
    "default_info_dict_reader",
    "exploration_type",
    "gSDENoise",
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
    info = ["BaseInfoDictReader", "default_info_dict_reader"]
    adapters = ["FuncEnvAdapter", "GymEnv", "GymWrapper", "LegacyGymEnv"]
    spaces = ["decode_text", "space_from_spec", "spec_from_space"]
    assert rl_envs.gym.__all__ == sorted([*info, *adapters, *spaces])
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
