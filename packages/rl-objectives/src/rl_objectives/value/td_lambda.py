"""Lambda-returns over a batch."""

from typing import final

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from rl_objectives._arguments import check_factor
from rl_objectives.functional._checks import check_same_shape
from rl_objectives.functional.td_lambda import td_lambda_return_estimate
from rl_objectives.value.base import Trajectories, ValueEstimatorBase
from rl_specs import NestedKey


@final
class TDLambdaEstimator(ValueEstimatorBase):
    """Lambda-return and its advantage; see `td_lambda_return_estimate` for the equation.

    Args:
        gamma: discount in [0, 1], per step.
        lmbda: trace decay in [0, 1].
        value_network: module that writes the value; None: values are read from the data.
        vectorized: accepted for compatibility; there is one implementation.
        average_gae, differentiable, skip_existing: as for `ValueEstimatorBase`.
        advantage_key, value_target_key, value_key, shifted, device, time_dim: likewise.
    Source: Sutton and Barto 2018, section 12.1, http://incompleteideas.net/book/the-book-2nd.html
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
        check_same_shape("TDLambdaEstimator", reward=data.reward, state_value=data.state_value)
        target = td_lambda_return_estimate(
            self.gamma,
            self.lmbda,
            data.next_state_value,
            data.reward,
            data.done,
            data.terminated,
            time_dim=data.time_dim,
        )
        return target - data.state_value, target
