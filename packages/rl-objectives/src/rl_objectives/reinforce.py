"""REINFORCE."""

from typing import Any, final

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModuleBase

from rl_objectives._coefficients import check_choice
from rl_objectives._keys import input_keys, read
from rl_objectives._policy import constant, log_prob
from rl_objectives._policy_value import PolicyValueLoss
from rl_objectives.functional.critic import Distance, value_distance
from rl_objectives.functional.policy import policy_gradient
from rl_objectives.functional.reduce import Reduction, reduce_loss
from rl_specs import NestedKey


@final
class ReinforceLoss(PolicyValueLoss):
    """Score-function policy gradient `-log pi(a|s) * A`, with a baseline where there is a critic.

    Reads `advantage` `[*B, 1]`, `value_target` `[*B, 1]`, `action` and what the networks read. Writes `loss_actor`
    and `loss_value`.

    Args:
        actor_network: policy with `get_dist`.
        critic_network: baseline that writes `"state_value"`; None leaves `loss_value` out, and the batch must hold
            the advantage.
        delay_value: estimate the values of next observations with a target copy, `target_critic_network_params`; see
            `SoftUpdate`.
        loss_critic_type: "l1", "l2" or "smooth_l1".
        separate_losses: parameters shared by actor and critic are trained by the policy's term alone.
        reduction: "mean" (also None), "sum" or "none".
    Raises:
        ValueError: a choice that does not exist.
    Source: Williams 1992, https://doi.org/10.1007/BF00992696
    """

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        critic_network: TensorDictModuleBase | None = None,
        *,
        delay_value: bool = False,
        loss_critic_type: Distance = "smooth_l1",
        separate_losses: bool = False,
        reduction: Reduction | None = "mean",
    ) -> None:
        reduction = "mean" if reduction is None else reduction
        check_choice("ReinforceLoss", "loss_critic_type", loss_critic_type, Distance)
        check_choice("ReinforceLoss", "reduction", reduction, Reduction)
        super().__init__(actor_network, critic_network, separate_losses=separate_losses, delay_value=delay_value)
        self.loss_critic_type: Distance = loss_critic_type
        self.reduction: Reduction = reduction
        self._list_keys()

    def set_keys(self, **keys: Any) -> "ReinforceLoss":
        """Rename entries; see `LossModule.set_keys`."""
        super().set_keys(**keys)
        self._list_keys()
        return self

    def _list_keys(self) -> None:
        names, critic = self.tensor_keys, self.critic_network
        keys: list[NestedKey] = [*input_keys(self.actor_network), names.action, names.advantage]
        if critic is not None:
            keys += [*critic.in_keys, names.value_target]
        self.in_keys = list(dict.fromkeys(keys))
        self.out_keys = ["loss_actor"] if critic is None else ["loss_actor", "loss_value"]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Losses at a batch of any shape `[*B]`, which is only read; without an advantage in it, `[*B, T]`.

        Raises:
            MissingKeyError: an entry is missing.
            ShapeError: entries differ in shape.
        """
        tensordict, advantage = self._read_advantage(tensordict)
        dist = self._distribution(tensordict)
        current = log_prob("ReinforceLoss", dist, tensordict, self.tensor_keys.action, advantage)
        out = {"loss_actor": reduce_loss(policy_gradient(current, advantage), self.reduction)}
        if self.critic_network is not None:
            fix = "Run GAE first, or rename with set_keys(value_target=...)"
            target = constant(read("ReinforceLoss", tensordict, self.tensor_keys.value_target, fix=fix))
            value = self._value(tensordict)
            out["loss_value"] = value_distance(value, target, self.loss_critic_type, reduction=self.reduction)
        return TensorDict._new_unsafe(out, batch_size=torch.Size(()))
