"""Transforms added to and taken from an environment that is in use."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDictBase

from rl_envs import (
    CatTensors,
    ClipTransform,
    Compose,
    DoubleToFloat,
    EnvBase,
    ExcludeTransform,
    InitTracker,
    ObservationNorm,
    RenameTransform,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    VecNorm,
    check_env_specs,
)
from rl_specs import MissingKeyError, SpecError

MakeEnv = Callable[..., Any]


def _step(env: EnvBase, root: TensorDictBase) -> tuple[TensorDictBase, TensorDictBase]:
    for key, spec in env.full_action_spec.flat_items():
        root.set(key, spec.zero())
    return env.step_and_maybe_reset(root)


def _in_use(toy: MakeEnv, *transforms: Any) -> tuple[TransformedEnv, TensorDictBase]:
    """An environment after two steps, and its root."""
    env = TransformedEnv(toy((2,), horizon=4), list(transforms))
    root: TensorDictBase = env.reset()
    for _ in range(2):
        root = _step(env, root)[1]
    return env, root


def test_appended_after_some_steps(toy: MakeEnv) -> None:
    """A map applies from the next step on; specs and mode are those of the longer chain; so is a new rollout."""
    env, root = _in_use(toy, ClipTransform(in_keys=["observation"], low=-100))
    assert env.append_transform(ObservationNorm(1.0, 10.0, in_keys=["observation"])) is env
    assert (root["observation"][0] == torch.tensor([2.0, 4.0, 6.0])).all()
    stepped, root = _step(env, root)
    assert stepped["next", "observation"][0].tolist() == [31.0, 61.0, 91.0]
    check_env_specs(env)
    fresh = TransformedEnv(
        toy((2,), horizon=4),
        [ClipTransform(in_keys=["observation"], low=-100), ObservationNorm(1.0, 10.0, in_keys=["observation"])],
    )
    one, two = (each.rollout(9, break_when_any_done=False).exclude("action") for each in (env, fresh))
    assert (one == two).all()


def test_new_entries_and_the_next_reset(toy: MakeEnv) -> None:
    """An entry that is added is in the specs at once and in the data from the next step on; a partial reset fits."""
    env, root = _in_use(toy)
    assert "vector" not in env.observation_spec.keys()  # noqa: SIM118
    env.append_transform(CatTensors(["observation", ("agents", "x")], "vector", del_keys=False))
    assert env.observation_spec["vector"].shape == (2, 5)
    assert "vector" not in root
    stepped, root = _step(env, root)
    assert stepped["next", "vector"].shape == root["vector"].shape == (2, 5)
    partial = env.reset(root.clone().set("_reset", torch.tensor([[True], [False]])))
    assert partial["vector"][0].tolist() == [0.0] * 5
    assert torch.equal(partial["vector"][1], root["vector"][1])
    assert env.reset()["vector"].tolist() == [[0.0] * 5, [0.0, 0.0, 1.0, 1.0, 1.0]]


@pytest.mark.parametrize("make", [RewardSum, StepCounter])
def test_what_carries_needs_a_reset(toy: MakeEnv, make: Callable[[], Any]) -> None:
    """A transform that goes on from what a reset wrote says that one is missing; after it the data are right."""
    env, root = _in_use(toy)
    env.append_transform(make())
    with pytest.raises(MissingKeyError, match="reset after a transform was added"):
        _step(env, root)
    check_env_specs(env)
    assert env.rollout(2)["next", env.transform[0]._writes()[0]][:, -1].flatten().tolist() in ([3.0, 3.0], [2, 2])


def test_inserted_and_removed(toy: MakeEnv) -> None:
    """Inserted before others it changes what they read; removed, everything is as before, and it is free again."""
    env, root = _in_use(toy, VecNorm(in_keys=["observation"], decay=1.0), StepCounter())
    scale = ObservationNorm(0.0, 2.0, in_keys=["observation"])
    env.insert_transform(0, scale)
    assert [type(leaf) for leaf in env.transform] == [ObservationNorm, VecNorm, StepCounter]
    norm = env.transform[1]
    before, count = norm.loc * norm.count, norm.count.clone()
    stepped, root = _step(env, root)
    # the two rows after the third step, doubled
    torch.testing.assert_close(norm.loc * norm.count - before, torch.tensor([14.0, 26.0, 38.0], dtype=torch.float64))
    assert norm.count - count == 2
    assert stepped["next", "step_count"].tolist() == [[3], [3]]
    assert env.remove_transform(0) is scale
    assert scale.container is None
    _step(env, root)
    check_env_specs(env)
    TransformedEnv(toy(), scale).reset()


def test_removing_an_entry_from_the_data(toy: MakeEnv) -> None:
    """What a removed transform wrote is in no spec, and in the data no more after the next step and reset."""
    env, root = _in_use(toy, StepCounter(), InitTracker())
    env.remove_transform(0)
    assert "step_count" not in env.observation_spec.keys()  # noqa: SIM118
    stepped, _ = _step(env, root)
    assert "step_count" not in stepped["next"]
    assert "step_count" not in env.reset()
    assert set(env.rollout(2).keys(True, True)) == set(
        TransformedEnv(toy((2,)), InitTracker()).rollout(2).keys(True, True)
    )


def test_flags_that_come_and_go(toy: MakeEnv) -> None:
    """A flag that is excluded and let back in is completed again; episodes end as they did."""
    env, root = _in_use(toy)
    env.append_transform(ExcludeTransform("truncated"))
    stepped, root = _step(env, root)
    assert "truncated" not in stepped["next"]
    env.remove_transform()
    stepped, root = _step(env, root)
    assert stepped["next", "truncated"].tolist() == [[False], [False]]
    assert stepped["next", "done"].tolist() == [[True], [False]]
    check_env_specs(env)


def test_actions_change_their_form(toy: MakeEnv) -> None:
    """After a cast and a new name for the action the next step reads the new form, and says so of the old one."""
    env, root = _in_use(toy)
    env.append_transform(DoubleToFloat())
    assert env.full_action_spec["action"].dtype == torch.float32
    _, root = _step(env, root)
    assert env.base_env.actions[-1].dtype == torch.float64  # type: ignore[attr-defined]  # a ToyEnv
    env.append_transform(RenameTransform([], [], in_keys_inv=["action"], out_keys_inv=["torque"]))
    with pytest.raises(MissingKeyError, match="torque"):
        env.step(root.clone())
    _step(env, root)


def test_a_change_that_does_not_fit(toy: MakeEnv) -> None:
    """What is refused leaves specs, data and statistics as they were."""
    env, root = _in_use(toy, VecNorm(in_keys=["observation"]), CatTensors(["observation"], "vector"))
    specs, state = env.observation_spec, env.state_dict()
    for change in (
        lambda: env.append_transform(ClipTransform(in_keys=["observation"], low=0)),
        lambda: env.insert_transform(0, ExcludeTransform("observation")),
        lambda: env.transform.__setitem__(1, Compose(StepCounter(), RewardSum(out_keys=["step_count"]))),
    ):
        with pytest.raises(SpecError):
            change()
    assert env.observation_spec == specs
    assert all(torch.equal(value, state["transform"][key]) for key, value in env.state_dict()["transform"].items())
    assert set(_step(env, root)[0]["next"].keys()) == {"vector", "agents", "pixels", "reward", *_FLAGS}


_FLAGS = ("done", "terminated", "truncated")


def test_inside_a_serial_env(toy: MakeEnv) -> None:
    """Environments of a batch are bound to their specs: a new batch has those of the changed environments."""
    envs = [TransformedEnv(toy((), horizon=4)) for _ in range(2)]
    for env in envs:
        env.append_transform(RewardSum())
    batch = SerialEnv(2, [lambda env=env: env for env in envs])
    assert batch.rollout(3)["next", "episode_reward"][:, -1].tolist() == [[6.0], [6.0]]


@pytest.mark.parametrize("transform", [ClipTransform(in_keys=["observation"], low=-1, high=1)], ids=str)
def test_in_the_middle_of_a_rollout(toy: MakeEnv, transform: Any) -> None:
    """A map that a callback appends applies to the steps after it, and the batch is whole."""

    def change(env: EnvBase, step: TensorDictBase) -> None:
        assert isinstance(env, TransformedEnv)
        if step["next", "observation"][0, 0] == 2 and not len(env.transform):
            env.append_transform(transform.clone())

    env = TransformedEnv(toy((2,), horizon=9))
    steps = env.rollout(4, callback=change)
    assert steps["next", "observation"][0, :, 0].tolist() == [1.0, 2.0, 1.0, 1.0]
    assert steps["observation"][0, :, 0].tolist() == [0.0, 1.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("start", "change"),
    [
        ([], lambda env: env.append_transform(CatTensors(["observation"], "vector", del_keys=False))),
        ([StepCounter], lambda env: env.remove_transform()),
        ([], lambda env: env.append_transform(ExcludeTransform("pixels"))),
    ],
    ids=["added", "removed", "excluded"],
)
def test_entries_that_change_in_a_rollout(toy: MakeEnv, start: list[Any], change: Callable[[Any], Any]) -> None:
    """A batch cannot hold an entry in some of its steps: the rollout says so, and the next one is right."""
    env = TransformedEnv(toy((2,), horizon=9), [make() for make in start])
    done: list[bool] = []

    def callback(env: EnvBase, step: TensorDictBase) -> None:
        if not done:
            done.append(True)
            change(env)

    with pytest.raises(RuntimeError, match=r"entries changed while it ran.*Change transforms between rollouts"):
        env.rollout(4, callback=callback)
    check_env_specs(env)
    assert env.rollout(4).shape == (2, 4)


@pytest.mark.parametrize("index", [-3, 2, 5])
def test_positions_out_of_range(toy: MakeEnv, index: int) -> None:
    """A position that is not there names the transforms that are, and leaves the environment as it was."""
    env = TransformedEnv(toy(), [StepCounter(), RewardSum()])
    with pytest.raises(IndexError, match=rf"-2 to 1, found {index}, with 2 transforms: .*StepCounter"):
        env.remove_transform(index)
    if index != 2:  # the end
        with pytest.raises(IndexError, match=rf"-2 to 2, found {index}, with 2 transforms"):
            env.insert_transform(index, RewardSum(out_keys=["other"]))
    assert len(env.transform) == 2
    empty = TransformedEnv(toy())
    with pytest.raises(IndexError, match="Expected none, found -1, with 0 transforms"):
        empty.remove_transform()
    assert len(empty.insert_transform(0, RewardSum()).transform) == 1
