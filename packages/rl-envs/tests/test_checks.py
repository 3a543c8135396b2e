"""Tests of `rl_envs._checks`."""

import pytest
import torch

from rl_envs import EnvBase, check_env_specs
from rl_envs.testing import CountingEnv, TensorDictCountingEnv
from rl_specs import Bounded, Composite, FlatDict, SpecError, TensorMap, Unbounded


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


def test_global_generator_is_left_alone() -> None:
    """The check draws no numbers from the generator of the program."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    check_env_specs(CountingEnv(), seed=5)
    assert torch.equal(expected, torch.rand(3))
