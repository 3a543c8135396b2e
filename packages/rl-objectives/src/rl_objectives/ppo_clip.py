"""Proximal policy optimisation with a clipped objective."""

from collections.abc import Mapping
from typing import final

from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModuleBase
from torch import Tensor
from torch.distributions import Distribution

from rl_objectives._coefficients import CRITIC_COEFF, ENTROPY_COEFF, UNSET, EntropyCoeff, Unset
from rl_objectives.functional.critic import Distance
from rl_objectives.functional.policy import clipped_surrogate
from rl_objectives.functional.reduce import Reduction
from rl_objectives.ppo import PPOLoss, monitor
from rl_specs import NestedKey, message


@final
class ClipPPOLoss(PPOLoss):
    """Clipped proximal policy optimisation, `-min(r * A, clamp(r, 1 - low, 1 + high) * A)`.

    Reads and writes as `PPOLoss` does, and writes `clip_fraction`, the share of the samples whose ratio is outside
    its interval.

    Args:
        clip_epsilon: radius of the ratio's interval, the buffer `clip_epsilon`; or `(low, high)`, the buffers
            `clip_epsilon_low` and `clip_epsilon_high`.
        clip_value: as for `PPOLoss`; True takes the radius from a scalar `clip_epsilon`.
        actor_network, critic_network and the other arguments: as for `PPOLoss`.
    Raises:
        TypeError: both spellings of a coefficient were given.
        ValueError: a choice that does not exist, a radius out of range, or no critic for a critic's loss.
    Source: Schulman et al. 2017, eq. 7, https://arxiv.org/abs/1707.06347; two radii: Yu et al. 2025,
    https://arxiv.org/abs/2503.14476
    """

    clip_epsilon: Tensor
    clip_epsilon_low: Tensor
    clip_epsilon_high: Tensor

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        critic_network: TensorDictModuleBase | None = None,
        *,
        clip_epsilon: float | tuple[float, float] = 0.2,
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
        is_pair = isinstance(clip_epsilon, tuple)
        low, high = clip_epsilon if isinstance(clip_epsilon, tuple) else (clip_epsilon, clip_epsilon)
        if not (0 <= low < 1 and high >= 0):
            raise ValueError(
                message(
                    "ClipPPOLoss",
                    "clip_epsilon is out of range",
                    expected="0 <= low < 1, high >= 0",
                    found=clip_epsilon,
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
            clip_value=float(low) if clip_value is True and not is_pair else clip_value,
            separate_losses=separate_losses,
            reduction=reduction,
            entropy_coef=entropy_coef,
            critic_coef=critic_coef,
        )
        if is_pair:
            self.register_coefficient("clip_epsilon_low", low)
            self.register_coefficient("clip_epsilon_high", high)
        else:
            self.register_coefficient("clip_epsilon", low)
        self._is_asymmetric = is_pair

    def _output_keys(self) -> list[NestedKey]:
        return [*super()._output_keys(), "clip_fraction"]

    def _objective(
        self, tensordict: TensorDictBase, dist: Distribution, current_log_prob: Tensor, advantage: Tensor
    ) -> dict[str, Tensor]:
        log_ratio = self._log_ratio(tensordict, current_log_prob, advantage)
        low = self.clip_epsilon_low if self._is_asymmetric else self.clip_epsilon
        high = self.clip_epsilon_high if self._is_asymmetric else self.clip_epsilon
        loss, is_clipped = clipped_surrogate(log_ratio, advantage, low, high)
        return {"loss_objective": loss, "clip_fraction": is_clipped.mean(dtype=loss.dtype), **monitor(log_ratio)}
