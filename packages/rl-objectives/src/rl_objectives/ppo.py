"""Proximal policy optimisation, importance-weighted; the base of the clipped and the penalised form."""

from collections.abc import Mapping

from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModuleBase
from torch import Tensor
from torch.distributions import Distribution

from rl_objectives._actor_critic import ActorCriticLoss
from rl_objectives._coefficients import CRITIC_COEFF, ENTROPY_COEFF, UNSET, EntropyCoeff, Unset, pick_spelling
from rl_objectives._policy import stored_log_prob
from rl_objectives.functional.critic import Distance
from rl_objectives.functional.policy import effective_sample_size, kl_estimate_k1, surrogate
from rl_objectives.functional.reduce import Reduction
from rl_specs import NestedKey, message


class PPOLoss(ActorCriticLoss):
    """Importance-weighted policy gradient, without a trust region.

    Reads (names change with `set_keys`): `advantage` `[*B, 1]`, `value_target` `[*B, 1]`, `state_value` `[*B, 1]`
    (with `clip_value` only), `sample_log_prob` `[*B]`, `action`, and what the networks read. Writes `loss_objective`,
    `loss_critic`, `loss_entropy` (weighted, to be summed and minimised), and detached `entropy`,
    `explained_variance`, `value_clip_fraction`, `kl_approx` (mean of `log pi_old - log pi_new`, Schulman's k1), `ESS`
    (effective share of the samples).

    Args:
        actor_network: policy with `get_dist`.
        critic_network: value operator that writes `"state_value"`.
        entropy_bonus: add the entropy term.
        samples_mc_entropy: draws for the entropy of a distribution that has none in closed form.
        entropy_coeff: weight of the entropy, or one weight per head of a composite action.
        critic_coeff: weight of the critic's loss; None leaves it out, with the critic's keys.
        loss_critic_type: "l1", "l2" or "smooth_l1".
        normalize_advantage: standardise the advantage over the minibatch.
        normalize_advantage_exclude_dims: dimensions along which each slice is standardised by itself.
        log_explained_variance: report `explained_variance`.
        clip_value: hold value predictions within this radius of the stored ones; False and None do not.
        separate_losses: parameters shared by actor and critic are trained by the policy's terms alone.
        reduction: "mean" (also None), "sum" or "none", of the losses.
        entropy_coef: older spelling of `entropy_coeff`.
        critic_coef: older spelling of `critic_coeff`.
    Raises:
        TypeError: both spellings of a coefficient were given.
        ValueError: a choice that does not exist, or no critic for a critic's loss.
    Source: Schulman et al. 2017, eq. 6, https://arxiv.org/abs/1707.06347
    """

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        critic_network: TensorDictModuleBase | None = None,
        *,
        entropy_bonus: bool = True,
        samples_mc_entropy: int = 1,
        entropy_coeff: float | Mapping[NestedKey, float] | None = ENTROPY_COEFF,
        critic_coeff: float | None = CRITIC_COEFF,
        loss_critic_type: Distance = "smooth_l1",
        normalize_advantage: bool = False,
        normalize_advantage_exclude_dims: tuple[int, ...] = (),
        log_explained_variance: bool = True,
        clip_value: float | bool | None = False,
        separate_losses: bool = False,
        reduction: Reduction | None = "mean",
        entropy_coef: EntropyCoeff | Unset = UNSET,
        critic_coef: float | Unset | None = UNSET,
    ) -> None:
        name = type(self).__name__
        super().__init__(
            actor_network,
            critic_network,
            entropy_bonus=entropy_bonus,
            samples_mc_entropy=samples_mc_entropy,
            entropy_coeff=pick_spelling(
                name, "entropy_coeff", entropy_coeff, ENTROPY_COEFF, "entropy_coef", entropy_coef
            ),
            critic_coeff=pick_spelling(name, "critic_coeff", critic_coeff, CRITIC_COEFF, "critic_coef", critic_coef),
            loss_critic_type=loss_critic_type,
            normalize_advantage=normalize_advantage,
            normalize_advantage_exclude_dims=normalize_advantage_exclude_dims,
            log_explained_variance=log_explained_variance,
            clip_value=self._value_radius(clip_value),
            separate_losses=separate_losses,
            reduction=reduction,
        )

    def _value_radius(self, clip_value: float | bool | None) -> float | None:
        if clip_value is True:
            fix = "Give clip_value a number"
            raise ValueError(message(type(self).__name__, "clip_value=True needs a scalar clip_epsilon", fix=fix))
        return None if clip_value is None or clip_value is False else float(clip_value)

    def _output_keys(self) -> list[NestedKey]:
        return [*super()._output_keys(), "kl_approx", "ESS"]

    def _log_ratio(self, tensordict: TensorDictBase, current_log_prob: Tensor, advantage: Tensor) -> Tensor:
        keys = self.tensor_keys.log_prob_keys
        return current_log_prob - stored_log_prob(type(self).__name__, tensordict, keys, advantage)

    def _objective(
        self, tensordict: TensorDictBase, dist: Distribution, current_log_prob: Tensor, advantage: Tensor
    ) -> dict[str, Tensor]:
        log_ratio = self._log_ratio(tensordict, current_log_prob, advantage)
        return {"loss_objective": surrogate(log_ratio, advantage), **monitor(log_ratio)}


def monitor(log_ratio: Tensor) -> dict[str, Tensor]:
    """`kl_approx` and `ESS` of a minibatch, without gradient."""
    seen = log_ratio.detach()
    return {"kl_approx": kl_estimate_k1(seen.mean()), "ESS": effective_sample_size(seen)}
