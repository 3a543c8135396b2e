"""Tables of entries that share a tensor."""

import torch
from torch import Size

from rl_buffers._table import Table, group


def _table() -> Table:
    return Table([0, 2, 3], [Size([2]), Size([]), Size([2, 2])], torch.zeros(5, 7))


def test_small_entries_of_one_dtype_share_a_table_and_large_ones_do_not() -> None:
    """Grouping is by dtype, and an entry of more than 1024 bytes a row is alone."""
    shapes = [Size([17]), Size([3, 84, 84]), Size([]), Size([6]), Size([257]), Size([256])]
    dtypes = [torch.float32, torch.uint8, torch.bool, torch.float32, torch.float32, torch.float32]
    assert group(shapes, dtypes) == [[0, 3, 5], [1], [2], [4]]


def test_rows_come_back_as_they_were_written() -> None:
    """Writes by range, row and numbers are read back entry by entry, contiguous, in the shapes of the entries."""
    table = _table()
    first = torch.arange(8.0).reshape(4, 2)
    leaves = [first, torch.empty(0), torch.arange(4.0).reshape(4, 1) + 10, torch.arange(16.0).reshape(4, 4) + 20]
    table.write(slice(1, 4), leaves, slice(1, 4))
    table.write(0, [leaf[0] if leaf.numel() else leaf for leaf in leaves], None)
    table.write(torch.tensor([4]), [leaf[:1] if leaf.numel() else leaf for leaf in leaves], None)
    out = [torch.empty(0)] * 4
    table.read(torch.tensor([0, 1, 2, 3, 4]), out)
    assert torch.equal(out[0], torch.cat([first, first[:1]]))
    assert torch.equal(out[2], torch.tensor([10.0, 11.0, 12.0, 13.0, 10.0]))
    assert out[3].shape == (5, 2, 2)
    assert torch.equal(out[3][2], torch.arange(28.0, 32.0).reshape(2, 2))
    assert all(leaf.is_contiguous() for leaf in out)


def test_columns_are_views() -> None:
    """Writing to a column writes to the table."""
    table = _table()
    columns = [torch.empty(0)] * 4
    table.columns(columns)
    columns[3][2] = 5.0
    out = [torch.empty(0)] * 4
    table.read(slice(2, 3), out)
    assert torch.equal(out[3], torch.full((1, 2, 2), 5.0))
    assert torch.equal(out[0], torch.zeros(1, 2))
