"""Proximal policy optimisation with an adaptive penalty on the divergence."""

from collections.abc import Mapping
from typing import final

import torch
from tensordict import TensorDictBase
from tensordict.nn import CompositeDistribution, ProbabilisticTensorDictSequential, TensorDictModuleBase
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from rl_objectives._coefficients import CRITIC_COEFF, ENTROPY_COEFF, UNSET, EntropyCoeff, Unset
from rl_objectives._keys import select_inputs
from rl_objectives._policy import align
from rl_objectives.functional.critic import Distance
from rl_objectives.functional.policy import surrogate
from rl_objectives.functional.reduce import Reduction
from rl_objectives.ppo import PPOLoss, monitor
from rl_specs import NestedKey, message


@final
class KLPENPPOLoss(PPOLoss):
    """Penalised proximal policy optimisation, `-r * A + beta * KL(pi_old || pi_new)`.

    The old distribution is rebuilt from its stored parameters (such as `loc` and `scale`), which the batch must hold.
    After each `forward`, `beta` is multiplied by `increment` where the mean divergence is above `1.5 * dtarg` and by
    `decrement` where it is below `dtarg / 1.5`. Reads and writes besides as `PPOLoss` does, and writes `kl`, the mean
    divergence.

    Args:
        dtarg: target of the divergence, in nats.
        beta: first weight of the divergence; the buffer `beta`, which `loss.beta = 0.5` sets.
        increment: factor of at least 1.
        decrement: factor of at most 1.
        samples_mc_kl: draws for a divergence that has no closed form.
        actor_network, critic_network and the other arguments: as for `PPOLoss`.
    Raises:
        TypeError: both spellings of a coefficient were given.
        ValueError: a choice that does not exist, a factor out of range, or no critic for a critic's loss.
    Source: Schulman et al. 2017, eq. 8, https://arxiv.org/abs/1707.06347
    """

    beta: Tensor

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        critic_network: TensorDictModuleBase | None = None,
        *,
        dtarg: float = 0.01,
        beta: float = 1.0,
        increment: float = 2.0,
        decrement: float = 0.5,
        samples_mc_kl: int = 1,
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
        if increment < 1 or not 0 < decrement <= 1:
            found = f"increment={increment}, decrement={decrement}"
            raise ValueError(
                message(
                    "KLPENPPOLoss",
                    "a factor of beta is out of range",
                    expected="increment >= 1, 0 < decrement <= 1",
                    found=found,
                )
            )
        super().__init__(
            actor_network,
            critic_network,
            entropy_bonus=entropy_bonus,
            samples_mc_entropy=samples_mc_entropy,
            entropy_coeff=entropy_coeff,
            critic_coeff=critic_coeff,
            loss_critic_type=loss_critic_type,
            normalize_advantage=normalize_advantage,
            normalize_advantage_exclude_dims=normalize_advantage_exclude_dims,
            log_explained_variance=log_explained_variance,
            clip_value=clip_value,
            separate_losses=separate_losses,
            reduction=reduction,
            entropy_coef=entropy_coef,
            critic_coef=critic_coef,
        )
        self.dtarg = float(dtarg)
        self.increment = float(increment)
        self.decrement = float(decrement)
        self.samples_mc_kl = samples_mc_kl
        self.register_coefficient("beta", beta)

    def _output_keys(self) -> list[NestedKey]:
        return [*super()._output_keys(), "kl"]

    def _objective(
        self, tensordict: TensorDictBase, dist: Distribution, current_log_prob: Tensor, advantage: Tensor
    ) -> dict[str, Tensor]:
        log_ratio = self._log_ratio(tensordict, current_log_prob, advantage)
        with torch.no_grad():
            old = self._old_distribution(tensordict)
        divergence = _divergence("KLPENPPOLoss", old, dist, self.samples_mc_kl, advantage)
        # A copy: `beta` changes below, and the graph needs the weight that was used.
        loss = surrogate(log_ratio, advantage) + self.beta.clone() * divergence
        with torch.no_grad():
            kl = divergence.mean()
            factor = torch.where(kl > 1.5 * self.dtarg, self.increment, 1.0)
            factor = torch.where(kl < self.dtarg / 1.5, self.decrement, factor)
            self.beta.mul_(factor)
        return {"loss_objective": loss, "kl": kl, **monitor(log_ratio)}

    def _old_distribution(self, tensordict: TensorDictBase) -> Distribution:
        head = self.actor_network[-1]
        fix = "It is a parameter of the old distribution; collect with the policy, which writes it"
        dist: Distribution = head.get_dist(select_inputs("KLPENPPOLoss", tensordict, head.in_keys, fix=fix))
        return dist


def _divergence(component: str, old: Distribution, new: Distribution, samples: int, like: Tensor) -> Tensor:
    """`KL(old || new)` in the shape of `like`; in closed form, or averaged over draws of `old`; summed over heads."""
    if isinstance(old, CompositeDistribution) and isinstance(new, CompositeDistribution):
        heads = [_divergence(component, old.dists[k], new.dists[k], samples, like) for k in old.dists]
        return torch.stack(heads).sum(0)
    try:
        divergence = kl_divergence(old, new)
    except NotImplementedError:
        with torch.no_grad():
            draws = old.sample(torch.Size((samples,)))
            old_log_prob = old.log_prob(draws)
        divergence = (old_log_prob - new.log_prob(draws)).mean(0)
    return align(component, "divergence", divergence, like)
