"""Tensor specs for reinforcement learning in PyTorch: shape, dtype, device and domain of TensorDict entries."""

from rl_specs.__about__ import __version__
from rl_specs._base import TensorSpec, cat_specs, resolve_device, stack_specs
from rl_specs._deprecated import (
    BinaryDiscreteTensorSpec,
    BoundedTensorSpec,
    CompositeSpec,
    DiscreteTensorSpec,
    LazyStackedCompositeSpec,
    LazyStackedTensorSpec,
    MultiDiscreteTensorSpec,
    MultiOneHotDiscreteTensorSpec,
    NonTensorSpec,
    OneHotDiscreteTensorSpec,
    UnboundedContinuousTensorSpec,
)
from rl_specs._leaf import LeafSpec
from rl_specs.binary import Binary
from rl_specs.bounded import Bounded
from rl_specs.categorical import Categorical, OneHot
from rl_specs.choice import Choice
from rl_specs.composite import Composite
from rl_specs.difference import Difference, difference_table
from rl_specs.errors import (
    DeviceError,
    DTypeError,
    MissingKeyError,
    ShapeError,
    SpecError,
    message,
    missing_key,
    near_matches,
)
from rl_specs.explain import explain_difference, spec_differences
from rl_specs.from_data import make_composite_from_td
from rl_specs.json_form import from_json, to_json
from rl_specs.keys import FlatDict, NestedKey, TensorMap, canonical_key, canonical_keys, join_key, key_str
from rl_specs.multi_categorical import MultiCategorical, MultiOneHot
from rl_specs.non_tensor import NonTensor
from rl_specs.spaces import BinaryBox, CategoricalBox, ContinuousBox, MultiCategoricalBox
from rl_specs.stacked import Stacked
from rl_specs.stacked_composite import StackedComposite
from rl_specs.unbounded import Unbounded

__all__ = [
    "Binary",
    "BinaryBox",
    "BinaryDiscreteTensorSpec",
    "Bounded",
    "BoundedTensorSpec",
    "Categorical",
    "CategoricalBox",
    "Choice",
    "Composite",
    "CompositeSpec",
    "ContinuousBox",
    "DTypeError",
    "DeviceError",
    "Difference",
    "DiscreteTensorSpec",
    "FlatDict",
    "LazyStackedCompositeSpec",
    "LazyStackedTensorSpec",
    "LeafSpec",
    "MissingKeyError",
    "MultiCategorical",
    "MultiCategoricalBox",
    "MultiDiscreteTensorSpec",
    "MultiOneHot",
    "MultiOneHotDiscreteTensorSpec",
    "NestedKey",
    "NonTensor",
    "NonTensorSpec",
    "OneHot",
    "OneHotDiscreteTensorSpec",
    "ShapeError",
    "SpecError",
    "Stacked",
    "StackedComposite",
    "TensorMap",
    "TensorSpec",
    "Unbounded",
    "UnboundedContinuousTensorSpec",
    "__version__",
    "canonical_key",
    "canonical_keys",
    "cat_specs",
    "difference_table",
    "explain_difference",
    "from_json",
    "join_key",
    "key_str",
    "make_composite_from_td",
    "message",
    "missing_key",
    "near_matches",
    "resolve_device",
    "spec_differences",
    "stack_specs",
    "to_json",
]
