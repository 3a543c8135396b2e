"""The place of a ring's next row, and writing there."""

import torch
from torch import Tensor

from rl_buffers._storage import Block, Storage
from rl_buffers._writer import write_whole


def ring_extend(storage: Storage, block: Block, cursor: int) -> tuple[Tensor, int]:
    """Write a batch from row `cursor` on, and from the first row again after the last.

    Returns:
        int64 `[n]` numbers of the rows written, which are the last `max_size` of a larger batch, where they would be
        had the rows been written one by one; and the place of the next row.
    """
    size, count = storage.max_size, block.count
    skipped = max(0, count - size)
    start = (cursor + skipped) % size
    kept = count - skipped
    head = min(kept, size - start)
    if head == count:
        write_whole(storage, slice(start, start + head), block)
    elif head:
        write_whole(storage, slice(start, start + head), block, slice(skipped, skipped + head))
    if head < kept:
        write_whole(storage, slice(0, kept - head), block, slice(skipped + head, count))
    index = torch.arange(start, start + kept)
    return (index if head == kept else index.remainder_(size)), (start + kept) % size


def ring_fill(storage: Storage, block: Block, cursor: int, free: Tensor | None) -> tuple[Tensor, int]:
    """As `ring_extend`, with the first rows in the places `free`; a batch of `max_size` rows or more goes round."""
    if free is None or block.count >= storage.max_size:
        return ring_extend(storage, block, cursor)
    index, cursor = ring_places(storage.max_size, block.count, cursor, free)
    if len(index):
        write_whole(storage, index, block)
    return index, cursor


def ring_places(size: int, count: int, cursor: int, free: Tensor) -> tuple[Tensor, int]:
    """Places of fewer than `size` rows, `free` ones first, then from `cursor` on; and the place of the next row."""
    taken = free[:count].clone()
    left = count - len(taken)
    if left == 0:
        return taken, cursor
    places = torch.arange(cursor, cursor + count).remainder_(size)
    if len(taken):
        places = places[~torch.isin(places, taken)][:left]
    return torch.cat([taken, places]), (int(places[-1]) + 1) % size


def ring_order(storage: Storage, cursor: int) -> Tensor:
    """Numbers of all rows of a ring, oldest first."""
    count = len(storage)
    index = torch.arange(count)
    return index if count < storage.max_size else index.add_(cursor).remainder_(count)


def ring_start(storage: Storage, cursor: int) -> int:
    """The place of the next row: after the rows stored as long as there is room."""
    return len(storage) if len(storage) < storage.max_size else cursor
