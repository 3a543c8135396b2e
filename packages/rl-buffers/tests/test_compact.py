"""Rows without what they hold twice."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import Tensor

from rl_buffers import LazyTensorStorage
from rl_buffers._compact import compact, expand
from rl_buffers._structure import Path


def _storage(values: list[float], following: list[float], lanes: int) -> LazyTensorStorage:
    rows = TensorDict({"x": torch.tensor(values), "next": {"x": torch.tensor(following)}}, [len(values)])
    storage = LazyTensorStorage(len(values), ndim=2)
    storage.write(slice(0, len(values)), storage.check(rows.reshape(-1, lanes).transpose(0, 1), "test"))
    return storage


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, float("nan")]), min_size=6, max_size=36), st.integers(1, 3))
def test_any_rows_come_back_bit_by_bit(values: list[float], lanes: int) -> None:
    """Whatever follows whatever, in any number of lanes, the rows that are made again are the same."""
    half = len(values) // 2 // lanes * lanes
    storage = _storage(values[:half], values[half : 2 * half], lanes)
    arrays = {(array.path, array.role): torch.cat(list(array.parts())) for array in compact(storage)}
    again = LazyTensorStorage(half, ndim=2)
    again.begin_load(storage.head())

    def read(path: Path, role: str, rows: slice) -> Tensor | None:
        found = arrays.get((path, role))
        return None if found is None else found[rows]

    expand(again, half, read)
    for path, column in storage.columns().items():
        assert torch.equal(again.columns()[path][:].view(torch.int32), column[:].view(torch.int32))


def test_only_what_differs_from_the_next_row_is_kept() -> None:
    """Of two lanes of three steps, one next value that is no row's and the ones at the end are kept."""
    storage = _storage([0.0, 10.0, 1.0, 11.0, 2.0, 12.0], [1.0, 11.0, 2.0, 7.0, 3.0, 13.0], lanes=2)
    kept = {
        array.role: torch.cat(list(array.parts())).tolist() for array in compact(storage) if array.path[0] == "next"
    }
    assert kept == {"changed": [7.0, 3.0, 13.0], "where": [0b00011100]}
