"""Networks, actors, critics and action distributions for reinforcement learning on TensorDict."""

from rl_modules.__about__ import __version__
from rl_modules.actor import Actor
from rl_modules.actor_value_operator import ActorValueOperator
from rl_modules.conv_net import ConvNet
from rl_modules.distributions import (
    AddStateIndependentNormalScale,
    Categorical,
    CompositeDistribution,
    Delta,
    IndependentNormal,
    MaskedCategorical,
    MaskedOneHotCategorical,
    NormalParamExtractor,
    OneHotCategorical,
    TanhNormal,
)
from rl_modules.exploration import ExplorationType, exploration_type, set_exploration_type
from rl_modules.mlp import MLP
from rl_modules.probabilistic_actor import ProbabilisticActor
from rl_modules.safe_module import SafeModule
from rl_modules.safe_probabilistic_module import SafeProbabilisticModule
from rl_modules.squash_dims import SquashDims
from rl_modules.value_operator import ValueOperator

__all__ = [
    "MLP",
    "Actor",
    "ActorValueOperator",
    "AddStateIndependentNormalScale",
    "Categorical",
    "CompositeDistribution",
    "ConvNet",
    "Delta",
    "ExplorationType",
    "IndependentNormal",
    "MaskedCategorical",
    "MaskedOneHotCategorical",
    "NormalParamExtractor",
    "OneHotCategorical",
    "ProbabilisticActor",
    "SafeModule",
    "SafeProbabilisticModule",
    "SquashDims",
    "TanhNormal",
    "ValueOperator",
    "__version__",
    "exploration_type",
    "set_exploration_type",
]
