"""The environment behind transforms."""

import copy
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
    NoopResetEnv,
    ObservationNorm,
    RewardSum,
    StepCounter,
    ToTensorImage,
    Transform,
    TransformedEnv,
    VecNorm,
    check_env_specs,
)
from rl_specs import Bounded, Composite, SpecError

MakeEnv = Callable[..., Any]


def _documented(base: Any) -> TransformedEnv:
    env = TransformedEnv(base)
    env.append_transform(VecNorm(in_keys=["observation"], decay=0.99999, eps=1e-2))
    env.append_transform(ClipTransform(in_keys=["observation"], low=-10, high=10))
    env.append_transform(RewardSum())
    env.append_transform(StepCounter())
    env.append_transform(DoubleToFloat(in_keys=["observation"]))
    return env


@pytest.mark.parametrize("batch_size", [(), (3,)], ids=str)
def test_the_documented_stack(toy: MakeEnv, batch_size: tuple[int, ...]) -> None:
    """The stack that the documents append one by one has the specs and entries that they name."""
    env = _documented(toy(batch_size, horizon=2))
    check_env_specs(env)
    assert env.observation_spec["observation"].dtype == torch.float32
    assert env.observation_spec["step_count"].dtype == torch.int64
    data = env.rollout(6, break_when_any_done=False)
    returns = data["next", "episode_reward"][data["next", "done"]]
    assert 3.0 in returns.tolist()  # rewards 1 and 2 of a two-step episode


@pytest.mark.parametrize("given", [None, [], StepCounter(), [StepCounter()], Compose(StepCounter())])
def test_ways_to_give_transforms(toy: MakeEnv, given: Any) -> None:
    """None, a transform, a list and a `Compose` all end up as a `Compose`."""
    env = TransformedEnv(toy(), given)
    assert isinstance(env.transform, Compose)
    assert len(env.transform) == (1 if given else 0)


def test_all_wiring_mistakes_in_one_message(toy: MakeEnv) -> None:
    """Keys that nobody writes are told at once, each with its transform, what is there and near matches."""
    transforms: list[Transform] = [
        ClipTransform(in_keys=["observatoin"], low=0),
        StepCounter(truncated_key=("agent", "truncated")),
        DoubleToFloat(in_keys=["rewrad"], in_keys_inv=["actoin"]),
        NoopResetEnv(3),
    ]
    with pytest.raises(SpecError) as caught:
        TransformedEnv(toy((2,)), transforms)
    text = str(caught.value)
    for part in (
        "5 wiring mistake",
        '"observatoin"',
        '"observation"',
        '("agent", "done")',
        '"reward"',
        '"action"',
        "batch size",
    ):
        assert part in text, part
    assert all(transform.container is None for transform in transforms)


def test_a_key_written_later_is_not_there_yet(toy: MakeEnv) -> None:
    """An in key that only a later transform writes is a mistake; after it, it is none."""
    with pytest.raises(SpecError, match="episode_reward"):
        TransformedEnv(toy(), [ClipTransform(in_keys=["episode_reward"], low=0), RewardSum()])
    TransformedEnv(toy(), [RewardSum(), ClipTransform(in_keys=["episode_reward"], out_keys=["clipped"], low=0)])


def test_removing_what_another_needs_is_refused(toy: MakeEnv) -> None:
    """Taking out the writer of an entry that is read later fails and changes nothing."""
    env = TransformedEnv(toy(), [CatTensors(["observation"], "vector"), ClipTransform(in_keys=["vector"], low=0)])
    with pytest.raises(SpecError, match="vector"):
        env.remove_transform(0)
    assert len(env.transform) == 2
    env.rollout(2)


def test_of_a_transformed_env_is_flat(toy: MakeEnv) -> None:
    """Wrapping twice gives one layer with the transforms of both; the statistics are those the user holds."""
    norm = VecNorm(in_keys=["observation"], decay=1.0)
    first = TransformedEnv(toy(), norm)
    env = TransformedEnv(first, RewardSum())
    assert env.base_env is first.base_env
    assert [type(leaf) for leaf in env.transform] == [VecNorm, RewardSum]
    env.rollout(2)
    assert norm.count.item() == pytest.approx(3)
    assert "episode_reward" not in first.reset().keys()  # noqa: SIM118
    with pytest.raises(SpecError, match="nothing_here"):
        TransformedEnv(env, ClipTransform(in_keys=["nothing_here"], low=0))
    env.append_transform(StepCounter())
    env.rollout(2)


def test_parent_is_the_env_before(toy: MakeEnv) -> None:
    """`parent` has the transforms before this one and their specs, and shares the base env."""
    env = TransformedEnv(toy(), Compose(StepCounter(), ToTensorImage()))
    env.append_transform(ObservationNorm(in_keys=["pixels"], loc=2, scale=1))
    parent = env.transform[2].parent
    assert parent is not None
    assert parent.base_env is env.base_env
    assert [type(leaf) for leaf in parent.transform] == [StepCounter, ToTensorImage]
    assert parent.reset()["pixels"].max() == 0
    assert env.reset()["pixels"].min() == 2
    first = env.transform[0].parent
    assert first is not None
    assert len(first.transform) == 0


def test_repr_is_the_documented_one(toy: MakeEnv) -> None:
    """The repr shows the base env and each transform on a line of its own."""
    env = TransformedEnv(toy(), Compose(NoopResetEnv(3), ToTensorImage()))
    env.append_transform(ObservationNorm(in_keys=["pixels"], loc=2, scale=1))
    assert repr(env) == (
        "TransformedEnv(\n"
        "    env=ToyEnv(batch_size=torch.Size([]), device=None),\n"
        "    transform=Compose(\n"
        "            NoopResetEnv(noops=3, random=True),\n"
        "            ToTensorImage(keys=['pixels']),\n"
        "            ObservationNorm(loc=2.0000, scale=1.0000, keys=['pixels'])))"
    )


def test_train_and_eval_reach_everything(toy: MakeEnv) -> None:
    """The mode of the env is that of the base env and of each transform."""
    env = _documented(toy())
    for mode in (False, True):
        env.train(mode)
        assert env.training is env.base_env.training is mode
        assert all(leaf.training is mode for leaf in env.transform)


def test_seed_close_and_device(toy: MakeEnv) -> None:
    """Seed, close and device go on to the base env; closing twice closes once."""
    base = toy()
    env = TransformedEnv(base, StepCounter())
    env.set_seed(3)
    assert base.seed == 3
    assert env.to("cpu").device == base.device == torch.device("cpu")
    assert env.reset().device == torch.device("cpu")
    env.close()
    env.close()
    assert base.closed_times == 1
    assert env.is_closed


def test_state_goes_on_in_the_middle_of_an_episode(toy: MakeEnv) -> None:
    """State of simulator and transforms together: a new env goes on exactly where the first one was."""

    def run(env: TransformedEnv, root: TensorDictBase, steps: int) -> TensorDictBase:
        for _ in range(steps):
            root = env.step_and_maybe_reset(root.set("action", env.full_action_spec["action"].zero()))[1]
        return root

    env, other = _documented(toy((2,), horizon=4)), _documented(toy((2,), horizon=4))
    root = run(env, env.reset(), 3)
    assert env.has_exact_state
    for take, give in ((env.state_dict, other.load_state_dict), (env.get_state, other.set_state)):
        give(take())
        kept = env.state_dict()
        assert (run(env, root.clone(), 5) == run(other, root.clone(), 5)).all()
        env.load_state_dict(kept)


def test_state_of_something_else_is_refused(toy: MakeEnv) -> None:
    """A state without the two parts, or of other transforms, is an error."""
    env = TransformedEnv(toy(), StepCounter())
    with pytest.raises(KeyError, match="not the state of a TransformedEnv"):
        env.load_state_dict({"simulator": {}})
    other = _documented(toy())
    with pytest.raises(RuntimeError, match="stats"):
        other.load_state_dict(env.state_dict())


@pytest.mark.parametrize("way", ["state_dict", "state"])
def test_a_state_that_does_not_fit_changes_nothing(toy: MakeEnv, way: str) -> None:
    """Where transforms, or the environment inside, are others than those of the state, nothing of it is loaded."""
    saved = TransformedEnv(toy((2,)), [VecNorm(in_keys=["observation"]), VecNorm(in_keys=["reward"])])
    saved.rollout(2)
    env = TransformedEnv(toy((2,)), VecNorm(in_keys=["observation"]))
    env.rollout(1)
    read, load = (env.state_dict, env.load_state_dict) if way == "state_dict" else (env.get_state, env.set_state)
    state = saved.state_dict() if way == "state_dict" else saved.get_state()
    before = copy.deepcopy(read())
    with pytest.raises(RuntimeError, match="Unexpected key"):
        load(state)
    _assert_same(read(), before)
    fitting = TransformedEnv(toy((2,)), VecNorm(in_keys=["observation"]))
    fitting.rollout(3)
    wrong: dict[str, Any] = {"simulator": {}} if way == "state_dict" else {}
    broken = {**(fitting.state_dict() if way == "state_dict" else fitting.get_state()), "base_env": wrong}
    with pytest.raises(KeyError):
        load(broken)
    _assert_same(read(), before)


def _assert_same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _assert_same(one[key], other[key])
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_specs_cannot_be_set_here(toy: MakeEnv) -> None:
    """Setting a spec of the transformed env is refused; setting one of the base env is seen."""
    env = TransformedEnv(toy(), CatTensors(["observation"], "vector", del_keys=False))
    with pytest.raises(AttributeError, match="base_env"):
        env.observation_spec = Composite({"observation": Bounded(0, 1, shape=(3,))})
    env.base_env.observation_spec = Composite({"observation": Bounded(-1.0, 1.0, shape=(3,), dtype=torch.float64)})
    assert isinstance(env.observation_spec["vector"], Bounded)


def test_base_env_that_takes_tensordicts_only(toy: MakeEnv) -> None:
    """A base env without `accepts_mapping` makes the transformed env one without."""
    env = _documented(toy((2,), accepts_mapping=False))
    assert not env.accepts_mapping
    check_env_specs(env)
