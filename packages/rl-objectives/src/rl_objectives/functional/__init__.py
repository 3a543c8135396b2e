"""Pure functions on tensors: return and advantage estimates, and the terms of the losses."""

from rl_objectives.functional._scan import reverse_linear_recurrence
from rl_objectives.functional.critic import clipped_value_loss, explained_variance, value_distance
from rl_objectives.functional.gae import generalized_advantage_estimate
from rl_objectives.functional.policy import (
    clipped_surrogate,
    effective_sample_size,
    kl_estimate_k1,
    kl_estimate_k3,
    policy_gradient,
    surrogate,
)
from rl_objectives.functional.reduce import reduce_loss, standardize
from rl_objectives.functional.td0 import td0_advantage_estimate, td0_return_estimate
from rl_objectives.functional.td1 import td1_advantage_estimate, td1_return_estimate
from rl_objectives.functional.td_lambda import td_lambda_advantage_estimate, td_lambda_return_estimate
from rl_objectives.functional.vtrace import vtrace_advantage_estimate

__all__ = [
    "clipped_surrogate",
    "clipped_value_loss",
    "effective_sample_size",
    "explained_variance",
    "generalized_advantage_estimate",
    "kl_estimate_k1",
    "kl_estimate_k3",
    "policy_gradient",
    "reduce_loss",
    "reverse_linear_recurrence",
    "standardize",
    "surrogate",
    "td0_advantage_estimate",
    "td0_return_estimate",
    "td1_advantage_estimate",
    "td1_return_estimate",
    "td_lambda_advantage_estimate",
    "td_lambda_return_estimate",
    "value_distance",
    "vtrace_advantage_estimate",
]
