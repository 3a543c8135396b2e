"""Reinforcement-learning environments on TensorDict: the API, Gymnasium, vectorised and native envs, transforms."""

from tensordict.nn import InteractionType as ExplorationType
from tensordict.nn import set_interaction_type as set_exploration_type
from tensordict.nn.probabilistic import interaction_type as exploration_type

from rl_envs.__about__ import __version__
from rl_envs._checks import check_env_specs
from rl_envs._env_base import EnvBase
from rl_envs._env_plan import EnvPlan
from rl_envs._env_specs import EnvSpecs
from rl_envs._errors import ClosedEnvError, StateNotSupportedError, WorkerError, WorkerTimeoutError
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs._policy_plan import PolicyPlan, plan_policy
from rl_envs._step_mdp import step_mdp
from rl_envs.env_creator import EnvCreator, EnvMetaData
from rl_envs.gym import GymEnv, GymWrapper
from rl_envs.mujoco import (
    AntEnv,
    HalfCheetahEnv,
    HopperEnv,
    HumanoidEnv,
    InvertedDoublePendulumEnv,
    InvertedPendulumEnv,
    MujocoEnv,
    ReacherEnv,
    SwimmerEnv,
    Walker2dEnv,
)
from rl_envs.multi_threaded import MultiThreadedEnv
from rl_envs.parallel import AsyncEnvPool, ParallelEnv, ProcessorAsyncEnvPool, ThreadingAsyncEnvPool
from rl_envs.pendulum import PendulumEnv
from rl_envs.serial import SerialEnv
from rl_envs.transforms import (
    CatTensors,
    ClipTransform,
    Compose,
    DoubleToFloat,
    InitTracker,
    NoopResetEnv,
    ObservationNorm,
    RewardScaling,
    RewardSum,
    StepCounter,
    ToTensorImage,
    Transform,
    TransformedEnv,
    VecNorm,
)

__all__ = [
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
