"""Transforms: what happens to data between an environment and its user."""

from rl_envs.transforms.burn_in import BurnInTransform
from rl_envs.transforms.cat_tensors import CatTensors
from rl_envs.transforms.clip import ClipTransform
from rl_envs.transforms.compose import Compose
from rl_envs.transforms.double_to_float import DoubleToFloat
from rl_envs.transforms.exclude import ExcludeTransform
from rl_envs.transforms.finite_check import FiniteTensorDictCheck
from rl_envs.transforms.init_tracker import InitTracker
from rl_envs.transforms.multi_step import MultiStepTransform
from rl_envs.transforms.next_state_reconstructor import NextStateReconstructor
from rl_envs.transforms.noop_reset import NoopResetEnv
from rl_envs.transforms.observation_norm import ObservationNorm
from rl_envs.transforms.random_crop import RandomCropTensorDict
from rl_envs.transforms.remove_empty_specs import RemoveEmptySpecs
from rl_envs.transforms.rename import RenameTransform
from rl_envs.transforms.reward_scaling import RewardScaling
from rl_envs.transforms.reward_sum import RewardSum
from rl_envs.transforms.reward_to_go import Reward2GoTransform
from rl_envs.transforms.select import SelectTransform
from rl_envs.transforms.step_counter import StepCounter
from rl_envs.transforms.to_tensor_image import ToTensorImage
from rl_envs.transforms.transform import Transform
from rl_envs.transforms.transformed_env import TransformedEnv
from rl_envs.transforms.vec_norm import VecNorm

__all__ = [
    "BurnInTransform",
    "CatTensors",
    "ClipTransform",
    "Compose",
    "DoubleToFloat",
    "ExcludeTransform",
    "FiniteTensorDictCheck",
    "InitTracker",
    "MultiStepTransform",
    "NextStateReconstructor",
    "NoopResetEnv",
    "ObservationNorm",
    "RandomCropTensorDict",
    "RemoveEmptySpecs",
    "RenameTransform",
    "Reward2GoTransform",
    "RewardScaling",
    "RewardSum",
    "SelectTransform",
    "StepCounter",
    "ToTensorImage",
    "Transform",
    "TransformedEnv",
    "VecNorm",
]
