"""Pinned memory."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import NonTensorData, TensorDict

from rl_envs import PinMemoryTransform, TransformedEnv

MakeEnv = Callable[..., Any]


def test_without_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no CUDA device entries stay the tensors that they are."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    value = torch.ones(2)
    assert PinMemoryTransform()(TensorDict({"x": value}, [2]))["x"] is value


def test_with_one(toy: MakeEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is one every entry that lies in ordinary memory is pinned, at every level, and nothing twice."""
    pinned: list[torch.Tensor] = []

    def pin(value: torch.Tensor) -> torch.Tensor:
        pinned.append(value.clone())
        return pinned[-1]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda value: any(value is other for other in pinned))
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    data = TensorDict({"x": torch.ones(2), "n": {"y": torch.zeros(2)}, "text": NonTensorData("a", batch_size=[2])}, [2])
    PinMemoryTransform()(PinMemoryTransform()(data))
    assert len(pinned) == 2
    assert data["n", "y"] is pinned[1] or data["n", "y"] is pinned[0]
    pinned.clear()
    env = TransformedEnv(toy(), PinMemoryTransform())
    root = env.reset()
    assert len(pinned) == 3
    env.step(env.rand_action(root))
    assert len(pinned) == 7
    assert repr(PinMemoryTransform()) == "PinMemoryTransform()"
