"""Keyword arguments that several constructors hand on, in one place: type checkers know them by name and type."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import torch

from rl_buffers._sampler import Sampler
from rl_buffers._storage import Storage
from rl_buffers._writer import Writer


class BatchOptions(TypedDict, total=False):
    """How the rows that were drawn become a batch; see `ReplayBuffer`."""

    collate_fn: Callable[[Any], Any] | None
    transform: Callable[[Any], Any] | None
    generator: torch.Generator | None
    prefetch: int | None
    pin_memory: bool


class RingOptions(BatchOptions, total=False):
    """The options of a buffer that is written to, besides its parts; see `ReplayBuffer`."""

    batch_size: int | None
    dim_extend: int | None


class BufferOptions(RingOptions, total=False):
    """All that a `ReplayBuffer` can be told."""

    storage: Storage | None
    sampler: Sampler | None
    writer: Writer | None


class DatasetOptions(BatchOptions, total=False):
    """All that any data set can be told; see `BaseDatasetExperienceReplay`."""

    root: str | Path | None
    split_trajs: bool
    sampler: Sampler | None
    writer: Writer | None
