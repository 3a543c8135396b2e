"""What constructors check of their arguments: networks that know their keys, factors between 0 and 1."""

from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModuleBase
from torch import Tensor

from rl_specs import message

_WRAP = 'ValueOperator(network, in_keys=["observation"])'


def check_actor(component: str, actor: object) -> None:
    """Check that a policy has a distribution.

    Raises:
        TypeError: it has none.
    """
    if not isinstance(actor, ProbabilisticTensorDictSequential):
        raise TypeError(
            message(
                component,
                "actor_network has no distribution",
                expected="a ProbabilisticActor or a ProbabilisticTensorDictSequential",
                found=type(actor).__name__,
                fix="Build it with rl_modules.ProbabilisticActor, and pass the actor first, the critic second",
            )
        )


def check_value_network(component: str, name: str, network: object) -> None:
    """Check that a value network knows its keys; None is left to the caller.

    Raises:
        TypeError: it does not.
    """
    if network is not None and not isinstance(network, TensorDictModuleBase):
        found = type(network).__name__
        raise TypeError(
            message(component, f"{name} knows no keys", expected="a TensorDictModule", found=found, fix=f"Use {_WRAP}")
        )


def check_factor(component: str, name: str, value: float | Tensor) -> None:
    """Check a discount or a trace decay; tensors are not read.

    Raises:
        ValueError: it is outside of [0, 1].
    """
    if not isinstance(value, Tensor) and not 0.0 <= value <= 1.0:
        fix = f"Pass {name}=0.99 for instance"
        raise ValueError(message(component, f"{name} out of range", expected="0 <= x <= 1", found=value, fix=fix))
