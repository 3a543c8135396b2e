"""Transforms whose constants were made on the CPU, and entries on a device of their own, beside an accelerator.

The accelerator is simulated, see `simulated_device`: what a real one refuses, it refuses; the numbers are those of the
CPU.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import simulated_device
import torch
from simulated_device import DEVICE, on_host

from rl_envs import (
    ActionScaling,
    Compose,
    DeviceCastTransform,
    LineariseRewards,
    ObservationNorm,
    RewardScaling,
    RewardSum,
    StepCounter,
    Transform,
    TransformedEnv,
    VecNorm,
)
from rl_envs.testing import CountingEnv


def _loaded(transform: Transform, other: Transform) -> Transform:
    transform.load_state_dict(other.state_dict())
    return transform


def _learned() -> VecNorm:
    """Statistics of an environment on the CPU."""
    norm = VecNorm(["observation"])
    TransformedEnv(CountingEnv((2,)), norm).rollout(3)
    return norm


TRANSFORMS: dict[str, Callable[[], Transform]] = {
    "ObservationNorm": lambda: ObservationNorm([1.0], [2.0], in_keys=["observation"], in_keys_inv=["action"]),
    "ObservationNorm loaded": lambda: _loaded(
        ObservationNorm(in_keys=["observation"]), ObservationNorm([1.0], [2.0], in_keys=["observation"])
    ),
    "RewardScaling": lambda: RewardScaling([1.0], [2.0]),
    "LineariseRewards": lambda: LineariseRewards(["reward"], weights=[2.0]),
    "ActionScaling": lambda: ActionScaling(loc=torch.zeros(1), scale=torch.ones(1)),
    "VecNorm shapes": lambda: VecNorm(["observation"], shapes=[(1,)]),
    "VecNorm loaded": lambda: _loaded(VecNorm(["observation"]), _learned()),
    "VecNorm shared": lambda: VecNorm(["observation"], shapes=[(1,)]).share(),
    "VecNorm exported": lambda: _learned().to_observation_norm(),
    "several": lambda: Compose(RewardScaling([0.0], [2.0]), RewardSum(), StepCounter()),
}


@pytest.fixture(scope="module")
def simulated() -> Iterator[Callable[..., Any]]:
    """Runs a function of this file with the simulated accelerator, in another process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield lambda name, *args: pool.submit(simulated_device.call, __file__, name, *args).result()


def observed(device: str | None, name: str) -> dict[str, Any]:
    """What three steps of two rows, that end at different times, give."""
    env = TransformedEnv(CountingEnv((2,), max_steps=[2, 3], device=device), TRANSFORMS[name]())
    data = env.rollout(5, lambda td: td.set("action", env.full_action_spec["action"].zero()), break_when_any_done=False)
    places = {str(data.get(key).device.type) for key in data.keys(True, True)}
    values = {str(key): on_host(data.get(key)).tolist() for key in data.keys(True, True)}
    return {"places": sorted(places), "values": values}


def one_entry_elsewhere() -> dict[str, Any]:
    """Rows that end at different times, with the observation on the accelerator and everything else on the CPU."""
    env = TransformedEnv(CountingEnv((2,), max_steps=[2, 3]), DeviceCastTransform(DEVICE, in_keys=["observation"]))
    data = env.rollout(5, break_when_any_done=False)
    seen = data.get("observation")
    return {"observation": seen.device.type, "done": data.get("done").device.type, "values": on_host(seen).tolist()}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_constants_follow_the_environment(simulated: Callable[..., Any], name: str) -> None:
    """Constants and statistics that were made on the CPU are used on the device of the environment."""
    there, here = simulated("observed", DEVICE, name), observed(None, name)
    assert there["places"] == [DEVICE]
    assert here["places"] == ["cpu"]
    assert there["values"] == here["values"]


def test_an_entry_on_a_device_of_its_own(simulated: Callable[..., Any]) -> None:
    """A reset of some rows reaches an entry that was moved, by a mask that was not."""
    found = simulated("one_entry_elsewhere")
    assert (found["observation"], found["done"]) == (DEVICE, "cpu")
    assert found["values"] == [[[0.0], [1.0], [0.0], [1.0], [0.0]], [[0.0], [1.0], [2.0], [0.0], [1.0]]]
