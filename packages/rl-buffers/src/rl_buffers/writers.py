"""Writers: where new rows go."""

from rl_buffers._round_robin_writer import RoundRobinWriter
from rl_buffers._writer import Writer

__all__ = ["RoundRobinWriter", "Writer"]
