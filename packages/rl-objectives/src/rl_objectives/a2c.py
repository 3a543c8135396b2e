"""Advantage actor-critic."""

from typing import final

from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModuleBase
from torch import Tensor
from torch.distributions import Distribution

from rl_objectives._actor_critic import ActorCriticLoss
from rl_objectives._coefficients import CRITIC_COEFF, ENTROPY_COEFF, UNSET, EntropyCoeff, Unset, pick_spelling
from rl_objectives.functional.critic import Distance
from rl_objectives.functional.policy import policy_gradient
from rl_objectives.functional.reduce import Reduction


@final
class A2CLoss(ActorCriticLoss):
    """Policy gradient `-log pi(a|s) * A` with a critic and an entropy term; data must come from the current policy.

    Reads `advantage` `[*B, 1]`, `value_target` `[*B, 1]`, `action` and what the networks read. Writes
    `loss_objective`, `loss_critic`, `loss_entropy` (weighted, to be summed and minimised), and detached `entropy` and
    `explained_variance`.

    Args:
        actor_network: policy with `get_dist`.
        critic_network: value operator that writes `"state_value"`.
        entropy_bonus: add the entropy term.
        samples_mc_entropy: draws for the entropy of a distribution that has none in closed form.
        entropy_coeff: weight of the entropy.
        critic_coeff: weight of the critic's loss; None leaves it out, with the critic's keys.
        loss_critic_type: "l1", "l2" or "smooth_l1".
        normalize_advantage: standardise the advantage over the minibatch.
        log_explained_variance: report `explained_variance`.
        clip_value: hold value predictions within this radius of the stored ones; None does not.
        separate_losses: parameters shared by actor and critic are trained by the policy's terms alone.
        reduction: "mean" (also None), "sum" or "none", of the losses.
        entropy_coef: older spelling of `entropy_coeff`.
        critic_coef: older spelling of `critic_coeff`.
    Raises:
        TypeError: both spellings of a coefficient were given.
        ValueError: a choice that does not exist, or no critic for a critic's loss.
    Source: Mnih et al. 2016, https://arxiv.org/abs/1602.01783
    """

    _reads_sample_log_prob = False

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        critic_network: TensorDictModuleBase | None = None,
        *,
        entropy_bonus: bool = True,
        samples_mc_entropy: int = 1,
        entropy_coeff: EntropyCoeff = ENTROPY_COEFF,
        critic_coeff: float | None = CRITIC_COEFF,
        loss_critic_type: Distance = "smooth_l1",
        normalize_advantage: bool = False,
        log_explained_variance: bool = False,
        clip_value: float | None = None,
        separate_losses: bool = False,
        reduction: Reduction | None = "mean",
        entropy_coef: EntropyCoeff | Unset = UNSET,
        critic_coef: float | Unset | None = UNSET,
    ) -> None:
        super().__init__(
            actor_network,
            critic_network,
            entropy_bonus=entropy_bonus,
            samples_mc_entropy=samples_mc_entropy,
            entropy_coeff=pick_spelling(
                "A2CLoss", "entropy_coeff", entropy_coeff, ENTROPY_COEFF, "entropy_coef", entropy_coef
            ),
            critic_coeff=pick_spelling(
                "A2CLoss", "critic_coeff", critic_coeff, CRITIC_COEFF, "critic_coef", critic_coef
            ),
            loss_critic_type=loss_critic_type,
            normalize_advantage=normalize_advantage,
            normalize_advantage_exclude_dims=(),
            log_explained_variance=log_explained_variance,
            clip_value=None if clip_value is None else float(clip_value),
            separate_losses=separate_losses,
            reduction=reduction,
        )

    def _objective(
        self, tensordict: TensorDictBase, dist: Distribution, current_log_prob: Tensor, advantage: Tensor
    ) -> dict[str, Tensor]:
        return {"loss_objective": policy_gradient(current_log_prob, advantage)}
