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
    "AsyncEnvPool",
    "AutoResetTransform",
    "BaseInfoDictReader",
    "BatchSizeTransform",
    "BinarizeReward",
    "BurnInTransform",
    "CatFrames",
    "CatTensors",
    "CenterCrop",
    "ClipTransform",
    "ClosedEnvError",
    "Compose",
    "ConditionalPolicySwitch",
    "ConditionalSkip",
    "Crop",
    "DTypeCastTransform",
    "DeviceCastTransform",
    "DiscreteActionProjection",
    "DoubleToFloat",
    "EndOfLifeTransform",
    "EnvBase",
    "EnvCreator",
    "EnvMetaData",
    "EnvPlan",
    "EnvSpecs",
    "ExcludeTransform",
    "ExpandAs",
    "ExplorationType",
    "FiniteTensorDictCheck",
    "FlattenAction",
    "FlattenObservation",
    "FrameSkipTransform",
    "FuncEnvAdapter",
    "GrayScale",
    "GymEnv",
    "GymWrapper",
    "HalfCheetahEnv",
    "Hash",
    "HopperEnv",
    "HumanoidEnv",
    "InitTracker",
    "InvertedDoublePendulumEnv",
    "InvertedPendulumEnv",
    "LegacyGymEnv",
    "LineariseRewards",
    "MeanActionSelector",
    "ModelBasedEnvBase",
    "ModuleTransform",
    "MujocoEnv",
    "MultiAction",
    "MultiStepTransform",
    "MultiThreadedEnv",
    "NextObservationDelta",
    "NextStateReconstructor",
    "NoopResetEnv",
    "ObservationNorm",
    "ParallelEnv",
    "PendulumEnv",
    "PermuteTransform",
    "PinMemoryTransform",
    "PolicyPlan",
    "ProcessorAsyncEnvPool",
    "RandomCropTensorDict",
    "RandomTruncationTransform",
    "ReacherEnv",
    "RemoveEmptySpecs",
    "RenameTransform",
    "Resize",
    "Reward2GoTransform",
    "RewardClipping",
    "RewardScaling",
    "RewardSum",
    "RunningMeanStd",
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
    "ThreadingAsyncEnvPool",
    "TicTacToeEnv",
    "TimeMaxPool",
    "Timer",
    "ToTensorImage",
    "TrajCounter",
    "Transform",
    "TransformedEnv",
    "UnaryTransform",
    "UnsqueezeTransform",
    "VecGymEnvTransform",
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
    info = ["BaseInfoDictReader", "default_info_dict_reader"]
    adapters = ["FuncEnvAdapter", "GymEnv", "GymWrapper", "LegacyGymEnv"]
    spaces = ["decode_text", "space_from_spec", "spec_from_space"]
    assert rl_envs.gym.__all__ == sorted([*info, *adapters, *spaces])
    envs = ["AsyncEnvPool", "ParallelEnv", "ProcessorAsyncEnvPool", "ThreadingAsyncEnvPool"]
    assert sorted(rl_envs.parallel.__all__) == sorted([*envs, *pool])
    assert set(rl_envs.mujoco.__all__) - set(NAMES) == {"Draws", "Simulation"}


def test_import_is_silent_and_light() -> None:
    """Importing the package prints nothing and loads neither Gymnasium nor a simulator."""
    code = "import sys, rl_envs; print(sorted({'gymnasium', 'mujoco', 'pygame'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert result.stderr == ""
