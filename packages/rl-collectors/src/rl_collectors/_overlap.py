"""How far collection may run ahead of learning, and how its worker is run."""

from dataclasses import dataclass
from typing import final

from rl_collectors._wiring import check_count
from rl_envs.parallel import PoolOptions, StartMethod


@final
@dataclass(frozen=True)
class Overlap:
    """Collection in a worker process beside the learner.

    Args:
        batches: how many may be collected ahead of the learner, who then learns from weights that many updates old; 0
            waits for each batch.
        start_method: `"forkserver"` or `"spawn"`: a fresh interpreter, to which environment maker and policy are sent
            (lambdas and local functions too); `"fork"`: a copy of this process, which starts in milliseconds, but can
            lock up when other threads run here, and cannot use CUDA.
        timeout_s: longest time to wait for a batch, after which the worker is killed; None: no limit.
    Raises:
        TypeError: `batches` is no integer.
        ValueError: a negative number, an unknown start method, or a limit that is not positive.
    """

    batches: int = 1
    start_method: StartMethod = "forkserver"
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        check_count("Overlap", "batches", self.batches, expected="at least 0", low=0)
        PoolOptions("Overlap", self.start_method, self.timeout_s)


def as_overlap(component: str, value: Overlap | int | None) -> Overlap | None:
    """The options that a collector was given, a number being that of the batches."""
    if value is None or isinstance(value, Overlap):
        return value
    check_count(component, "overlap", value, expected="at least 0, or None", low=0)
    return Overlap(value)
