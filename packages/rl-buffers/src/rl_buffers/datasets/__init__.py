"""Offline data sets as replay buffers, and recorders that write them.

A data set is converted once, piece by piece, into files that are mapped into memory, and opened from there: neither the
conversion nor the buffer needs room for all of it. Rows are steps as everywhere else: what was known before the step at
the root, what the step returned under `"next"`, and the number of the trajectory as `"episode"`.
"""

from rl_buffers.datasets._source import RowSource
from rl_buffers.datasets.atari_dqn import AtariDQNExperienceReplay
from rl_buffers.datasets.base import BaseDatasetExperienceReplay
from rl_buffers.datasets.d4rl import D4RLExperienceReplay
from rl_buffers.datasets.lerobot import LeRobotExperienceReplay
from rl_buffers.datasets.minari import MinariExperienceReplay
from rl_buffers.datasets.recorders import EpisodeRecorder, HDF5Recorder, MinariRecorder, ParquetRecorder

__all__ = [
    "AtariDQNExperienceReplay",
    "BaseDatasetExperienceReplay",
    "D4RLExperienceReplay",
    "EpisodeRecorder",
    "HDF5Recorder",
    "LeRobotExperienceReplay",
    "MinariExperienceReplay",
    "MinariRecorder",
    "ParquetRecorder",
    "RowSource",
]
