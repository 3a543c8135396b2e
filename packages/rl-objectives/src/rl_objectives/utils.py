"""Helpers of the losses, under the module path that the documents of TorchRL use."""

from rl_objectives._estimators import ValueEstimators, default_value_kwargs
from rl_objectives.optimizers import group_optimizers
from rl_objectives.target_update import HardUpdate, SoftUpdate, TargetUpdate

__all__ = ["HardUpdate", "SoftUpdate", "TargetUpdate", "ValueEstimators", "default_value_kwargs", "group_optimizers"]
