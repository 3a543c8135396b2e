"""Hashes of entries."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict

from rl_envs import Hash, TransformedEnv
from rl_specs import Composite, NonTensor, Unbounded

MakeEnv = Callable[..., Any]


def _bytes(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.tolist())


def test_by_hand() -> None:
    """Strings and bytes have their SHA-256, the seed in front; None is the empty string."""
    assert _bytes(Hash.reproducible_hash("abc")) == hashlib.sha256(b"abc").digest()
    assert _bytes(Hash.reproducible_hash(b"abc", 7)) == hashlib.sha256(b"7abc").digest()
    assert _bytes(Hash.reproducible_hash(None)) == hashlib.sha256(b"").digest()


def test_tensors() -> None:
    """Equal values have equal hashes however they lie in memory; another dtype, shape or bit gives another one."""
    value = torch.arange(6.0).reshape(2, 3)
    digest = Hash.reproducible_hash(value)
    assert torch.equal(digest, Hash.reproducible_hash(value.T.contiguous().T))
    assert digest.tolist()[:4] == list(hashlib.sha256(b"torch.float32(2, 3)" + value.numpy().tobytes()).digest()[:4])
    others = [value.double(), value.reshape(3, 2), value + 1, -0.0 * value]
    assert all(not torch.equal(digest, Hash.reproducible_hash(other)) for other in others)
    assert Hash.reproducible_hash(torch.tensor(1, dtype=torch.bfloat16)).shape == (32,)


def test_rows_apart(toy: MakeEnv) -> None:
    """Each row of a batch has the hash that it would have alone."""
    env = TransformedEnv(toy((2,)), Hash(["observation"], ["hash"], seed="s"))
    assert env.observation_spec["hash"] == Unbounded(shape=(2, 32), dtype=torch.uint8)
    data = env.rollout(2)["next"]
    assert torch.equal(data["hash"][1, 1], Hash.reproducible_hash(data["observation"][1, 1], "s"))
    stored = Hash(["observation"], ["hash"], seed="s")(data.exclude("hash"))
    assert torch.equal(stored["hash"], data["hash"])


def test_function_of_ones_own(toy: MakeEnv) -> None:
    """`hash_fn` gets a row, and the seed only where there is one."""
    env = TransformedEnv(toy((2,)), Hash(["reward"], ["hash"], hash_fn=lambda value: (value * 10).long()))
    assert env.full_reward_spec["hash"] == Unbounded(shape=(2, 1), dtype=torch.int64)
    assert env.rollout(1)["next", "hash"].flatten().tolist() == [10, 10]
    seeded = Hash(["x"], ["y"], hash_fn=lambda value, seed: value + seed, seed=5)
    assert seeded(TensorDict({"x": torch.ones(2)}, [2]))["y"].tolist() == [6.0, 6.0]


def test_objects_that_are_no_tensors() -> None:
    """Each string of a batch is hashed, one alone has no batch, and a spec has the form of the hash."""
    transform = Hash(["text"], ["hash"])
    found = transform(TensorDict({"text": NonTensorStack(NonTensorData("a"), NonTensorData("b"))}, [2]))["hash"]
    assert _bytes(found[1]) == hashlib.sha256(b"b").digest()
    assert _bytes(transform(TensorDict({"text": NonTensorData("a")}))["hash"]) == hashlib.sha256(b"a").digest()
    spec = transform.transform_observation_spec(Composite({"text": NonTensor(example_data="x")}))
    assert spec["hash"] == Unbounded(shape=(32,), dtype=torch.uint8)


def test_no_rows() -> None:
    """An empty batch has no hashes, in their form, and nothing is added to the repertoire."""
    transform = Hash(["x"], ["hash"], repertoire={})
    found = transform(TensorDict({"x": torch.zeros(0, 3)}, [0]))["hash"]
    assert (found.shape, found.dtype) == ((0, 32), torch.uint8)
    assert transform.repertoire == {}


def test_repertoire() -> None:
    """Every hash made is remembered, in the dict that was given; unknown ones are an error that says what to do."""
    known: dict[tuple[int, ...], Any] = {}
    transform = Hash(["x"], ["hash"], repertoire=known)
    data = transform(TensorDict({"x": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}, [2]))
    assert len(known) == 2
    assert transform.get_input_from_hash(data["hash"][1]).tolist() == [3.0, 4.0]
    with pytest.raises(KeyError, match=r"hash not in the repertoire.*2 others.*repertoire"):
        transform.get_input_from_hash(torch.zeros(32, dtype=torch.uint8))
    with pytest.raises(KeyError, match="0 others"):
        Hash(["x"], ["hash"]).get_input_from_hash(data["hash"][1])


def test_inverse(toy: MakeEnv) -> None:
    """Outside, an action can be a hash: the environment gets what the repertoire has for it."""
    transform = Hash([], [], in_keys_inv=["action"], out_keys_inv=["name"])
    base = toy((2,))
    env = TransformedEnv(base, transform)
    assert env.action_spec == Unbounded(shape=(2, 32), dtype=torch.uint8)
    assert transform.repertoire == {}
    actions = torch.tensor([[0.01, 0.02], [0.03, 0.04]], dtype=torch.float64)
    names = torch.stack([transform._hash(action) for action in actions])
    env.step(env.reset().set("name", names))
    assert torch.equal(base.actions[0], actions)
