"""Generalised advantage estimation over a batch."""

from typing import final

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from rl_objectives._arguments import check_factor
from rl_objectives.functional.gae import generalized_advantage_estimate
from rl_objectives.value.base import Trajectories, ValueEstimatorBase
from rl_specs import NestedKey


@final
class GAE(ValueEstimatorBase):
    """Generalised advantage estimate; see `generalized_advantage_estimate` for the equation.

    Args:
        gamma: discount in [0, 1], per step.
        lmbda: trace decay in [0, 1].
        value_network: module that writes the value; None: values are read from the data.
        average_gae: standardise the advantage over the batch.
        vectorized: accepted for compatibility; there is one implementation.
        differentiable, skip_existing, advantage_key, value_target_key, value_key, shifted, device, time_dim: as for
            `ValueEstimatorBase`.
    Source: Schulman et al. 2015, https://arxiv.org/abs/1506.02438
    """

    def __init__(
        self,
        *,
        gamma: float | Tensor,
        lmbda: float | Tensor,
        value_network: TensorDictModuleBase | None,
        average_gae: bool = False,
        differentiable: bool = False,
        vectorized: bool | None = None,
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
            average_gae=average_gae,
            differentiable=differentiable,
            skip_existing=skip_existing,
            advantage_key=advantage_key,
            value_target_key=value_target_key,
            value_key=value_key,
            shifted=shifted,
            device=device,
            time_dim=time_dim,
        )
        check_factor(type(self).__name__, "lmbda", lmbda)
        self.lmbda = lmbda.to(device) if isinstance(lmbda, Tensor) else float(lmbda)
        self.vectorized = vectorized

    def _estimate(self, data: Trajectories, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        return generalized_advantage_estimate(
            self.gamma,
            self.lmbda,
            data.state_value,
            data.next_state_value,
            data.reward,
            data.done,
            data.terminated,
            time_dim=data.time_dim,
        )
