"""What the losses with an actor and a critic share: reading the batch, the critic's term, the entropy's term."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModuleBase
from torch import Tensor
from torch.distributions import Distribution

from rl_objectives._coefficients import check_choice
from rl_objectives._keys import input_keys, read
from rl_objectives._policy import constant, entropies, key_name, log_prob, weigh
from rl_objectives._policy_value import PolicyValueLoss
from rl_objectives.functional.critic import Distance, clipped_value_loss, explained_variance, value_distance
from rl_objectives.functional.reduce import Reduction, reduce_loss, standardize
from rl_specs import NestedKey, message


class ActorCriticLoss(PolicyValueLoss):
    """Policy term, critic term and entropy term over one minibatch; subclasses write the policy term, `_objective`.

    Args are those of `PPOLoss`; `clip_value` is the radius, or None.
    """

    _reads_sample_log_prob = True
    clip_value: Tensor | None
    critic_coeff: Tensor | None
    entropy_coeff: Tensor | None
    loss_critic_type: Distance
    reduction: Reduction
    normalize_advantage_exclude_dims: tuple[int, ...]

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        critic_network: TensorDictModuleBase | None,
        *,
        entropy_bonus: bool,
        samples_mc_entropy: int,
        entropy_coeff: float | Mapping[NestedKey, float] | None,
        critic_coeff: float | None,
        loss_critic_type: Distance,
        normalize_advantage: bool,
        normalize_advantage_exclude_dims: tuple[int, ...],
        log_explained_variance: bool,
        clip_value: float | None,
        separate_losses: bool,
        reduction: Reduction | None,
    ) -> None:
        super().__init__(actor_network, critic_network, separate_losses=separate_losses)
        name = type(self).__name__
        reduction = "mean" if reduction is None else reduction
        check_choice(name, "loss_critic_type", loss_critic_type, Distance)
        check_choice(name, "reduction", reduction, Reduction)
        if critic_network is None and critic_coeff is not None:
            raise ValueError(
                message(name, "critic_network is None", fix="Give one, or leave its loss out with critic_coeff=None")
            )
        self.entropy_bonus = entropy_bonus and entropy_coeff is not None
        self.samples_mc_entropy = samples_mc_entropy
        self.loss_critic_type: Distance = loss_critic_type
        self.normalize_advantage = normalize_advantage
        self.normalize_advantage_exclude_dims = normalize_advantage_exclude_dims
        self.log_explained_variance = log_explained_variance
        self.reduction: Reduction = reduction
        self._entropy_heads: dict[str, str] = {}
        self._register_entropy_coefficients(entropy_coeff)
        self._register_optional("critic_coeff", critic_coeff)
        self._register_optional("clip_value", clip_value)
        self._list_keys()

    # Networks and keys

    def set_keys(self, **keys: Any) -> "ActorCriticLoss":
        """Rename entries; see `LossModule.set_keys`."""
        super().set_keys(**keys)
        self._list_keys()
        return self

    def _list_keys(self) -> None:
        names = self.tensor_keys
        critic_in = (
            [] if self.critic_coeff is None or self.critic_network is None else list(self.critic_network.in_keys)
        )
        target = [] if self.critic_coeff is None else [names.value_target]
        stored = names.log_prob_keys if self._reads_sample_log_prob else []
        ordered = [*input_keys(self.actor_network), *critic_in, names.action, *stored, names.advantage, *target]
        self.in_keys = list(dict.fromkeys(ordered))
        self.out_keys = self._output_keys()

    def _output_keys(self) -> list[NestedKey]:
        keys: list[NestedKey] = ["loss_objective"]
        if self.critic_coeff is not None:
            keys.append("loss_critic")
            if self.clip_value is not None:
                keys.append("value_clip_fraction")
            if self.log_explained_variance:
                keys.append("explained_variance")
        if self.entropy_bonus:
            keys += ["loss_entropy", "entropy"]
        return keys

    def _register_optional(self, name: str, value: float | None) -> None:
        if value is None:
            self.register_buffer(name, None)
        else:
            self.register_coefficient(name, value)

    def _register_entropy_coefficients(self, coefficient: float | Mapping[NestedKey, float] | None) -> None:
        if not isinstance(coefficient, Mapping):
            self._register_optional("entropy_coeff", coefficient)
            return
        self.register_buffer("entropy_coeff", None)
        for head, value in coefficient.items():
            buffer = "entropy_coeff_" + key_name(head).replace(".", "_")
            self._entropy_heads[key_name(head)] = buffer
            self.register_coefficient(buffer, value)

    # The loss

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Losses at a batch of any shape `[*B]`, which is only read.

        Without an advantage in the batch, the value estimator makes one, for which the batch must be `[*B, T]`.

        Raises:
            MissingKeyError: an entry is missing.
            ShapeError: entries differ in shape.
        """
        tensordict, advantage = self._read_advantage(tensordict)
        if self.normalize_advantage:
            advantage = standardize(advantage, exclude_dims=self.normalize_advantage_exclude_dims)
        dist = self._distribution(tensordict)
        current = log_prob(type(self).__name__, dist, tensordict, self.tensor_keys.action, advantage)
        out = self._objective(tensordict, dist, current, advantage)
        out["loss_objective"] = reduce_loss(out["loss_objective"], self.reduction)
        if self.entropy_bonus:
            self._add_entropy(out, dist, advantage)
        if self.critic_coeff is not None:
            self._add_critic(out, tensordict, self.critic_coeff)
        return TensorDict._new_unsafe(out, batch_size=torch.Size(()))

    @abstractmethod
    def _objective(
        self, tensordict: TensorDictBase, dist: Distribution, current_log_prob: Tensor, advantage: Tensor
    ) -> dict[str, Tensor]:
        """`loss_objective`, not reduced, and what is reported beside it."""

    def _add_entropy(self, out: dict[str, Tensor], dist: Distribution, like: Tensor) -> None:
        heads = entropies(type(self).__name__, dist, self.samples_mc_entropy, like)
        total = next(iter(heads.values())) if len(heads) == 1 else torch.stack(list(heads.values())).sum(0)
        mean = total.mean()
        out["entropy"] = mean.detach()
        if self._entropy_heads:
            named = {head: getattr(self, buffer) for head, buffer in self._entropy_heads.items()}
            for head, value in heads.items():
                out[f"entropy_{head}"] = value.detach().mean()
            reduced = reduce_loss(weigh(type(self).__name__, heads, named), self.reduction)
        else:
            reduced = mean if self.reduction == "mean" else reduce_loss(total, self.reduction)
            if self.entropy_coeff is not None:
                out["loss_entropy"] = reduced * -self.entropy_coeff
                return
        out["loss_entropy"] = -reduced

    def _add_critic(self, out: dict[str, Tensor], tensordict: TensorDictBase, coefficient: Tensor) -> None:
        name, names = type(self).__name__, self.tensor_keys
        target = read(
            name, tensordict, names.value_target, fix="Run GAE first, or rename with set_keys(value_target=...)"
        )
        target = constant(target)
        value = self._value(tensordict)
        if self.clip_value is None:
            loss = value_distance(value, target, self.loss_critic_type, reduction=self.reduction)
        else:
            old = read(
                name, tensordict, names.value, fix="clip_value needs it; run GAE, or rename with set_keys(value=...)"
            )
            entries, is_clipped = clipped_value_loss(
                value, constant(old), target, clip=self.clip_value, kind=self.loss_critic_type
            )
            loss = reduce_loss(entries, self.reduction)
            out["value_clip_fraction"] = is_clipped.mean(dtype=loss.dtype)
        out["loss_critic"] = loss * coefficient
        if self.log_explained_variance:
            out["explained_variance"] = explained_variance(value.detach(), target)
