"""How the exponent of importance weights grows while a run goes on."""

from dataclasses import dataclass
from typing import final

from rl_specs import message


@final
@dataclass(frozen=True, slots=True)
class LinearAnnealing:
    """A number that goes in equal steps from `start` to `end`, and stays there.

    Args:
        start: value at the first batch.
        end: value from batch number `steps` on.
        steps: number of batches, at least 1.
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(message("LinearAnnealing", "steps", expected="an integer >= 1", found=self.steps))

    def at(self, step: int) -> float:
        """The value for batch number `step`, counted from 0."""
        done = min(step, self.steps) / self.steps
        return self.start * (1.0 - done) + self.end * done
