"""Tests of `rl_envs._flat`."""

import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict

from rl_envs._flat import pack_flat, unpack_flat


def text(*rows: str) -> NonTensorStack:
    """An entry of one string per row."""
    return NonTensorStack(*[NonTensorData(row) for row in rows], stack_dim=0)


def test_text_comes_through() -> None:
    """Entries of text, equal in all rows or not, at the root or nested, are entries of the flat dict and come back."""
    data = TensorDict(
        {
            "same": NonTensorData("a", batch_size=[2]),
            "text": text("a", "b"),
            "n": {"text": text("c", "d"), "x": torch.ones(2)},
        },
        batch_size=[2],
    )
    flat = unpack_flat(data)
    assert set(flat) == {"same", "text", ("n", "text"), ("n", "x")}
    packed = pack_flat(flat, torch.Size((2,)))
    assert packed["text"] == ["a", "b"]
    assert packed["n", "text"] == ["c", "d"]
    assert packed["same"] == "a"
