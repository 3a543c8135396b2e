"""Storages: where rows are kept, and in which layout."""

from rl_buffers._list_storage import ListStorage
from rl_buffers._storage import Block, Storage
from rl_buffers._tensor_storage import BaseTensorStorage, LazyTensorStorage, TensorStorage

__all__ = ["BaseTensorStorage", "Block", "LazyTensorStorage", "ListStorage", "Storage", "TensorStorage"]
