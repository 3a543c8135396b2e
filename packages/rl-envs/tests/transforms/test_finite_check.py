"""An error for entries that are not finite."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import AutoResetTransform, FiniteTensorDictCheck, ObservationNorm, TransformedEnv, check_env_specs
from rl_specs import FlatDict, TensorMap

MakeEnv = Callable[..., Any]


@pytest.mark.parametrize("accepts_mapping", [True, False])
def test_finite_data_pass(toy: MakeEnv, accepts_mapping: bool) -> None:
    """Data and specs of an environment are as they were."""
    env = TransformedEnv(toy((2,), accepts_mapping=accepts_mapping), FiniteTensorDictCheck())
    check_env_specs(env)
    assert (env.rollout(4) == toy((2,)).rollout(4)).select("observation", "next").all()


@pytest.mark.parametrize("accepts_mapping", [True, False])
def test_a_step_that_is_not_finite(toy: MakeEnv, accepts_mapping: bool) -> None:
    """The first observation that is not finite is an error that names the entry, the number and the place."""
    scale = ObservationNorm(0.0, float("inf"), in_keys=["observation"])
    env = TransformedEnv(toy((2,), accepts_mapping=accepts_mapping), [scale, FiniteTensorDictCheck()])
    with pytest.raises(ValueError, match=r"a reset.*\"observation\" \(6 of 6 elements, first nan at \[0, 0\]\)"):
        env.reset()
    env.transform[0].loc = torch.ones(())
    env.transform[0].scale = torch.zeros(())
    root = env.reset()
    env.transform[0].scale = torch.tensor(float("inf"))
    with pytest.raises(ValueError, match=r"a step has values that are not finite"):
        env.step(root.set("action", torch.zeros(2, 2, dtype=torch.float64)))


def test_rows_outside_a_partial_reset_may_hold_anything() -> None:
    """What a reset returns for rows that keep theirs is not looked at."""
    check = FiniteTensorDictCheck()
    check._checked, check._batch_size = ["x"], torch.Size((2,))
    mask = torch.tensor([[True], [False]])
    fine: FlatDict = {"x": torch.tensor([[0.0], [float("nan")]])}
    root: TensorMap = {"_reset": mask}
    assert check._reset(root, fine) is fine
    with pytest.raises(ValueError, match=r"1 of 2 elements, first nan at \[1, 0\]"):
        check._reset({"_reset": ~mask}, fine)
    with pytest.raises(ValueError, match="not finite"):
        check._reset({}, fine)


def test_in_a_compiled_graph() -> None:
    """The check is part of the graph: finite data pass, others are an error with the name of the entry."""
    check = FiniteTensorDictCheck()
    check._checked, check._batch_size = ["x"], torch.Size((2,))
    step = torch.compile(lambda data: check._step({}, data)["x"], fullgraph=True, backend="aot_eager")
    reset = torch.compile(lambda root, data: check._reset(root, data)["x"], fullgraph=True, backend="aot_eager")
    broken = torch.tensor([[1.0], [float("nan")]])
    assert torch.equal(step({"x": torch.ones(2, 1)}), torch.ones(2, 1))
    with pytest.raises(RuntimeError, match=r"\"x\" of a step is not finite"):
        step({"x": broken})
    assert reset({"_reset": torch.tensor([[True], [False]])}, {"x": broken})[0] == 1
    with pytest.raises(RuntimeError, match=r"\"x\" of a reset is not finite"):
        reset({"_reset": torch.tensor([[False], [True]])}, {"x": broken})


def test_stored_data() -> None:
    """On a batch every floating-point entry is looked at, all that are wrong in one message; others pass."""
    data = TensorDict({"a": torch.tensor([1.0, 2.0]), "n": torch.tensor([1, 2])}, [2])
    assert FiniteTensorDictCheck()(data) is data
    data["next"] = {"b": torch.tensor([1.0, float("inf")]), "c": torch.tensor([float("nan"), 0.0])}
    with pytest.raises(ValueError, match=r"\(\"next\", \"b\"\) \(1 of 2.*first inf at \[1\].*\(\"next\", \"c\"\)"):
        FiniteTensorDictCheck()(data)


def test_lost_observations_may_be_nan(endless: MakeEnv) -> None:
    """Behind an `AutoResetTransform` the observations of steps that end an episode may be NaN; rewards, and what other
    steps return, may not."""
    env = TransformedEnv(endless((2,)), [AutoResetTransform(), FiniteTensorDictCheck()])
    check_env_specs(env)
    data = env.rollout(4, break_when_any_done=False)
    assert data["next", "observation"].isnan().sum() == data["next", "done"].sum()
    check = env.transform[1]
    done = torch.tensor([[True], [False]])
    entries = {"observation": torch.tensor([[torch.nan], [0.0]]), "reward": torch.zeros(2, 1), "done": done}
    check._step({}, dict(entries))
    for changed in ({"observation": torch.tensor([[0.0], [torch.nan]])}, {"reward": torch.full((2, 1), torch.nan)}):
        with pytest.raises(ValueError, match="not finite"):
            check._step({}, {**entries, **changed})
