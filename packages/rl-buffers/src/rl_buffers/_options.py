"""Keyword arguments that several constructors hand on, in one place: type checkers know them by name and type."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

import torch

from rl_buffers._checkpointer import StorageCheckpointerBase
from rl_buffers._part_sources import SamplerSource, StorageSource, Transform, WriterSource
from rl_buffers._sampler import Sampler
from rl_buffers._writer import Writer

CheckpointerSource: TypeAlias = StorageCheckpointerBase | Callable[[], StorageCheckpointerBase]


class BatchOptions(TypedDict, total=False):
    """How the rows that were drawn become a batch; see `ReplayBuffer`."""

    collate_fn: Callable[[Any], Any] | None
    transform: Transform | None
    generator: torch.Generator | None
    prefetch: int | None
    pin_memory: bool


class PlaceOptions(BatchOptions, total=False):
    """How a buffer that is written to takes data, besides its parts; see `ReplayBuffer`."""

    batch_size: int | None
    dim_extend: int | None
    shared: bool
    compilable: bool | None


class PartOptions(PlaceOptions, total=False):
    """The options of a buffer and its parts; see `ReplayBuffer`."""

    storage: StorageSource | None
    sampler: SamplerSource | None
    writer: WriterSource | None
    transform_factory: Callable[[], Transform] | None
    delayed_init: bool | None


class RingOptions(PlaceOptions, total=False):
    """The options of a buffer that is written to, besides its parts; see `ReplayBuffer`."""

    checkpointer: CheckpointerSource | None


class BufferOptions(PartOptions, RingOptions, total=False):
    """All that a `ReplayBuffer` can be told."""


class DatasetOptions(BatchOptions, total=False):
    """All that any data set can be told; see `BaseDatasetExperienceReplay`."""

    root: str | Path | None
    split_trajs: bool
    sampler: Sampler | None
    writer: Writer | None
