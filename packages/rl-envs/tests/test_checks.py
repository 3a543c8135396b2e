"""Tests of `rl_envs._checks`."""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from rl_envs import EnvBase, EnvPlan, TicTacToeEnv, check_env_specs
from rl_envs.testing import CountingEnv, TensorDictCountingEnv
from rl_specs import (
    Bounded,
    Categorical,
    Composite,
    FlatDict,
    NonTensor,
    ShapeError,
    SpecError,
    TensorMap,
    TensorSpec,
    Unbounded,
    stack_specs,
)


class LyingEnv(EnvBase):
    """Returns nothing of what its specs say."""

    def __init__(self) -> None:
        super().__init__(batch_size=(2,))
        specs = {"a": Unbounded(shape=(2, 3)), "b": Unbounded(shape=(2, 1)), "c": Bounded(0.0, 1.0, shape=(2, 1))}
        self.observation_spec = Composite({**specs, "d": Unbounded(shape=(2, 1))}, shape=(2,))
        self.action_spec = Bounded(-1.0, 1.0, shape=(2, 1))

    def _reset(self, data: TensorMap | None) -> FlatDict:
        wrong_shape, wrong_dtype = torch.zeros(2, 4), torch.zeros(2, 1, dtype=torch.float64)
        return {"a": wrong_shape, "b": wrong_dtype, "c": torch.full((2, 1), 7.0), "e": torch.zeros(2, 1)}

    def _step(self, data: TensorMap) -> FlatDict:
        return {**self._reset(None), "reward": torch.zeros(2), "done": torch.zeros(2, 1, dtype=torch.bool)}

    def _set_seed(self, seed: int) -> None:
        self.seed = seed


@pytest.mark.parametrize("env", [CountingEnv(), CountingEnv((2,), prefix=("a", "b")), TensorDictCountingEnv((3,))])
def test_true_specs_pass(env: EnvBase) -> None:
    """Environments whose specs are true pass, stacked or not."""
    check_env_specs(env)
    check_env_specs(env, return_contiguous=False, seed=1)


def test_all_lies_are_in_one_table() -> None:
    """Every difference has its line, of reset and step: shape, dtype, values, an entry too few and one too many."""
    with pytest.raises(SpecError, match="11 differences") as caught:
        check_env_specs(LyingEnv())
    lines = str(caught.value).splitlines()
    wanted = [
        ('"a"', "shape"),
        ('"b"', "dtype"),
        ('"c"', "outside its spec"),
        ('"d"', "missing"),
        ('"e"', "in no spec"),
        ('("next", "d")', "missing"),
        ('("next", "reward")', "shape"),
    ]
    for key, problem in wanted:
        assert any(key in line and problem in line for line in lines), (key, problem, lines)


def test_error_is_an_assertion_too() -> None:
    """The error can be caught as an `AssertionError`."""
    with pytest.raises(AssertionError):
        check_env_specs(LyingEnv())


def test_dtypes_can_be_left_out() -> None:
    """`check_dtype=False` leaves dtypes alone."""
    with pytest.raises(SpecError) as caught:
        check_env_specs(LyingEnv(), check_dtype=False)
    assert "  dtype  " not in str(caught.value)


def test_reward_of_another_shape_is_found() -> None:
    """Lies of `_step` alone are found in the step."""

    env = TensorDictCountingEnv((2,))
    env.reward_spec = Unbounded(shape=(2, 3))
    with pytest.raises(SpecError, match=r'step .*\("next", "reward"\)  shape'):
        check_env_specs(env)


class ReusingEnv(EnvBase):
    """Returns its own buffer and counts in it."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_spec = Unbounded(shape=(1,))
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
        self.count = torch.zeros(1)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return {"observation": self.count}

    def _step(self, data: TensorMap) -> FlatDict:
        self.count += 1
        return {"observation": self.count, "reward": torch.ones(1), "done": torch.zeros(1, dtype=torch.bool)}

    def _set_seed(self, seed: int) -> None:
        self.seed = seed


def test_a_buffer_that_is_used_again_is_found() -> None:
    """An env that returns a tensor and writes to it later is told so: every step of a batch would be the last one."""
    with pytest.raises(SpecError, match=r'"observation" +written later +a tensor of its own'):
        check_env_specs(ReusingEnv())


class ClampingEnv(ReusingEnv):
    """Clamps the action where it stands."""

    def _step(self, data: TensorMap) -> FlatDict:
        data["action"].clamp_(-1e-3, 1e-3)
        return {"observation": torch.zeros(1), "reward": torch.ones(1), "done": torch.zeros(1, dtype=torch.bool)}


def test_an_action_that_a_step_changes_is_found() -> None:
    """An env that writes into the action is told so: a batch would hold another action than the policy's."""
    with pytest.raises(SpecError, match=r'step +"action" +written to +an action left as it is'):
        check_env_specs(ClampingEnv(), seed=0)


class ArraysEnv(ReusingEnv):
    """Returns arrays and numbers in place of tensors.

    Args:
        where: `"_reset"` or `"_step"`.
        value: what it returns as an observation there.
    """

    def __init__(self, where: str, value: Any) -> None:
        super().__init__()
        self.where, self.value = where, value

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return {"observation": self.value if self.where == "_reset" else torch.zeros(1)}

    def _step(self, data: TensorMap) -> FlatDict:
        done = torch.zeros(1, dtype=torch.bool)
        return {
            "observation": self.value if self.where == "_step" else torch.zeros(1),
            "reward": done.float(),
            "done": done,
        }


@pytest.mark.parametrize("value", [np.zeros(1, np.float32), 0.0, [0.0], None])
@pytest.mark.parametrize("where", ["_reset", "_step"])
def test_observations_that_are_no_tensors_are_refused(where: str, value: object) -> None:
    """A rollout, and a reset alone, name the method and the entry, and how to make a tensor of it."""
    told = rf"ArraysEnv.{where}: \"observation\" is no tensor. Expected Tensor, found {type(value).__name__}.*torch.as_"
    env = ArraysEnv(where, value)
    with pytest.raises(TypeError, match=told):
        env.rollout(3)
    with pytest.raises(TypeError, match=told):
        EnvPlan(env).step({**EnvPlan(env).reset(), "action": torch.zeros(1)})
    with pytest.raises(SpecError, match=r'"observation"'):
        check_env_specs(env)


@pytest.mark.parametrize("value", [torch.zeros(()), torch.zeros(2), torch.zeros(1, 1)])
def test_observations_of_another_shape_are_refused(value: torch.Tensor) -> None:
    """The first step of a rollout names the entry, its shape and that of its spec."""
    with pytest.raises(ShapeError, match=r'ArraysEnv._step: "observation" has another shape.*Expected \(1,\), found'):
        ArraysEnv("_step", value).rollout(3)


def test_global_generator_is_left_alone() -> None:
    """The check draws no numbers from the generator of the program."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    check_env_specs(CountingEnv(), seed=5)
    assert torch.equal(expected, torch.rand(3))


class OneEntryEnv(EnvBase):
    """Returns one observation, whatever its spec says."""

    def __init__(self, spec: TensorSpec, value: object) -> None:
        super().__init__()
        self.observation_spec = Composite({"entry": spec})
        self.action_spec = Categorical(2)
        self.value: Any = value

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return {"entry": self.value}

    def _step(self, data: TensorMap) -> FlatDict:
        return {"entry": self.value, "reward": torch.zeros(1), "done": torch.zeros(1, dtype=torch.bool)}

    def _set_seed(self, seed: int) -> None:
        pass


def test_open_sizes_are_compared() -> None:
    """Where the spec leaves a size open any size will do; other sizes and the domain count as ever."""
    spec = Bounded(0.0, 1.0, (-1, 2))
    for size in (0, 1, 5):
        check_env_specs(OneEntryEnv(spec, torch.zeros(size, 2)))
    with pytest.raises(SpecError, match=r"shape +\(-1, 2\) +\(5, 3\)"):
        check_env_specs(OneEntryEnv(spec, torch.zeros(5, 3)))
    with pytest.raises(SpecError, match="outside its spec"):
        check_env_specs(OneEntryEnv(spec, torch.full((5, 2), 2.0)))


def test_bare_text_is_found() -> None:
    """A string that is returned as it is, is a difference that names the form it takes."""
    with pytest.raises(SpecError, match=r"NonTensorData, or a NonTensorStack of rows +str"):
        check_env_specs(OneEntryEnv(NonTensor(), "hello"))


def test_stacks_of_different_entries_are_refused() -> None:
    """A spec that no step can hold is an error where it is given, with another way to write it."""
    stack = stack_specs([Composite(x=Unbounded((2,))), Composite(x=Unbounded((3,)))])
    with pytest.raises(SpecError, match=r"stack of specs with different entries.*agent_0"):
        OneEntryEnv(stack, None)


def test_what_to_start_from_is_handed_on() -> None:
    """The resets are given the TensorDict, whose further entries are no difference, nor is its batch size."""
    check_env_specs(CountingEnv((2,)), tensordict=TensorDict({"level": torch.ones(2)}, batch_size=[2]))
    check_env_specs(TicTacToeEnv(), tensordict=TensorDict({}, batch_size=[2, 3]))


def test_rollouts_of_both_kinds() -> None:
    """A rollout that stops at the end of an episode, one that goes on, or both."""
    kinds: list[bool | Literal["both"]] = [True, False, "both"]
    for kind in kinds:
        env = CountingEnv(max_steps=2)
        check_env_specs(env, break_when_any_done=kind)
        assert env.get_state()["count"].item() == (1.0 if kind is False else 2.0)
