"""Rows of steps without what they hold twice, and such rows in full again.

The entry `("next", key)` of a row is nearly always the entry `key` of the row that follows it in time, and flags are
nearly always the same. Only where that is not so, bit by bit, are values kept: nothing is assumed of the rows, and
nothing is lost.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rl_buffers._raw import raw_bytes
from rl_buffers._rows import Column, TensorRows, TensorStore
from rl_buffers._structure import Path

Parts = Callable[[], Iterator[Tensor]]


@dataclass(frozen=True, slots=True)
class Array:
    """Values that make up one entry.

    Args:
        path: the entry.
        role: `"rows"` for all of it, `"same"` for the one row that all are like, `"changed"` for the rows that differ
            from the next row's entry, `"where"` for which these are (one bit a row, the first the highest).
        dtype: of the values.
        shape: of all values; the first dimension counts rows.
        parts: makes an iterator over the values in order, in pieces.
    """

    path: Path
    role: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    parts: Parts


def compact(storage: TensorRows) -> list[Array]:
    """What is to be kept of the rows of a storage."""
    columns = storage.columns()
    spans = storage.chunks.spans(len(storage))
    arrays: list[Array] = []
    for path, column in columns.items():
        twin = columns.get(path[1:]) if path[:1] == ("next",) else None
        if not spans:
            continue
        if all(_is_same(column[span], column[:1]) for span in spans):
            arrays.append(_array(path, "same", column, [slice(0, 1)]))
        elif twin is not None and twin.dtype == column.dtype and twin.shape == column.shape:
            arrays += _changes(path, column, twin, storage.lanes, spans)
        else:
            arrays.append(_array(path, "rows", column, spans))
    return arrays


def expand(storage: TensorStore, length: int, read: Callable[[Path, str, slice], Tensor | None]) -> None:
    """Write rows that were made compact to a storage that has their layout and no rows.

    Args:
        storage: where to write.
        length: number of rows.
        read: values of an array, by path, role and range; None if there is no such array.
    """
    spans = storage.chunks.spans(length)
    changed: list[Path] = []
    for path in storage.paths():
        same = read(path, "same", slice(0, 1))
        if same is None and read(path, "where", slice(0, 1)) is not None:
            changed.append(path)
            continue
        for span in spans:
            count = span.stop - span.start
            rows = read(path, "rows", span) if same is None else same.expand(count, *same.shape[1:])
            assert rows is not None
            storage.put(path, span.start, rows)
    for path in changed:
        _put_changes(storage, path, length, spans, read)


def _put_changes(
    storage: TensorStore,
    path: Path,
    length: int,
    spans: list[slice],
    read: Callable[[Path, str, slice], Tensor | None],
) -> None:
    twin = storage.columns()[path[1:]]
    bits = read(path, "where", slice(0, -(-length // 8)))
    assert bits is not None
    where = _unpack(bits, length)
    taken = 0
    for span in spans:
        rows = twin[_following(span, storage.lanes, length)].cpu()
        mask = where[span]
        count = int(mask.sum())
        values = read(path, "changed", slice(taken, taken + count))
        assert values is not None
        rows[mask] = values
        storage.put(path, span.start, rows)
        taken += count


def _changes(path: Path, column: Column, twin: Column, lanes: int, spans: list[slice]) -> list[Array]:
    length = column.shape[0]
    where = torch.cat([_differ(column[span], twin[_following(span, lanes, length)]) for span in spans])

    def parts() -> Iterator[Tensor]:
        for span in spans:
            yield column[span].cpu()[where[span]]

    bits = _pack(where)
    shape = (int(where.sum()), *column.shape[1:])
    return [
        Array(path, "changed", column.dtype, shape, parts),
        Array(path, "where", torch.uint8, tuple(bits.shape), lambda: iter([bits])),
    ]


def _array(path: Path, role: str, column: Column, spans: list[slice]) -> Array:
    shape = (sum(span.stop - span.start for span in spans), *column.shape[1:])
    return Array(path, role, column.dtype, shape, lambda: (column[span].cpu() for span in spans))


def _following(span: slice, lanes: int, length: int) -> Tensor:
    """Rows that follow those of a span in time, around the end."""
    return (torch.arange(span.start, span.stop) + lanes) % length


def _bytes(rows: Tensor) -> Tensor:
    """`[n, bytes]` of rows."""
    count = rows.shape[0]
    flat = raw_bytes(rows)
    return flat.view(count, flat.numel() // count)


def _differ(left: Tensor, right: Tensor) -> Tensor:
    """Which rows differ in a bit."""
    return (_bytes(left) != _bytes(right)).any(1)


def _is_same(rows: Tensor, first: Tensor) -> bool:
    return bool((_bytes(rows) == _bytes(first)).all())


def _pack(mask: Tensor) -> Tensor:
    padded = torch.cat([mask, mask.new_zeros(-len(mask) % 8)]).view(-1, 8).to(torch.uint8)
    return (padded << torch.arange(7, -1, -1, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def _unpack(bits: Tensor, length: int) -> Tensor:
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8)
    return ((bits.view(-1, 1) >> shifts) & 1).bool().view(-1)[:length]
