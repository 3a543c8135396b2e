"""What samplers with priorities have in common: which rows a write concerns, beta, and what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rl_buffers import (
    LazyTensorStorage,
    LinearAnnealing,
    ListStorage,
    PrioritizedSampler,
    PrioritizedSamplerBase,
    ReplayBuffer,
    Storage,
)


class Recorder(PrioritizedSamplerBase):
    """Keeps a list of what was written, and draws the last row."""

    def __init__(self, max_capacity: int, beta: float | LinearAnnealing = 1.0) -> None:
        self.told: list[Any] = []
        self.exponents: list[float] = []
        self._stored = 0
        super().__init__(
            max_capacity,
            1.0,
            beta,
            eps=0.0,
            dtype=torch.float32,
            reduction="max",
            max_priority_within_buffer=True,
            normalization="none",
        )

    @property
    def count(self) -> int:
        """Rows that were told of."""
        return self._stored

    def _write_range(self, start: int, stop: int) -> None:
        self.told.append((start, stop))
        self._stored = max(self._stored, stop)

    def _write_rows(self, index: Tensor) -> None:
        self.told.append(index.tolist())

    def _set_exponent(self, beta: float) -> None:
        self.exponents.append(beta)

    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """The last row, as often as asked for."""
        self.take_in(storage)
        return torch.full((batch_size,), self.count - 1), {"beta": torch.full((batch_size,), self.step_beta())}

    def clear(self) -> None:
        """Forget."""
        self._stored = 0

    def state_dict(self) -> dict[str, Any]:
        """Only what the base keeps."""
        return {"leaves": torch.ones(self._stored), **self._beta_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        self._check_state(state)
        self._load_beta(state)


def test_every_write_is_told_as_a_range_or_as_rows() -> None:
    """Extending, adding, wrapping around and overwriting tell exactly the rows that were written."""
    sampler = Recorder(5)
    buffer = ReplayBuffer(storage=LazyTensorStorage(5), sampler=sampler)
    buffer.extend(torch.arange(3))
    buffer.add(torch.tensor(3))
    buffer.extend(torch.arange(3))  # row 4, then 0 and 1
    buffer[torch.tensor([3, 1])] = torch.zeros(2, dtype=torch.int64)
    buffer[2] = torch.tensor(7)
    assert sampler.told == [(0, 3), (3, 4), (4, 5), [4, 0, 1], [3, 1], (2, 3)]


def test_beta_goes_one_step_with_each_batch() -> None:
    """A schedule advances by batches, is carried by states, and a constant that is set is told at once."""
    sampler = Recorder(5, LinearAnnealing(0.0, 1.0, 2))
    buffer = ReplayBuffer(storage=LazyTensorStorage(5), sampler=sampler, batch_size=1)
    buffer.extend(torch.arange(3))
    assert [buffer.sample(return_info=True)[1]["beta"].item() for _ in range(3)] == [0.0, 0.5, 1.0]
    mark = sampler.mark()
    fresh = Recorder(5, LinearAnnealing(0.0, 1.0, 2))
    fresh.load_state_dict(sampler.state_dict())
    assert fresh.beta == 1.0
    sampler.rewind(mark - 2)
    assert sampler.beta == 0.5
    sampler.beta = 0.25
    assert sampler.exponents[-1] == 0.25


def test_states_that_do_not_fit_are_refused_before_anything_changes() -> None:
    """A state of more rows than there is room for is an error that says how much is needed."""
    large, small = PrioritizedSampler(20, 1.0, 1.0), PrioritizedSampler(10, 1.0, 1.0)
    for sampler, rows in ((large, 15), (small, 4)):
        ReplayBuffer(storage=LazyTensorStorage(10 if rows == 4 else 20), sampler=sampler).extend(torch.arange(rows))
    before = small.state_dict()
    with pytest.raises(
        ValueError, match=r"PrioritizedSampler: .*more rows than max_capacity.*at most 10, found 15.*15"
    ):
        small.load_state_dict(large.state_dict())
    assert small.state_dict()["leaves"].tolist() == before["leaves"].tolist()
    assert small.count == 4


def test_messages_name_the_class() -> None:
    """Settings and writes that cannot be are errors of the sampler that the user made."""
    with pytest.raises(ValueError, match="Recorder: beta"):
        Recorder(5, -1.0)
    with pytest.raises(ValueError, match="Recorder: max_capacity"):
        Recorder(0)
    buffer = ReplayBuffer(storage=ListStorage(), sampler=Recorder(2))
    buffer.extend([1, 2])
    with pytest.raises(ValueError, match=r"Recorder: max_capacity is smaller than the storage\. Expected at least 3"):
        buffer.extend([3])
