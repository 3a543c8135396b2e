"""Earlier names of the specs, kept for programs that use them."""

from rl_specs.binary import Binary
from rl_specs.bounded import Bounded
from rl_specs.categorical import Categorical, OneHot
from rl_specs.composite import Composite
from rl_specs.multi_categorical import MultiCategorical, MultiOneHot
from rl_specs.non_tensor import NonTensor
from rl_specs.stacked import Stacked
from rl_specs.stacked_composite import StackedComposite
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
LazyStackedTensorSpec = Stacked
LazyStackedCompositeSpec = StackedComposite
