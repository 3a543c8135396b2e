"""V-trace over a batch."""

from typing import final

import torch
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModuleBase
from torch import Tensor

from rl_objectives._policy import log_prob, policy_distribution, stored_log_prob
from rl_objectives.functional.vtrace import vtrace_advantage_estimate
from rl_objectives.value.base import Trajectories, ValueEstimatorBase
from rl_specs import NestedKey


@final
class VTrace(ValueEstimatorBase):
    """Off-policy corrected advantage and value target; see `vtrace_advantage_estimate` for the equation.

    Reads besides what every estimator reads: the action and `"sample_log_prob"`.

    Args:
        gamma: discount in [0, 1], per step.
        actor_network: the policy that learns.
        value_network: module that writes the value; None: values are read from the data.
        rho_thresh: clip of the weights of the temporal differences.
        c_thresh: clip of the weights of the trace.
        average_adv: standardise the advantage over the batch.
        differentiable, skip_existing, advantage_key, value_target_key, value_key, shifted, device, time_dim: as
            for `ValueEstimatorBase`.
    Source: Espeholt et al. 2018, https://arxiv.org/abs/1802.01561
    """

    def __init__(
        self,
        *,
        gamma: float | Tensor,
        actor_network: ProbabilisticTensorDictSequential,
        value_network: TensorDictModuleBase | None,
        rho_thresh: float = 1.0,
        c_thresh: float = 1.0,
        average_adv: bool = False,
        differentiable: bool = False,
        skip_existing: bool | None = None,
        advantage_key: NestedKey | None = None,
        value_target_key: NestedKey | None = None,
        value_key: NestedKey | None = None,
        shifted: bool = False,
        device: torch.device | str | None = None,
        time_dim: int | None = None,
    ) -> None:
        super().__init__(
            gamma=gamma,
            value_network=value_network,
            average_gae=average_adv,
            differentiable=differentiable,
            skip_existing=skip_existing,
            advantage_key=advantage_key,
            value_target_key=value_target_key,
            value_key=value_key,
            shifted=shifted,
            device=device,
            time_dim=time_dim,
        )
        self.actor_network = actor_network
        self.rho_thresh = float(rho_thresh)
        self.c_thresh = float(c_thresh)

    def _estimate(self, data: Trajectories, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        names, like = self.tensor_keys, data.state_value
        with torch.no_grad():
            dist = policy_distribution("VTrace", self.actor_network, tensordict)
            log_pi = log_prob("VTrace", dist, tensordict, names.action, like)
        return vtrace_advantage_estimate(
            self.gamma,
            log_pi,
            stored_log_prob("VTrace", tensordict, names.log_prob_keys, like),
            data.state_value,
            data.next_state_value,
            data.reward,
            data.done,
            data.terminated,
            rho_thresh=self.rho_thresh,
            c_thresh=self.c_thresh,
            time_dim=data.time_dim,
        )
