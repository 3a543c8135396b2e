"""Next observations as differences."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import ClipTransform, NextObservationDelta, TransformedEnv
from rl_specs import MissingKeyError, SpecError

MakeEnv = Callable[..., Any]


def test_by_hand(toy: MakeEnv) -> None:
    """The differences of one step of `t * [1, 2, 3]` are 1, 2, 3 in half precision; a reset writes zeros."""
    env = TransformedEnv(toy(), NextObservationDelta())
    data = env.rollout(2)
    assert env.transform[0].in_keys == ["observation", ("agents", "x")]
    assert data["next", "delta", "observation"].dtype == torch.float16
    assert data["next", "delta", "observation"].tolist() == [[1, 2, 3], [1, 2, 3]]
    assert data["delta", "agents", "x"].tolist() == [[0, 0], [0.5, -1]]


@pytest.mark.parametrize("in_env", [True, False])
def test_storing_and_restoring(toy: MakeEnv, in_env: bool) -> None:
    """What `compress` leaves is half the size and `forward` makes the batch of it again, over episode ends too."""
    transform = NextObservationDelta()
    env = TransformedEnv(toy((2,), horizon=2), transform) if in_env else toy((2,), horizon=2)
    data = env.rollout(5, break_when_any_done=False)
    stored = transform.compress(data)
    assert ("next", "observation") not in stored.keys(True)
    assert "delta" not in stored.keys()  # noqa: SIM118
    assert ("next", "pixels") in stored.keys(True)
    restored = transform(stored.clone())
    for key in ("observation", ("agents", "x")):
        assert torch.equal(restored["next"][key], data["next"][key])
        assert restored["next"][key].dtype == data[key].dtype
    assert ("next", "delta") not in restored.keys(True)
    assert ("next", "observation") in data.keys(True)


def test_dtypes(toy: MakeEnv) -> None:
    """Differences and restored entries have the dtypes asked for; `drop_delta=False` keeps the differences."""
    transform = NextObservationDelta(["x"], delta_dtype=torch.bfloat16, restore_dtype=torch.float64, drop_delta=False)
    data = TensorDict({"x": torch.tensor([[1.0]]), "next": {"x": torch.tensor([[1.0 + 2**-9]])}}, [1])
    stored = transform.compress(data)
    assert stored["next", "delta", "x"].dtype == torch.bfloat16
    result = transform(stored)
    assert result["next", "x"].tolist() == [[1.0 + 2**-9]]  # 1.001953125 itself has no bfloat16
    assert result["next", "x"].dtype == torch.float64
    assert ("next", "delta", "x") in result.keys(True)


def test_misuse(toy: MakeEnv) -> None:
    """Integers, entries that later transforms change, and data without differences are refused."""
    with pytest.raises(SpecError, match=r'"pixels" is torch.uint8, of which no differences are made'):
        TransformedEnv(toy(), NextObservationDelta(["pixels"]))
    clip = ClipTransform(in_keys=["observation"], low=0)
    with pytest.raises(SpecError, match='NextObservationDelta, reads "observation" back, and ClipTransform changes it'):
        TransformedEnv(toy(), [NextObservationDelta(["observation"]), clip])
    with pytest.raises(MissingKeyError, match=r'\("next", "delta"\) missing.*compress'):
        NextObservationDelta(["x"])(TensorDict({"x": torch.zeros(1)}))
