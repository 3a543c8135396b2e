"""Ctrl-C anywhere leaves a buffer that can be used."""

import linecache
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_buffers import (
    LazyTensorStorage,
    ListStorage,
    PrioritizedSampler,
    RandomSampler,
    RoundRobinWriter,
    SamplerWithoutReplacement,
    TensorDictMaxValueWriter,
    TensorDictReplayBuffer,
)

PARTS: dict[str, Any] = {
    "tensor": (LazyTensorStorage, lambda size: RandomSampler(), RoundRobinWriter),
    "list": (ListStorage, lambda size: SamplerWithoutReplacement(), RoundRobinWriter),
    "prioritized": (LazyTensorStorage, lambda size: PrioritizedSampler(size, 0.7, 0.5), RoundRobinWriter),
    "highest": (LazyTensorStorage, lambda size: RandomSampler(), lambda: TensorDictMaxValueWriter("a")),
}


def _rows(first: int, count: int) -> TensorDict:
    numbers = torch.arange(first, first + count)
    return TensorDict({"a": numbers, "b": numbers.double().view(-1, 1).expand(-1, 4), "c": numbers % 2 == 0}, [count])


def _interrupted(call: Callable[[], Any], event: int) -> bool:
    """Run `call` with Ctrl-C before line number `event` of this package; whether it came so far."""
    seen = 0

    def trace(frame: FrameType, kind: str, arg: Any) -> Any:
        nonlocal seen
        if "rl_buffers" not in frame.f_code.co_filename:
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if kind == "line" and not line.startswith(("with ", "try:")):  # where Python handles no signals
            seen += 1
            if seen == event:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def _assert_usable(buffer: TensorDictReplayBuffer) -> None:
    """No lock is held, every row is whole, and rows can be drawn and written."""
    lengths: list[int] = []
    thread = threading.Thread(target=lambda: lengths.append(len(buffer[:])), daemon=True)
    if len(buffer):
        thread.start()
        thread.join(20)
        assert lengths == [len(buffer)]
        _assert_whole(buffer[:])
    rows = _rows(900, 3)
    index = buffer.extend(rows)
    assert buffer[index]["a"].tolist() == [900, 901, 902]
    assert buffer.add(_rows(903, 1)[0]) is not None
    for _ in range(4):
        _assert_whole(buffer.sample(min(3, len(buffer))))


def _assert_whole(batch: TensorDict) -> None:
    assert (batch["b"] == batch["a"].view(-1, 1)).all()
    assert torch.equal(batch["c"], batch["a"] % 2 == 0)


def _operations(buffer: TensorDictReplayBuffer, state: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    return {
        "extend": lambda: buffer.extend(_rows(10, 2)),
        "extend over the seam": lambda: (buffer.extend(_rows(10, 6)), buffer.extend(_rows(20, 6))),
        "add": lambda: buffer.add(_rows(10, 1)[0]),
        "replace": lambda: buffer.__setitem__(slice(2, 4), _rows(10, 2)),
        "sample": lambda: buffer.sample(),
        "empty": lambda: buffer.empty(),
        "load": lambda: buffer.load_state_dict(state),
        "iterate": lambda: next(iter(buffer)),
    }


@pytest.mark.parametrize("name", sorted(PARTS))
@pytest.mark.parametrize(
    "operation", ["extend", "extend over the seam", "add", "replace", "sample", "empty", "load", "iterate"]
)
def test_an_interrupt_at_any_line(name: str, operation: str) -> None:
    """Interrupted before each line in turn, the buffer holds whole rows, releases its lock and goes on."""
    storage, sampler, writer = PARTS[name]
    event = 0
    is_interrupted = True
    while is_interrupted:
        event += 1 if operation != "load" else 3
        buffer = TensorDictReplayBuffer(storage=storage(8), sampler=sampler(8), writer=writer(), batch_size=2)
        buffer.extend(_rows(0, 3 if operation == "extend" else 8))
        state = buffer.state_dict()
        is_interrupted = _interrupted(_operations(buffer, state)[operation], event)
        _assert_usable(buffer)
    assert event > 3
