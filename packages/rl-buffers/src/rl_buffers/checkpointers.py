"""Checkpointers: how the rows of a storage become files."""

from rl_buffers._array_checkpointers import FlatStorageCheckpointer, NestedStorageCheckpointer
from rl_buffers._checkpointer import StorageCheckpointerBase
from rl_buffers._h5_checkpointer import H5StorageCheckpointer
from rl_buffers._list_checkpointer import ListStorageCheckpointer
from rl_buffers._tensor_checkpointer import TensorStorageCheckpointer

__all__ = [
    "FlatStorageCheckpointer",
    "H5StorageCheckpointer",
    "ListStorageCheckpointer",
    "NestedStorageCheckpointer",
    "StorageCheckpointerBase",
    "TensorStorageCheckpointer",
]
