"""The batch writer: what is written is what comes out, however the staging block falls."""

import pytest
import torch
from torch import Tensor

from rl_collectors import _batch_writer
from rl_collectors._batch_writer import BatchWriter
from rl_specs import FlatDict


def steps_of(count: int, batch: tuple[int, ...], width: int = 3) -> list[tuple[FlatDict, FlatDict]]:
    """Random steps with nested entries of several dtypes."""
    return [
        (
            {"observation": torch.randn(*batch, width), ("a", "count"): torch.full((*batch, 1), t)},
            {"reward": torch.randn(*batch, 1, dtype=torch.float64), "done": torch.rand(*batch, 1) > 0.5},
        )
        for t in range(count)
    ]


def written(writer: BatchWriter, steps: list[tuple[FlatDict, FlatDict]]) -> dict[str, Tensor]:
    """The batch that a writer makes of steps."""
    writer.start()
    for index, (root, nxt) in enumerate(steps):
        writer.write(index, root, nxt)
    batch = writer.finish({})
    assert batch.names[-1] == "time"
    return {
        "observation": batch["observation"],
        "count": batch["a", "count"],
        "reward": batch["next", "reward"],
        "done": batch["next", "done"],
    }


def expected(steps: list[tuple[FlatDict, FlatDict]], dim: int) -> dict[str, Tensor]:
    """The steps stacked."""
    return {
        "observation": torch.stack([root["observation"] for root, _ in steps], dim),
        "count": torch.stack([root["a", "count"] for root, _ in steps], dim),
        "reward": torch.stack([nxt["reward"] for _, nxt in steps], dim),
        "done": torch.stack([nxt["done"] for _, nxt in steps], dim),
    }


@pytest.mark.parametrize("staging", [1, 100, 200, 10**6])
@pytest.mark.parametrize("large", [0, 8, 10**6])
@pytest.mark.parametrize("huge", [0, 10**6])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_a_batch_is_its_steps_stacked(
    monkeypatch: pytest.MonkeyPatch, batch: tuple[int, ...], huge: int, large: int, staging: int
) -> None:
    """Whatever is staged, in blocks of any length, or written at once, the batch is the steps, time last."""
    monkeypatch.setattr(_batch_writer, "_LARGE_BYTES", large)
    monkeypatch.setattr(_batch_writer, "_STAGING_BYTES", staging)
    monkeypatch.setattr(_batch_writer, "_HUGE_BYTES", huge)
    steps = steps_of(7, batch)
    writer = BatchWriter(*steps[0], batch_size=torch.Size(batch), num_steps=7, device=None)
    first = written(writer, steps)
    again = steps_of(7, batch)
    second = written(writer, again)
    for found, given in ((first, steps), (second, again)):
        for key, value in expected(given, len(batch)).items():
            assert torch.equal(found[key], value), key
            assert found[key].dtype == value.dtype


def test_an_interrupted_batch_is_dropped() -> None:
    """After a start anew nothing of the half-written batch is left."""
    steps = steps_of(5, (2,))
    writer = BatchWriter(*steps[0], batch_size=torch.Size((2,)), num_steps=5, device=None)
    writer.start()
    writer.write(0, *steps[3])
    writer.write(1, *steps[4])
    found = written(writer, steps)
    assert torch.equal(found["observation"], expected(steps, 1)["observation"])


def test_what_is_written_may_change_afterwards() -> None:
    """An env that overwrites its own tensors at the next step does not reach into the batch."""
    buffer = torch.zeros(3)
    writer = BatchWriter({"observation": buffer}, {}, batch_size=torch.Size(()), num_steps=4, device=None)
    writer.start()
    for step in range(4):
        buffer.fill_(step)
        writer.write(step, {"observation": buffer}, {})
    assert writer.finish({})["observation"][:, 0].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_another_layout_does_not_fit() -> None:
    """A writer takes steps of its own keys, shapes, dtypes, number of steps and device alone."""
    (root, nxt), *_ = steps_of(1, (2,))
    writer = BatchWriter(root, nxt, batch_size=torch.Size((2,)), num_steps=4, device=None)
    assert writer.fits(*steps_of(1, (2,))[0], 4, None)
    assert not writer.fits(*steps_of(1, (2,), width=5)[0], 4, None)
    assert not writer.fits(root, {**nxt, "extra": torch.zeros(2, 1)}, 4, None)
    assert not writer.fits(root, nxt, 5, None)
    assert not writer.fits(root, nxt, 4, torch.device("cpu"))
