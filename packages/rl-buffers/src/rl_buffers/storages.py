"""Storages: where rows are kept, and in which layout."""

from rl_buffers._base_list_storage import BaseListStorage
from rl_buffers._compressed_list_storage import CompressedListStorage
from rl_buffers._lazy_memmap_storage import LazyMemmapStorage
from rl_buffers._lazy_stack_storage import LazyStackStorage
from rl_buffers._lazy_tensor_storage import LazyTensorStorage, TensorStorage
from rl_buffers._list_storage import ListStorage
from rl_buffers._storage import Block, Storage
from rl_buffers._tensor_storage import BaseTensorStorage

__all__ = [
    "BaseListStorage",
    "BaseTensorStorage",
    "Block",
    "CompressedListStorage",
    "LazyMemmapStorage",
    "LazyStackStorage",
    "LazyTensorStorage",
    "ListStorage",
    "Storage",
    "TensorStorage",
]
