"""Entries mapped by a function."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict
from torch import Tensor, nn

from rl_envs import FrameSkipTransform, TransformedEnv, UnaryTransform, check_env_specs
from rl_specs import Composite, NonTensor, Unbounded

MakeEnv = Callable[..., Any]


def test_by_hand(toy: MakeEnv) -> None:
    """Each in key is mapped to its out key; the spec has the form of the result."""
    transform = UnaryTransform(["observation", "reward"], ["total", "reward"], fn=lambda x: x.sum(-1, keepdim=True) + 1)
    env = TransformedEnv(toy((2,)), transform)
    assert env.observation_spec["total"] == Unbounded(shape=(2, 1), dtype=torch.float64)
    data = env.rollout(1)["next"]
    assert data["total"].flatten().tolist() == [7.0, 10.0]
    assert data["reward"].flatten().tolist() == [2.0, 2.0]


def test_inverse(toy: MakeEnv) -> None:
    """An outer action goes through `inv_fn`, and has the form that `fn` gives the inner one."""
    maps: dict[str, Any] = {"fn": lambda value: 2 * value.float(), "inv_fn": lambda value: value.double() / 2}
    base = toy()
    env = TransformedEnv(base, UnaryTransform([], [], in_keys_inv=["action"], out_keys_inv=["twice"], **maps))
    assert env.action_spec == Unbounded(shape=(2,), dtype=torch.float32)
    env.step(env.reset().set("twice", torch.tensor([0.125, -0.0625])))
    assert base.actions[0].tolist() == [0.0625, -0.03125]


def test_objects_that_are_no_tensors() -> None:
    """Strings are handed over as they are, batches of them as lists, and wrapped where that is asked for."""

    def lengths(text: Any) -> Tensor:
        return torch.tensor([len(part) for part in text] if isinstance(text, list) else len(text))

    transform = UnaryTransform(["text"], ["length"], fn=lengths)
    assert transform(TensorDict({"text": NonTensorData("four")}))["length"].item() == 4
    stacked = TensorDict({"text": NonTensorStack(NonTensorData("a"), NonTensorData("bcd"))}, batch_size=[2])
    assert transform(stacked)["length"].tolist() == [1, 3]
    spec = transform.transform_observation_spec(Composite({"text": NonTensor(example_data="")}))
    assert spec["length"] == Unbounded(shape=(), dtype=torch.int64)
    seen = []

    def note(text: Any) -> Tensor:
        seen.append(text)
        return torch.ones(2)

    UnaryTransform(["text"], ["length"], fn=note, use_raw_nontensor=True)(stacked)
    assert isinstance(seen[0], NonTensorStack)


def test_a_module_is_part_of_the_state(toy: MakeEnv) -> None:
    """A function with parameters is saved and loaded with the environment."""
    layer = nn.Linear(3, 2, dtype=torch.float64)
    env = TransformedEnv(toy(), UnaryTransform(["observation"], ["features"], fn=layer))
    assert "0._fn.weight" in "".join(env.state_dict()["transform"])
    check_env_specs(env.eval())


@pytest.mark.parametrize("batch_size", [(), (2,)], ids=str)
def test_flags_can_be_read(toy: MakeEnv, batch_size: tuple[int, ...]) -> None:
    """A number made of a flag is an observation, 0 after each reset, whether the environment's resets return flags or
    not; behind a transform that steps the environment too."""
    for before in ([], [FrameSkipTransform(1)]):
        env = TransformedEnv(toy(batch_size), [*before, UnaryTransform(["done"], ["end"], fn=lambda flag: 2.0 * flag)])
        check_env_specs(env)
        assert "end" in env.observation_keys
        data = env.rollout(4, break_when_any_done=False)
        assert data["end"].reshape(-1, 4)[0].tolist() == [0.0] * 4
        assert data["next", "end"].reshape(-1, 4)[0].tolist() == [0.0, 0.0, 2.0, 0.0]
