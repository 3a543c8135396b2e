"""What the losses with a policy and a value network share: the networks, the advantage, the value."""

from dataclasses import replace
from typing import Any

import torch
from tensordict import TensorDictBase, TensorDictParams
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModuleBase
from torch import Tensor, nn
from torch.distributions import Distribution

from rl_objectives._arguments import check_actor, check_value_network
from rl_objectives._estimators import ValueEstimators, build_value_estimator
from rl_objectives._keys import read, select_inputs
from rl_objectives._policy import constant, log_prob_entry
from rl_objectives.common import LossModule
from rl_objectives.value import ValueEstimatorBase
from rl_specs import MissingKeyError, ShapeError, TensorMap, key_str, message, missing_key

_ADVANTAGE_FIX = "Run GAE first, or rename with loss.set_keys(advantage=...)"


class PolicyValueLoss(LossModule):
    """Holds a policy and a value network, and reads or estimates the advantage."""

    default_value_estimator = ValueEstimators.GAE
    actor_network_params: TensorDictParams
    critic_network_params: TensorDictParams
    target_critic_network_params: TensorDictParams

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        critic_network: TensorDictModuleBase | None,
        *,
        separate_losses: bool,
        delay_value: bool = False,
    ) -> None:
        check_actor(type(self).__name__, actor_network)
        check_value_network(type(self).__name__, "critic_network", critic_network)
        super().__init__()
        self.separate_losses = separate_losses
        self.delay_value = delay_value
        self.register_network("actor_network", actor_network)
        self._keys = replace(self._keys, sample_log_prob=log_prob_entry(actor_network))
        if critic_network is not None:
            self.register_network("critic_network", critic_network, create_target=delay_value)
        self._shared = _shared_parameters(actor_network, critic_network)
        if critic_network is not None:
            self.make_value_estimator()

    @property
    def actor_network(self) -> ProbabilisticTensorDictSequential:
        """The policy, as it was given."""
        actor: ProbabilisticTensorDictSequential = self.network("actor_network")
        return actor

    @property
    def critic_network(self) -> TensorDictModuleBase | None:
        """The critic, as it was given."""
        critic: TensorDictModuleBase | None = self.network("critic_network")
        return critic

    def _build_value_estimator(self, kind: ValueEstimators, hyperparameters: dict[str, Any]) -> ValueEstimatorBase:
        critic = self.critic_network
        if critic is None:
            name = type(self).__name__
            raise ValueError(message(name, "no critic to estimate values with", fix="Give critic_network"))
        return build_value_estimator(
            kind, value_network=critic, actor_network=self.actor_network, hyperparameters=hyperparameters
        )

    def _read_advantage(self, tensordict: TensorDictBase) -> tuple[TensorDictBase, Tensor]:
        key = self.tensor_keys.advantage
        advantage = tensordict.get(key, None)
        if advantage is None:
            tensordict = self._estimate(tensordict)
            advantage = read(type(self).__name__, tensordict, key, fix=_ADVANTAGE_FIX)
        if advantage.shape == tensordict.batch_size:
            raise ShapeError(
                message(
                    type(self).__name__,
                    f"{key_str(key)} has no trailing dimension",
                    expected=[*advantage.shape, 1],
                    found=list(advantage.shape),
                    fix="Unsqueeze it: data[key] = data[key].unsqueeze(-1)",
                )
            )
        return tensordict, constant(advantage)

    def _estimate(self, tensordict: TensorDictBase) -> TensorDictBase:
        estimator = self.value_estimator
        name = type(self).__name__
        if estimator is None:
            raise missing_key(name, self.tensor_keys.advantage, tensordict.keys(True, True), fix=_ADVANTAGE_FIX)
        data = tensordict.copy()
        try:
            with torch.no_grad():
                target = self.target_critic_network_params if self.delay_value else None
                self.run_network("critic_network", lambda: estimator(data, target_params=target))
        except MissingKeyError as error:
            raise MissingKeyError(
                f"{name}: the input has no {key_str(self.tensor_keys.advantage)}, and estimating it failed. "
                f"{_ADVANTAGE_FIX}. ({error})"
            ) from error
        return data

    def _distribution(self, tensordict: TensorDictBase) -> Distribution:
        call = self.network_call("actor_network")
        fix = "It is an input of actor_network"
        return self.run_network("actor_network", lambda: call.distribution(type(self).__name__, tensordict, fix=fix))

    def _value(self, tensordict: TensorDictBase) -> Tensor:
        return self.run_network("critic_network", lambda: self._current_value(tensordict))

    def _current_value(self, tensordict: TensorDictBase) -> Tensor:
        critic = self.critic_network
        assert critic is not None
        name = type(self).__name__
        fix = "It is an input of critic_network"
        output: TensorMap
        if self.separate_losses and self._shared:
            held = {path: parameter.detach() for path, parameter in critic.named_parameters() if path in self._shared}
            inputs = select_inputs(name, tensordict, critic.in_keys, fix=fix)
            output = torch.func.functional_call(critic, held, (inputs,))
        else:
            output = self.network_call("critic_network").outputs(name, tensordict, fix=fix)
        value: Tensor | None = output.get(self.tensor_keys.value, None)
        if value is None:
            fix = "critic_network does not write it; rename with set_keys(value=...)"
            raise missing_key(name, self.tensor_keys.value, critic.out_keys, fix=fix)
        return value


def _shared_parameters(actor: nn.Module, critic: nn.Module | None) -> frozenset[str]:
    """Paths in `critic` of the parameters that `actor` holds too."""
    if critic is None:
        return frozenset()
    held = {id(parameter) for parameter in actor.parameters()}
    return frozenset(
        path for path, parameter in critic.named_parameters(remove_duplicate=False) if id(parameter) in held
    )
