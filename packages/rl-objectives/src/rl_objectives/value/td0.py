"""One-step temporal differences over a batch."""

from typing import ClassVar, final

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from rl_objectives.functional._checks import check_same_shape
from rl_objectives.functional.td0 import td0_return_estimate
from rl_objectives.value.base import Trajectories, ValueEstimatorBase
from rl_specs import NestedKey


@final
class TD0Estimator(ValueEstimatorBase):
    """One-step return and its advantage; see `td0_return_estimate` for the equation.

    Where the data hold `"steps_to_next_obs"`, int `[*B, T, 1]`, as n-step samples do, the discount of each sample is
    `gamma` to the power of it; such samples need `shifted=False`.

    Args:
        gamma: discount in [0, 1], per step.
        value_network: module that writes the value; None: values are read from the data.
        average_gae, differentiable, skip_existing: as for `ValueEstimatorBase`.
        advantage_key, value_target_key, value_key, shifted, device, time_dim: likewise.
    Source: Sutton and Barto 2018, section 6.1, http://incompleteideas.net/book/the-book-2nd.html
    """

    accepts_several_steps: ClassVar[bool] = True

    def __init__(
        self,
        *,
        gamma: float | Tensor,
        value_network: TensorDictModuleBase | None,
        average_gae: bool = False,
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

    def _estimate(self, data: Trajectories, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        gamma = self.gamma
        steps = tensordict.get(self.tensor_keys.steps_to_next_obs, None)
        if steps is not None:
            check_same_shape("TD0Estimator", reward=data.reward, steps_to_next_obs=steps)
            gamma = torch.as_tensor(gamma, dtype=data.reward.dtype, device=steps.device).pow(steps)
        target = td0_return_estimate(gamma, data.next_state_value, data.reward, data.terminated)
        check_same_shape("TD0Estimator", reward=target, state_value=data.state_value)
        return target - data.state_value, target
