"""Writers: where new rows go."""

from rl_buffers._ensembles import WriterEnsemble
from rl_buffers._immutable_writer import ImmutableDatasetWriter
from rl_buffers._max_value_writer import TensorDictMaxValueWriter
from rl_buffers._numbered_ring_writer import TensorDictRoundRobinWriter
from rl_buffers._round_robin_writer import RoundRobinWriter
from rl_buffers._writer import Writer

__all__ = [
    "ImmutableDatasetWriter",
    "RoundRobinWriter",
    "TensorDictMaxValueWriter",
    "TensorDictRoundRobinWriter",
    "Writer",
    "WriterEnsemble",
]
