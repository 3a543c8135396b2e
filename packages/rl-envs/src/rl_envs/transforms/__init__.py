"""Transforms: what happens to data between an environment and its user."""

from rl_envs.transforms.action_discretizer import ActionDiscretizer
from rl_envs.transforms.action_mask import ActionMask
from rl_envs.transforms.action_scaling import ActionScaling
from rl_envs.transforms.auto_reset import AutoResetTransform
from rl_envs.transforms.batch_size import BatchSizeTransform
from rl_envs.transforms.cat_tensors import CatTensors
from rl_envs.transforms.clip import ClipTransform
from rl_envs.transforms.compose import Compose
from rl_envs.transforms.conditional_policy_switch import ConditionalPolicySwitch
from rl_envs.transforms.conditional_skip import ConditionalSkip
from rl_envs.transforms.discrete_action_projection import DiscreteActionProjection
from rl_envs.transforms.double_to_float import DoubleToFloat
from rl_envs.transforms.end_of_life import EndOfLifeTransform
from rl_envs.transforms.flatten_action import FlattenAction
from rl_envs.transforms.frame_skip import FrameSkipTransform
from rl_envs.transforms.gsde_noise import gSDENoise
from rl_envs.transforms.init_tracker import InitTracker
from rl_envs.transforms.mean_action_selector import MeanActionSelector
from rl_envs.transforms.module_transform import ModuleTransform
from rl_envs.transforms.multi_action import MultiAction
from rl_envs.transforms.noop_reset import NoopResetEnv
from rl_envs.transforms.observation_norm import ObservationNorm
from rl_envs.transforms.random_truncation import RandomTruncationTransform
from rl_envs.transforms.reward_scaling import RewardScaling
from rl_envs.transforms.reward_sum import RewardSum
from rl_envs.transforms.step_counter import StepCounter
from rl_envs.transforms.success_reward import SuccessReward
from rl_envs.transforms.target_return import TargetReturn
from rl_envs.transforms.tensordict_primer import TensorDictPrimer
from rl_envs.transforms.terminate import TerminateTransform
from rl_envs.transforms.to_tensor_image import ToTensorImage
from rl_envs.transforms.traj_counter import TrajCounter
from rl_envs.transforms.transform import Transform
from rl_envs.transforms.transformed_env import TransformedEnv
from rl_envs.transforms.vec_gym_env import VecGymEnvTransform
from rl_envs.transforms.vec_norm import VecNorm

__all__ = [
    "ActionDiscretizer",
    "ActionMask",
    "ActionScaling",
    "AutoResetTransform",
    "BatchSizeTransform",
    "CatTensors",
    "ClipTransform",
    "Compose",
    "ConditionalPolicySwitch",
    "ConditionalSkip",
    "DiscreteActionProjection",
    "DoubleToFloat",
    "EndOfLifeTransform",
    "FlattenAction",
    "FrameSkipTransform",
    "InitTracker",
    "MeanActionSelector",
    "ModuleTransform",
    "MultiAction",
    "NoopResetEnv",
    "ObservationNorm",
    "RandomTruncationTransform",
    "RewardScaling",
    "RewardSum",
    "StepCounter",
    "SuccessReward",
    "TargetReturn",
    "TensorDictPrimer",
    "TerminateTransform",
    "ToTensorImage",
    "TrajCounter",
    "Transform",
    "TransformedEnv",
    "VecGymEnvTransform",
    "VecNorm",
    "gSDENoise",
]
