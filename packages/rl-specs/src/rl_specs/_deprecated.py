"""Earlier names of the specs, kept for programs that use them."""

from rl_specs.binary import Binary
from rl_specs.bounded import Bounded
from rl_specs.categorical import Categorical
from rl_specs.composite import Composite
from rl_specs.multi_categorical import MultiCategorical
from rl_specs.multi_one_hot import MultiOneHot
from rl_specs.non_tensor import NonTensor
from rl_specs.one_hot import OneHot
from rl_specs.unbounded import Unbounded

BoundedTensorSpec = Bounded
UnboundedContinuousTensorSpec = Unbounded
DiscreteTensorSpec = Categorical
OneHotDiscreteTensorSpec = OneHot
MultiDiscreteTensorSpec = MultiCategorical
MultiOneHotDiscreteTensorSpec = MultiOneHot
BinaryDiscreteTensorSpec = Binary
NonTensorSpec = NonTensor
CompositeSpec = Composite
