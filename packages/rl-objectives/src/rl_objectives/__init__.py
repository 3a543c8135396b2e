"""Loss modules, value estimators and target-network updates for reinforcement learning on TensorDict."""

from rl_objectives.__about__ import __version__
from rl_objectives._estimators import ValueEstimators, default_value_kwargs
from rl_objectives.a2c import A2CLoss
from rl_objectives.common import LossModule
from rl_objectives.compiled import compile_loss
from rl_objectives.optimizers import group_optimizers
from rl_objectives.ppo import PPOLoss
from rl_objectives.ppo_clip import ClipPPOLoss
from rl_objectives.ppo_kl import KLPENPPOLoss
from rl_objectives.reinforce import ReinforceLoss
from rl_objectives.target_update import HardUpdate, SoftUpdate
from rl_objectives.value import (
    GAE,
    TD0Estimator,
    TD1Estimator,
    TDLambdaEstimator,
    ValueEstimatorBase,
    VTrace,
)

__all__ = [
    "GAE",
    "A2CLoss",
    "ClipPPOLoss",
    "HardUpdate",
    "KLPENPPOLoss",
    "LossModule",
    "PPOLoss",
    "ReinforceLoss",
    "SoftUpdate",
    "TD0Estimator",
    "TD1Estimator",
    "TDLambdaEstimator",
    "VTrace",
    "ValueEstimatorBase",
    "ValueEstimators",
    "__version__",
    "compile_loss",
    "default_value_kwargs",
    "group_optimizers",
]
