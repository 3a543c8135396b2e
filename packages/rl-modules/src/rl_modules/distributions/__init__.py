"""Distributions that policies draw actions from, and the modules that make their parameters."""

from tensordict.nn.distributions import (
    AddStateIndependentNormalScale,
    CompositeDistribution,
    Delta,
    NormalParamExtractor,
)

from rl_modules.distributions.categorical import Categorical, OneHotCategorical
from rl_modules.distributions.independent_normal import IndependentNormal
from rl_modules.distributions.masked_categorical import MaskedCategorical, MaskedOneHotCategorical
from rl_modules.distributions.tanh_normal import TanhNormal

__all__ = [
    "AddStateIndependentNormalScale",
    "Categorical",
    "CompositeDistribution",
    "Delta",
    "IndependentNormal",
    "MaskedCategorical",
    "MaskedOneHotCategorical",
    "NormalParamExtractor",
    "OneHotCategorical",
    "TanhNormal",
]
