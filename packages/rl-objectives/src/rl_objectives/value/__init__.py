"""Value estimators: modules that write an advantage and a value target into a batch of trajectories."""

from rl_objectives.value.base import ValueEstimatorBase
from rl_objectives.value.gae import GAE
from rl_objectives.value.td0 import TD0Estimator
from rl_objectives.value.td1 import TD1Estimator
from rl_objectives.value.td_lambda import TDLambdaEstimator
from rl_objectives.value.vtrace import VTrace

__all__ = ["GAE", "TD0Estimator", "TD1Estimator", "TDLambdaEstimator", "VTrace", "ValueEstimatorBase"]
