"""First steps."""

from collections.abc import Callable
from typing import Any

import pytest

from rl_envs import EnvBase, InitTracker, TransformedEnv, check_env_specs
from rl_envs.testing import MultiKeyCountingEnv, NestedCountingEnv
from rl_specs import SpecError

MakeEnv = Callable[..., Any]


def test_true_on_the_first_step_of_each_row(toy: MakeEnv) -> None:
    """The root's flag is True where an episode starts, the flag in next never."""
    data = TransformedEnv(toy((2,), horizon=2), InitTracker()).rollout(4, break_when_any_done=False)
    assert data["is_init"][..., 0].tolist() == [[True, False, True, False], [True, False, False, True]]
    assert not data["next", "is_init"].any()


def test_name(toy: MakeEnv) -> None:
    """The flag can have another name; nested, its level needs a `done` flag."""
    assert TransformedEnv(toy(), InitTracker(init_key="start")).reset()["start"].item()
    with pytest.raises(SpecError, match="init_key"):
        TransformedEnv(toy(), InitTracker(init_key=("agents", "start")))
    assert repr(InitTracker()) == "InitTracker(init_key='is_init')"


@pytest.mark.parametrize("make", [NestedCountingEnv, MultiKeyCountingEnv])
def test_each_group_of_flags_has_one(make: Callable[..., EnvBase]) -> None:
    """A flag lies beside each `done`, in its shape."""
    env = TransformedEnv(make((2,)), InitTracker())
    check_env_specs(env)
    root = env.reset()
    dones = [key for key in env.done_keys if (key if isinstance(key, str) else key[-1]) == "done"]
    for key in dones:
        beside = "is_init" if isinstance(key, str) else (*key[:-1], "is_init")
        assert root[beside].shape == root[key].shape
        assert root[beside].all()
    assert env._env_specs().first_flags == tuple(env.transform[0]._writes())
