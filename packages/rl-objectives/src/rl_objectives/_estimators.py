"""Which value estimator a loss builds, and with which hyperparameters."""

import inspect
from collections.abc import Mapping
from enum import Enum
from typing import Any

from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModuleBase

from rl_objectives.value import GAE, TD0Estimator, TD1Estimator, TDLambdaEstimator, ValueEstimatorBase, VTrace
from rl_specs import message, near_matches


class ValueEstimators(Enum):
    """Value estimators that a loss can be given with `make_value_estimator`."""

    TD0 = "Bootstrapped TD (1-step return)"
    TD1 = "TD(1) (infinity-step return)"
    TDLambda = "TD(lambda)"
    GAE = "Generalized advantage estimate"
    VTrace = "V-trace"


_CLASSES: Mapping[ValueEstimators, type[ValueEstimatorBase]] = {
    ValueEstimators.TD0: TD0Estimator,
    ValueEstimators.TD1: TD1Estimator,
    ValueEstimators.TDLambda: TDLambdaEstimator,
    ValueEstimators.GAE: GAE,
    ValueEstimators.VTrace: VTrace,
}


def default_value_kwargs(value_type: ValueEstimators) -> dict[str, float]:
    """Hyperparameters of an estimator unless others are given: `gamma` 0.99, and `lmbda` 0.95 where there is one."""
    if value_type in (ValueEstimators.GAE, ValueEstimators.TDLambda):
        return {"gamma": 0.99, "lmbda": 0.95}
    return {"gamma": 0.99}


def build_value_estimator(
    value_type: ValueEstimators,
    *,
    value_network: TensorDictModuleBase,
    actor_network: ProbabilisticTensorDictSequential,
    hyperparameters: Mapping[str, Any],
) -> ValueEstimatorBase:
    """Estimator of a kind for a pair of networks; `hyperparameters` go over the defaults.

    Raises:
        TypeError: a hyperparameter that the estimator does not have.
    """
    estimator = _CLASSES[value_type]
    known = [name for name in inspect.signature(estimator.__init__).parameters if name != "self"]
    for name in hyperparameters:
        if name not in known:
            fix = f"Choose from: {', '.join(known)}.{near_matches(name, known)}"
            raise TypeError(message(estimator.__name__, f'no hyperparameter "{name}"', fix=fix))
    arguments: dict[str, Any] = {"value_network": value_network, **default_value_kwargs(value_type)}
    if value_type is ValueEstimators.VTrace:
        arguments["actor_network"] = actor_network
    return estimator(**{**arguments, **hyperparameters})
