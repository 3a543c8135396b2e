"""Entries under other names."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import RenameTransform, TransformedEnv, check_env_specs
from rl_specs import Composite, MissingKeyError, NestedKey, SpecError

MakeEnv = Callable[..., Any]


def _keys(data: Any) -> set[Any]:
    return set(data.keys(True, True))


@pytest.mark.parametrize("accepts_mapping", [True, False])
def test_observations_and_rewards(toy: MakeEnv, accepts_mapping: bool) -> None:
    """Values are those of the old names, which are gone from data and specs; levels that are empty then go too."""
    names: dict[NestedKey, NestedKey] = {"observation": ("robot", "state"), ("agents", "x"): "x", "reward": "score"}
    env = TransformedEnv(toy((2,), accepts_mapping=accepts_mapping), RenameTransform(list(names), list(names.values())))
    check_env_specs(env)
    assert set(env.observation_keys) == {("robot", "state"), "x", "pixels"}
    assert env.reward_keys == ["score"]
    assert "agents" not in env.observation_spec.keys()  # noqa: SIM118
    steps, expected = (each.rollout(8, break_when_any_done=False) for each in (env, toy((2,))))
    for old, new in names.items():
        old_key, new_key = (("next", *((key,) if isinstance(key, str) else key)) for key in (old, new))
        assert torch.equal(steps[new_key], expected[old_key])
        assert old_key not in _keys(steps)


def test_copies(toy: MakeEnv) -> None:
    """With `create_copy` both names are there, for flags too, whose copies are flags."""
    env = TransformedEnv(
        toy((2,)), RenameTransform(["observation", "reward", "done"], ["copy", "score", "over"], create_copy=True)
    )
    check_env_specs(env)
    assert set(env.done_keys) == {"done", "terminated", "truncated", "over"}
    steps = env.rollout(8, break_when_any_done=False)
    for old, new in (("observation", "copy"), ("reward", "score"), ("done", "over")):
        assert torch.equal(steps["next", old], steps["next", new])
    assert torch.equal(steps["observation"], steps["copy"])


def test_names_can_be_swapped(toy: MakeEnv) -> None:
    """Two entries exchange their names, specs and all."""
    env = TransformedEnv(toy(), RenameTransform(["observation", "pixels"], ["pixels", "observation"]))
    check_env_specs(env)
    assert env.observation_spec["observation"].dtype is torch.uint8
    assert env.rollout(1)["next", "pixels"].tolist() == [[1.0, 2.0, 3.0]]


def test_actions_on_their_way_in(toy: MakeEnv) -> None:
    """The policy writes the outer name, the environment reads the inner one."""
    base = toy((2,))
    transform = RenameTransform([], [], in_keys_inv=["action"], out_keys_inv=[("agents", "torque")])
    env = TransformedEnv(base, transform)
    check_env_specs(env)
    assert env.action_keys == [("agents", "torque")]
    steps = env.rollout(3)
    assert "action" not in _keys(steps)
    assert torch.equal(steps["agents", "torque"][:, -1], base.actions[-1])
    with pytest.raises(MissingKeyError, match="torque"):
        env.step(env.reset())


def test_stored_data() -> None:
    """On a batch entries of any level are renamed; what is stored is renamed by the inverse keys."""
    data = TensorDict({"a": torch.zeros(2), "next": {"b": torch.ones(2)}}, [2])
    transform = RenameTransform(["a"], [("next", "a")], in_keys_inv=["c"], out_keys_inv=["a"])
    assert _keys(transform.inv(data)) == {"c", ("next", "b")}
    assert transform(data) is data
    assert _keys(data) == {("next", "a"), ("next", "b")}
    with pytest.raises(MissingKeyError, match="RenameTransform"):
        transform(data)


def test_what_cannot_be_renamed(toy: MakeEnv) -> None:
    """Flags, states, names that are taken and entries that nobody writes are refused, each with what to do."""
    with pytest.raises(SpecError, match=r"\"done\" is a flag.*create_copy=True"):
        TransformedEnv(toy(), RenameTransform(["done"], ["over"]))
    with pytest.raises(SpecError, match=r"\"pixels\" is written already"):
        TransformedEnv(toy(), RenameTransform(["observation"], ["pixels"]))
    with pytest.raises(SpecError, match=r"\"observatoin\" missing.*\"observation\""):
        TransformedEnv(toy(), RenameTransform(["observatoin"], ["state"]))
    base = toy()
    base.state_spec = Composite({"observation": base.observation_spec["observation"]})
    with pytest.raises(SpecError, match=r"\"observation\" is a state"):
        TransformedEnv(base, RenameTransform(["observation"], ["state"]))
    with pytest.raises(ValueError, match="in_keys and out_keys differ"):
        RenameTransform(["a", "b"], ["c"])
    with pytest.raises(ValueError, match="in_keys_inv and out_keys_inv differ"):
        RenameTransform([], [], in_keys_inv=["a", "b"], out_keys_inv=["c"])
