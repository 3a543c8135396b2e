"""Data on another device than the environment.

There may be no accelerator here: the devices of every operation are checked on fake tensors, which have a device and
no data.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch._subclasses.fake_tensor import FakeTensorMode

from rl_envs import DeviceCastTransform, RewardSum, SerialEnv, StepCounter, Transform, TransformedEnv, VecNorm
from rl_envs import unpack_flat as flat
from rl_specs import MissingKeyError, SpecError, TensorMap

MakeEnv = Callable[..., Any]
CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


def _fake() -> FakeTensorMode:
    """Tensors without data, on any device."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def _devices(data: TensorMap) -> set[torch.device]:
    return {value.device for value in flat(data).values()}


def _action(env: TransformedEnv, device: torch.device) -> torch.Tensor:
    return torch.zeros(*env.batch_size, 2, dtype=torch.float64, device=device)


@pytest.mark.parametrize("accepts_mapping", [True, False], ids=["dict", "TensorDict"])
def test_everything_is_moved_both_ways(toy: MakeEnv, accepts_mapping: bool) -> None:
    """Outside, everything is on one device, inside on the other: actions, masks, and what is carried inside."""
    base = toy((2,), accepts_mapping=accepts_mapping)
    masks: list[Any] = []
    base_reset = base._reset

    def noting_reset(data: TensorMap | None) -> TensorMap:
        masks.append(data)
        found: TensorMap = base_reset(data)
        return found

    base._reset = noting_reset
    cast: list[Transform] = [RewardSum(), StepCounter(), DeviceCastTransform("cuda:0"), StepCounter(step_count_key="n")]
    with _fake():
        env = TransformedEnv(base, cast)
        assert env.device == CUDA
        for spec in (env.full_observation_spec, env.full_reward_spec, env.full_done_spec, env.full_action_spec):
            assert spec.device == CUDA
        packed = (lambda data: data) if accepts_mapping else (lambda data: env._packed(flat(data)))
        root = env._reset(None)
        assert _devices(root) == {CUDA}
        following = env._step(packed({**flat(root), "action": _action(env, CUDA)}))
        assert _devices(following) == {CUDA}
        assert base.actions[-1].device == CPU
        mask = torch.ones(2, 1, dtype=torch.bool, device=CUDA)
        again = env._reset(packed({**flat(following), "_reset": mask}))
        assert _devices(again) == {CUDA}
        assert masks[-1]["_reset"].device == CPU
        assert mask.device == CUDA


def test_what_a_serial_env_carries_is_moved_back(toy: MakeEnv) -> None:
    """Sums carried by transforms inside of a `SerialEnv` go in with the actions."""
    inside = SerialEnv(2, lambda: TransformedEnv(toy(), RewardSum()))
    with _fake():
        env = TransformedEnv(inside, DeviceCastTransform("cuda:0"))
        root = env._reset(None)
        given = env.transform[0]._inv_call({**flat(root), "action": _action(env, CUDA)})
        assert (given["episode_reward"].device, given["action"].device) == (CPU, CPU)
        assert given["observation"].device == CUDA


def test_named_entries(toy: MakeEnv) -> None:
    """With keys those entries are moved and no others, and the environment declares no device."""
    transform = DeviceCastTransform(
        "cuda:0", "cpu", in_keys=["pixels", "reward"], out_keys=["image", "reward"], in_keys_inv=["action"]
    )
    base = toy((2,))
    with _fake():
        env = TransformedEnv(base, transform)
        assert env.device is None
        root = env._reset(None)
        assert (root["image"].device, root["pixels"].device, root["observation"].device) == (CUDA, CPU, CPU)
        assert env.full_observation_spec["image"].device == CUDA
        assert env.full_observation_spec["pixels"].device == CPU
        assert env.full_action_spec["action"].device == CUDA
        following = env._step({**flat(root), "action": _action(env, CUDA)})
        assert (following["reward"].device, following["done"].device) == (CUDA, CPU)
        assert base.actions[-1].device == CPU


def test_numbers_stay(toy: MakeEnv) -> None:
    """On one device the transform changes nothing but the device that is declared."""
    env = TransformedEnv(toy((2,)), [RewardSum(), DeviceCastTransform("cpu"), StepCounter()])
    plain = TransformedEnv(toy((2,)), [RewardSum(), StepCounter()])
    action = torch.full((2, 2), 0.05, dtype=torch.float64)
    found = env.rollout(5, lambda data: data.set("action", action), break_when_any_done=False)
    expected = plain.rollout(5, lambda data: data.set("action", action), break_when_any_done=False)
    assert found.device == CPU
    assert (found == expected).all()
    masked = TransformedEnv(toy((2,)), [VecNorm(["observation"]), DeviceCastTransform("cpu")])
    masked.rollout(5, lambda data: data.set("action", action), break_when_any_done=False)


def test_stored_data() -> None:
    """A TensorDict is moved as a whole, or the entries named."""
    data = TensorDict({"x": torch.ones(2), "n": {"y": torch.ones(2)}}, [2])
    assert DeviceCastTransform("meta")(data)["n", "y"].device.type == "meta"
    named = DeviceCastTransform("meta", in_keys=["x"], out_keys=["z"])(data)
    assert (named["x"].device.type, named["z"].device.type) == ("cpu", "meta")


def test_misuse(toy: MakeEnv) -> None:
    """Out keys without in keys, another origin than the environment's, and missing entries are refused."""
    with pytest.raises(ValueError, match="out keys without in keys"):
        DeviceCastTransform("cpu", out_keys=["a"])
    with pytest.raises(SpecError, match="orig_device: the environment is on cpu, not on meta"):
        TransformedEnv(toy(), DeviceCastTransform("cpu", "meta"))
    with pytest.raises(MissingKeyError, match='"x" missing'):
        DeviceCastTransform("cpu", in_keys=["x"])(TensorDict({"y": torch.ones(1)}))
    transform = DeviceCastTransform("cpu", in_keys=["a"])
    assert repr(transform) == 'DeviceCastTransform(device=cpu, orig_device=None, keys=["a"])'
