"""Keys that do not fit, and what is said of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rl_envs import (
    CatTensors,
    ClipTransform,
    RenameTransform,
    RewardScaling,
    RewardSum,
    Stack,
    TransformedEnv,
    UnaryTransform,
    UnsqueezeTransform,
    check_env_specs,
)
from rl_envs.transforms._wiring import absent_keys, misplaced_keys, repeated_key
from rl_specs import Bounded, SpecError

MakeEnv = Callable[..., Any]


def test_absent_keys_by_hand() -> None:
    """Keys that are there are passed over; for others all that is there is listed, with the nearest name."""
    assert absent_keys(["a"], ["a", ("b", "c")], "in_keys", "it writes") == []
    (problem,) = absent_keys(["observatoin"], ["reward", "observation"], "in_keys", "it writes")
    assert problem.startswith('in_keys: key "observatoin" missing from what it writes (has: "observation", "reward").')
    assert 'Did you mean "observation"?' in problem


def test_a_tuple_of_keys_is_one_key(toy: MakeEnv) -> None:
    """Several keys in a tuple are read as one nested key, and the message says so."""
    with pytest.raises(SpecError, match=r'"observation", "reward"\) missing .* give several keys as a list'):
        TransformedEnv(toy(), ClipTransform(("observation", "reward"), low=0))
    (problem,) = absent_keys([("agents", "y")], [("agents", "x")], "in_keys", "it writes")
    assert "list" not in problem


def test_results_need_names_of_their_own() -> None:
    """Two results under one name would be the last one alone."""
    assert repeated_key(["a", ("b", "c"), "d"]) is None
    assert repeated_key(["a", ("b", "c"), "d", ("b", "c"), "a"]) == ("b", "c")
    with pytest.raises(ValueError, match=r'UnaryTransform: out key "x" is there twice'):
        UnaryTransform(["observation", "reward"], ["x", "x"], fn=torch.neg)
    with pytest.raises(ValueError, match=r"there twice"):
        RenameTransform(["observation", "reward"], ["x", "x"])


@pytest.mark.parametrize(
    ("in_key", "out_key", "told"),
    [
        ("observation", "reward", '"reward" is a reward, and not to be made of "observation"'),
        ("observation", "done", '"done" is a flag'),
        ("observation", "action", '"action" is an action'),
        ("reward", "observation", 'made of "reward", which is a reward'),
        ("done", "pixels", "which is a flag"),
        ("observation", "agents", '"agents" is a level with entries below it'),
        ("observation", ("next", "x"), "is a name of the loop of steps"),
        ("observation", "_reset", '"_reset" is a name of the loop of steps'),
    ],
)
def test_results_in_the_place_of_something_else(toy: MakeEnv, in_key: Any, out_key: Any, told: str) -> None:
    """A map of one kind of entry over one of another, or over a level, is refused when it is connected."""
    env = TransformedEnv(toy((2,)))
    with pytest.raises(SpecError, match=f"out_keys: .*{told}"):
        env.append_transform(UnsqueezeTransform(-1, [in_key], out_keys=[out_key]))
    assert len(env.transform) == 0


def test_results_in_the_place_of_their_like(toy: MakeEnv) -> None:
    """One observation may be made of another, and anything may have a new name, at any level."""
    in_keys: list[Any] = ["observation", "reward", "done", "reward"]
    out_keys: list[Any] = ["pixels", ("agents", "cost"), "over", "reward"]
    env = toy((2,))
    assert misplaced_keys(zip(in_keys, out_keys, strict=True), env._env_specs()) == []
    check_env_specs(TransformedEnv(env, UnsqueezeTransform(-1, in_keys, out_keys=out_keys)))


def test_keys_changed_in_an_environment(toy: MakeEnv) -> None:
    """Other keys hold at once, in specs and data; those that do not fit are refused and leave the old ones."""
    env = TransformedEnv(toy(), ClipTransform(["observation"], ["clipped"], high=1.0))
    clip = env.transform[0]
    clip.out_keys = ["cut"]
    assert "clipped" not in env.observation_spec.keys()  # noqa: SIM118  a spec is no dict
    assert isinstance(env.observation_spec["cut"], Bounded)
    clip.in_keys = [("agents", "x")]
    assert env.rollout(2)["next", "cut"].tolist() == [[0.5, -1.0], [1.0, -2.0]]
    check_env_specs(env)
    with pytest.raises(SpecError, match="missing from what the environment writes"):
        clip.in_keys = ["observatoin"]
    with pytest.raises(ValueError, match="differ in number"):
        clip.out_keys = ["a", "b"]
    assert (clip.in_keys, clip.out_keys) == ([("agents", "x")], ["cut"])
    check_env_specs(env)


def test_keys_in_place_of_those_that_were_found(toy: MakeEnv) -> None:
    """Keys that are set hold for good, also in transforms that have looked for theirs."""
    total = RewardSum()
    env = TransformedEnv(toy(), [RewardScaling(0.0, 2.0, out_keys=["twice"]), total])
    assert total.in_keys == ["reward", "twice"]
    total.out_keys = ["sum", "double"]
    assert env.rollout(2)["next", "double"].flatten().tolist() == [2.0, 6.0]
    total.in_keys = ["twice", "reward"]
    assert env.rollout(2)["next", "double"].flatten().tolist() == [1.0, 3.0]
    check_env_specs(env)
    joined = CatTensors()
    with pytest.raises(SpecError, match="differ in more than"):
        TransformedEnv(toy(), joined)
    env = TransformedEnv(toy(), CatTensors(["observation"]))
    env.transform[0].in_keys = [("agents", "x")]
    assert env.rollout(1)["next", "observation_vector"].tolist() == [[0.5, -1.0]]
    assert "observation" in env.observation_spec.keys()  # noqa: SIM118  a spec is no dict
    check_env_specs(env)
    stacked = Stack([("agents", "x"), "other"], "both")
    env = TransformedEnv(toy(), [UnaryTransform([("agents", "x")], ["other"], fn=torch.neg), stacked])
    stacked.in_keys = ["other"]
    stacked.out_keys = ["one"]
    assert env.rollout(1)["next", "one"].tolist() == [[[-0.5], [1.0]]]
    check_env_specs(env)
