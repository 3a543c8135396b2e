"""Tests of `rl_envs.parallel._table` and `rl_envs.parallel._split`."""

import mmap

import pytest
import torch

from rl_envs.parallel._split import available_cores, split_rows
from rl_envs.parallel._table import Layout, Table, TensorForm, forms, table_bytes
from rl_specs import Bounded, Composite, NonTensor, Unbounded

LAYOUT: Layout = {
    "a": {"flag": TensorForm((3, 1), torch.bool), ("b", "c"): TensorForm((3, 2), torch.float64)},
    "empty": {"none": TensorForm((3, 0), torch.float32)},
    "d": {"flag": TensorForm((3,), torch.int64)},
}


def test_tables_over_one_memory_agree() -> None:
    """Entries of every dtype, empty ones too, are where the other table has them, and do not overlap."""
    memory = mmap.mmap(-1, table_bytes(LAYOUT))
    first, second = Table(memory, LAYOUT), Table(memory, LAYOUT)
    for section in LAYOUT:
        for key, form in LAYOUT[section].items():
            first[section][key].fill_(1)
            assert (first[section][key].shape, first[section][key].dtype) == (form.shape, form.dtype)
    first["a"][("b", "c")].fill_(2.5)
    assert bool(second["a"]["flag"].all())
    assert second["a"][("b", "c")].tolist() == [[2.5, 2.5]] * 3
    assert second["d"]["flag"].tolist() == [1, 1, 1]


def test_forms_of_specs() -> None:
    """Shapes and dtypes come from the specs, nested keys included; text and open sizes have no form."""
    parts = Composite({"z": Bounded(0, 9, shape=(2,), dtype=torch.uint8), "text": NonTensor((2,))}, shape=(2,))
    points = Unbounded(shape=(2, -1, 3))
    spec = Composite({"x": Unbounded(shape=(2, 4)), "y": parts, "points": points}, shape=(2,))
    found = forms(spec)
    assert found == {"x": TensorForm((2, 4), torch.float32), ("y", "z"): TensorForm((2,), torch.uint8)}


@pytest.mark.parametrize(("count", "processes"), [(1, 1), (8, 3), (7, 7), (10, 4)])
def test_rows_are_spread_evenly(count: int, processes: int) -> None:
    """Every row goes to one process, in order, and shares differ by one at most."""
    parts = split_rows("Test", count, processes)
    assert [row for part in parts for row in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert available_cores() >= 1


@pytest.mark.parametrize("processes", [0, 3, 1.5])
def test_impossible_numbers_of_processes(processes: int) -> None:
    """No process, more than rows, or half a one are refused."""
    with pytest.raises(ValueError, match="num_processes"):
        split_rows("Test", 2, processes)
