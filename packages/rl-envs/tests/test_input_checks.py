"""Tests of `rl_envs._input_checks`."""

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from rl_envs.testing import CountingEnv
from rl_specs import DeviceError, DTypeError, MissingKeyError, ShapeError, SpecError, Unbounded


def root_with(action: Tensor) -> TensorDict:
    """A root with this action."""
    return TensorDict({"action": action})


def test_missing_action() -> None:
    """The error names the key, what is there, and how to write one."""
    env = CountingEnv()
    with pytest.raises(MissingKeyError, match=r'CountingEnv.step: key "action" missing .*"observation".*rand_action'):
        env.step(env.reset())


def test_other_shape() -> None:
    """An action of another shape is an error with both shapes."""
    with pytest.raises(ShapeError, match=r'action "action": another shape .*\(1,\), found \(2,\)'):
        CountingEnv().step(root_with(torch.zeros(2)))


def test_other_dtype() -> None:
    """An action of another dtype is an error with both dtypes."""
    with pytest.raises(DTypeError, match=r"float32, found torch.float64"):
        CountingEnv().step(root_with(torch.zeros(1, dtype=torch.float64)))


def test_other_device() -> None:
    """An action on another device is an error with both devices."""
    with pytest.raises(DeviceError, match=r"cpu, found meta"):
        CountingEnv().step(root_with(torch.zeros(1, device="meta")))


def test_out_of_bounds() -> None:
    """An action outside the bounds is an error; one outside by rounding is not."""
    with pytest.raises(SpecError, match=r"outside its bounds.*low=-1.*found tensor\(\[1\.5"):
        CountingEnv().step(root_with(torch.tensor([1.5])))
    with pytest.raises(SpecError, match="outside its bounds"):
        CountingEnv().step(root_with(torch.tensor([float("nan")])))
    CountingEnv().step(root_with(torch.tensor([1.0]).nextafter(torch.tensor([2.0]))))


def test_missing_state_entry() -> None:
    """An entry of `state_spec` that is missing is an error."""
    env = CountingEnv()
    env.state_spec = Unbounded(shape=(1,))
    with pytest.raises(MissingKeyError, match='key "state" missing'):
        env.step(root_with(torch.zeros(1)))


def test_policy_without_action() -> None:
    """A policy that writes no action is named in the error of a rollout."""
    policy = TensorDictModule(nn.Linear(1, 1), in_keys=["observation"], out_keys=["actoin"])
    with pytest.raises(MissingKeyError, match=r"the policy wrote no action.*Did you mean \"actoin\""):
        CountingEnv().rollout(3, policy)


def test_policy_of_another_shape() -> None:
    """A policy whose actions have another shape is an error of a rollout, at its first step."""
    policy = TensorDictModule(nn.Linear(1, 2), in_keys=["observation"], out_keys=["action"])
    with pytest.raises(ShapeError, match="another shape"):
        CountingEnv().rollout(3, policy)


def test_mask_of_another_form() -> None:
    """The mask of a reset is bool and has one element per row."""
    env = CountingEnv((2,))
    root = env.reset()
    with pytest.raises(DTypeError, match="_reset"):
        env.reset(root.clone().set("_reset", torch.ones(2, 1)))
    with pytest.raises(ShapeError, match=r"\(2, 1\), found \(2, 2\)"):
        env.reset(root.clone().set("_reset", torch.ones(2, 2, dtype=torch.bool)))


def test_roots_of_another_batch_size() -> None:
    """A reset, and a rollout from given roots, take no rows that the env does not have; few dimensions are welcome."""
    env = CountingEnv((2,))
    for wrong in ([3], [2, 1], [4, 2]):
        root = TensorDict({}, wrong)
        with pytest.raises(ShapeError, match=r"CountingEnv.reset: .*batch size.*\(2,\)"):
            env.reset(root)
        with pytest.raises(ShapeError, match=r"rollout: tensordict: .*batch size.*\(2,\)"):
            env.rollout(2, tensordict=root, auto_reset=False)
    mask = torch.tensor([[True], [False]])
    assert env.reset(TensorDict({**env.reset(), "_reset": mask})).batch_size == (2,)
