"""An actor and a critic over a shared trunk."""

from typing import Any, final

from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModuleBase, TensorDictSequential


@final
class ActorValueOperator(TensorDictSequential):
    """A trunk whose output both a policy head and a value head read.

    Called as a whole it runs trunk, policy and value once each. The operators that it hands out share its modules and
    so its parameters.

    Args:
        common_operator: trunk, e.g. from `"observation"` to `"hidden"`.
        policy_operator: policy that reads the trunk's output, e.g. a `ProbabilisticActor`.
        value_operator: critic that reads the trunk's output, e.g. a `ValueOperator`.
    """

    def __init__(
        self,
        common_operator: TensorDictModuleBase,
        policy_operator: TensorDictModuleBase,
        value_operator: TensorDictModuleBase,
    ) -> None:
        super().__init__(common_operator, policy_operator, value_operator)

    def get_policy_operator(self) -> Any:
        """Trunk and policy head; with `get_dist` and `log_prob` where the head is stochastic."""
        common, policy, _ = self._parts()
        if isinstance(policy, ProbabilisticTensorDictSequential):
            return ProbabilisticTensorDictSequential(common, *[policy[i] for i in range(len(policy))])
        return TensorDictSequential(common, policy)

    def get_value_operator(self) -> TensorDictSequential:
        """Trunk and value head."""
        common, _, value = self._parts()
        return TensorDictSequential(common, value)

    def get_policy_head(self) -> Any:
        """The policy head, which needs the trunk's output."""
        return self._parts()[1]

    def get_value_head(self) -> Any:
        """The value head, which needs the trunk's output."""
        return self._parts()[2]

    def _parts(self) -> tuple[Any, Any, Any]:
        return self[0], self[1], self[2]
