"""Transforms: what happens to data between an environment and its user."""

from rl_envs.transforms.action_discretizer import ActionDiscretizer
from rl_envs.transforms.action_mask import ActionMask
from rl_envs.transforms.action_scaling import ActionScaling
from rl_envs.transforms.auto_reset import AutoResetTransform
from rl_envs.transforms.batch_size import BatchSizeTransform
from rl_envs.transforms.binarize_reward import BinarizeReward
from rl_envs.transforms.burn_in import BurnInTransform
from rl_envs.transforms.cat_frames import CatFrames
from rl_envs.transforms.cat_tensors import CatTensors
from rl_envs.transforms.center_crop import CenterCrop
from rl_envs.transforms.clip import ClipTransform
from rl_envs.transforms.compose import Compose
from rl_envs.transforms.conditional_policy_switch import ConditionalPolicySwitch
from rl_envs.transforms.conditional_skip import ConditionalSkip
from rl_envs.transforms.crop import Crop
from rl_envs.transforms.device_cast import DeviceCastTransform
from rl_envs.transforms.discrete_action_projection import DiscreteActionProjection
from rl_envs.transforms.double_to_float import DoubleToFloat
from rl_envs.transforms.dtype_cast import DTypeCastTransform
from rl_envs.transforms.end_of_life import EndOfLifeTransform
from rl_envs.transforms.exclude import ExcludeTransform
from rl_envs.transforms.expand_as import ExpandAs
from rl_envs.transforms.finite_check import FiniteTensorDictCheck
from rl_envs.transforms.flatten_action import FlattenAction
from rl_envs.transforms.flatten_observation import FlattenObservation
from rl_envs.transforms.frame_skip import FrameSkipTransform
from rl_envs.transforms.gray_scale import GrayScale
from rl_envs.transforms.gsde_noise import gSDENoise
from rl_envs.transforms.hash import Hash
from rl_envs.transforms.init_tracker import InitTracker
from rl_envs.transforms.linearise_rewards import LineariseRewards
from rl_envs.transforms.mean_action_selector import MeanActionSelector
from rl_envs.transforms.module_transform import ModuleTransform
from rl_envs.transforms.multi_action import MultiAction
from rl_envs.transforms.multi_step import MultiStepTransform
from rl_envs.transforms.next_observation_delta import NextObservationDelta
from rl_envs.transforms.next_state_reconstructor import NextStateReconstructor
from rl_envs.transforms.noop_reset import NoopResetEnv
from rl_envs.transforms.observation_norm import ObservationNorm
from rl_envs.transforms.permute import PermuteTransform
from rl_envs.transforms.pin_memory import PinMemoryTransform
from rl_envs.transforms.random_crop import RandomCropTensorDict
from rl_envs.transforms.random_truncation import RandomTruncationTransform
from rl_envs.transforms.remove_empty_specs import RemoveEmptySpecs
from rl_envs.transforms.rename import RenameTransform
from rl_envs.transforms.resize import Resize
from rl_envs.transforms.reward_clipping import RewardClipping
from rl_envs.transforms.reward_scaling import RewardScaling
from rl_envs.transforms.reward_sum import RewardSum
from rl_envs.transforms.reward_to_go import Reward2GoTransform
from rl_envs.transforms.running_mean_std import RunningMeanStd
from rl_envs.transforms.select import SelectTransform
from rl_envs.transforms.sign import SignTransform
from rl_envs.transforms.squeeze import SqueezeTransform
from rl_envs.transforms.stack import Stack
from rl_envs.transforms.step_counter import StepCounter
from rl_envs.transforms.success_reward import SuccessReward
from rl_envs.transforms.target_return import TargetReturn
from rl_envs.transforms.tensordict_primer import TensorDictPrimer
from rl_envs.transforms.terminate import TerminateTransform
from rl_envs.transforms.time_max_pool import TimeMaxPool
from rl_envs.transforms.timer import Timer
from rl_envs.transforms.to_tensor_image import ToTensorImage
from rl_envs.transforms.traj_counter import TrajCounter
from rl_envs.transforms.transform import Transform
from rl_envs.transforms.transformed_env import TransformedEnv
from rl_envs.transforms.unary import UnaryTransform
from rl_envs.transforms.unsqueeze import UnsqueezeTransform
from rl_envs.transforms.vec_gym_env import VecGymEnvTransform
from rl_envs.transforms.vec_norm import VecNorm

__all__ = [
    "ActionDiscretizer",
    "ActionMask",
    "ActionScaling",
    "AutoResetTransform",
    "BatchSizeTransform",
    "BinarizeReward",
    "BurnInTransform",
    "CatFrames",
    "CatTensors",
    "CenterCrop",
    "ClipTransform",
    "Compose",
    "ConditionalPolicySwitch",
    "ConditionalSkip",
    "Crop",
    "DTypeCastTransform",
    "DeviceCastTransform",
    "DiscreteActionProjection",
    "DoubleToFloat",
    "EndOfLifeTransform",
    "ExcludeTransform",
    "ExpandAs",
    "FiniteTensorDictCheck",
    "FlattenAction",
    "FlattenObservation",
    "FrameSkipTransform",
    "GrayScale",
    "Hash",
    "InitTracker",
    "LineariseRewards",
    "MeanActionSelector",
    "ModuleTransform",
    "MultiAction",
    "MultiStepTransform",
    "NextObservationDelta",
    "NextStateReconstructor",
    "NoopResetEnv",
    "ObservationNorm",
    "PermuteTransform",
    "PinMemoryTransform",
    "RandomCropTensorDict",
    "RandomTruncationTransform",
    "RemoveEmptySpecs",
    "RenameTransform",
    "Resize",
    "Reward2GoTransform",
    "RewardClipping",
    "RewardScaling",
    "RewardSum",
    "RunningMeanStd",
    "SelectTransform",
    "SignTransform",
    "SqueezeTransform",
    "Stack",
    "StepCounter",
    "SuccessReward",
    "TargetReturn",
    "TensorDictPrimer",
    "TerminateTransform",
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
    "gSDENoise",
]
