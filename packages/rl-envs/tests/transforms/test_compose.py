"""Compose as a list and as a transform."""

from collections.abc import Callable
from typing import Any, final

import pytest
import torch
from tensordict import TensorDict

from rl_envs import (
    ClipTransform,
    Compose,
    ObservationNorm,
    RewardScaling,
    RewardSum,
    SignTransform,
    StepCounter,
    Transform,
    TransformedEnv,
    UnsqueezeTransform,
)
from rl_specs import SpecError

MakeEnv = Callable[..., Any]


def _three() -> tuple[StepCounter, RewardSum, RewardScaling]:
    return StepCounter(), RewardSum(), RewardScaling(0.0, 2.0)


def test_list_behaviour() -> None:
    """Indexing, slicing, length, iteration, insertion and removal are those of a list."""
    a, b, c = _three()
    compose = Compose(a)
    compose.append(c)
    compose.insert(1, b)
    assert list(compose) == [a, b, c]
    assert (compose[0], compose[-1], len(compose)) == (a, c, 3)
    assert list(compose[1:]) == [b, c]
    assert compose.pop() is c
    del compose[0]
    compose.extend([a, c])
    compose[0] = d = StepCounter(step_count_key="other")
    assert list(compose) == [d, a, c]
    assert b.container is None
    with pytest.raises(IndexError):
        compose[3]


def test_ways_to_give_them() -> None:
    """One by one, as one list, as a list by name: the transforms are the same; two ways at once are refused."""
    items, listed, named = _three(), list[Any](_three()), list[Any](_three())
    assert list(Compose(*items)) == list(items)
    assert list(Compose(listed)) == listed
    assert list(Compose(transforms=named)) == named
    assert list(Compose([])) == list(Compose(transforms=[])) == []
    with pytest.raises(TypeError, match="two ways"):
        Compose(StepCounter(), transforms=[RewardSum()])


def test_order_matters(toy: MakeEnv) -> None:
    """A sum placed before the scaling adds raw rewards, after it scaled ones."""
    for order, total in ((0, 3.0), (1, 6.0)):
        parts: list[Transform] = [RewardSum(), RewardScaling(0.0, 2.0)]
        env = TransformedEnv(toy(), Compose(*(parts if order == 0 else parts[::-1])))
        assert env.rollout(2)["next", "episode_reward"][-1].item() == total


def test_nested_equals_flat(toy: MakeEnv) -> None:
    """Nesting changes nothing but the way to an element."""
    norm = ObservationNorm(1.0, 2.0, in_keys=["observation"])
    nested = TransformedEnv(toy((2,)), Compose(StepCounter(), Compose(RewardSum(), Compose(norm))))
    flat = TransformedEnv(toy((2,)), Compose(StepCounter(), RewardSum(), norm.clone()))
    action = nested.full_action_spec["action"].zero()
    one = nested.step(nested.reset().set("action", action))
    two = flat.step(flat.reset().set("action", action))
    assert (one == two).all()
    assert nested.full_observation_spec == flat.full_observation_spec
    parent = norm.parent
    assert parent is not None
    assert [type(leaf) for leaf in parent.transform] == [StepCounter, RewardSum]


def test_forward_applies_all_in_turn() -> None:
    """On stored data `Compose` is the composition of its parts."""
    compose = Compose(RewardScaling(1.0, 2.0), ClipTransform(in_keys=["reward"], low=0.0, high=4.0))
    data = compose(TensorDict({"reward": torch.tensor([[-3.0], [1.0], [9.0]])}, [3]))
    assert data["reward"].flatten().tolist() == [0.0, 3.0, 4.0]


def test_one_container_only(toy: MakeEnv) -> None:
    """A transform that lives somewhere is refused elsewhere, with the way out in the message."""
    shared = StepCounter()
    TransformedEnv(toy(), shared)
    with pytest.raises(RuntimeError, match=r"StepCounter: already part of another container.*clone\(\)"):
        TransformedEnv(toy(), shared)
    with pytest.raises(RuntimeError, match="already part"):
        Compose(shared)
    TransformedEnv(toy(), shared.clone())
    again = RewardSum()
    with pytest.raises(RuntimeError, match="RewardSum is there twice"):
        Compose(again, again)
    assert again.container is None


def test_removed_transform_is_free(toy: MakeEnv) -> None:
    """What is taken out of one environment can join another."""
    env = TransformedEnv(toy(), Compose(StepCounter(), RewardSum()))
    counter = env.remove_transform(0)
    assert counter.container is None
    assert counter.parent is None
    assert "step_count" not in env.observation_spec.keys()  # noqa: SIM118
    TransformedEnv(toy(), counter)


def test_change_inside_an_env_updates_it(toy: MakeEnv) -> None:
    """Changing `env.transform`, nested or not, changes specs and data at once."""
    inner = Compose()
    env = TransformedEnv(toy(), Compose(StepCounter(), inner))
    inner.append(RewardSum())
    assert "episode_reward" in env.observation_spec.keys()  # noqa: SIM118
    assert "episode_reward" in env.reset().keys()  # noqa: SIM118
    del env.transform[0]
    assert "step_count" not in env.reset().keys()  # noqa: SIM118


def test_refused_change_leaves_everything(toy: MakeEnv) -> None:
    """A transform that does not fit is refused and free; the env is as before."""
    env = TransformedEnv(toy(), StepCounter())
    bad = ClipTransform(in_keys=["observatoin"], low=0)
    specs = env.full_observation_spec
    with pytest.raises(SpecError, match=r'"observatoin" missing.*Did you mean "observation"'):
        env.append_transform(bad)
    assert bad.container is None
    assert len(env.transform) == 1
    assert env.full_observation_spec == specs
    env.rollout(2)


def test_slices_are_views(toy: MakeEnv) -> None:
    """A slice shows the same transforms, and says so when one tries to change it."""
    env = TransformedEnv(toy(), Compose(*_three()))
    part = env.transform[:2]
    assert part[0] is env.transform[0]
    assert part[0].container is env.transform
    with pytest.raises(RuntimeError, match="view"):
        part.append(StepCounter())


def test_only_transforms() -> None:
    """Anything else is refused by type."""
    not_one: Any = 3
    with pytest.raises(TypeError, match="Expected Transform, found int"):
        Compose(not_one)
    with pytest.raises(TypeError, match=r"found the class RewardSum. Pass an object, RewardSum\(...\)"):
        Compose(RewardSum)  # type: ignore[arg-type]  # the mistake


def test_repr() -> None:
    """The repr lists the parts, indented."""
    assert repr(Compose(RewardSum(), Compose(StepCounter(max_steps=3)))) == (
        "Compose(\n        RewardSum(keys=['reward']),\n        Compose(\n"
        "                StepCounter(max_steps=3, keys=[])))"
    )
    assert repr(Compose()) == "Compose()"


def test_a_slice_is_no_transform_of_another(toy: MakeEnv) -> None:
    """A slice of a container, or the view that an env hands its transforms over as, is refused; a clone of it is free
    and does the same."""
    env = TransformedEnv(toy(), [StepCounter(), RewardScaling(0.0, 2.0), RewardSum()])
    takers: list[Callable[[Any], object]] = [
        lambda part: TransformedEnv(toy(), part),
        lambda part: TransformedEnv(toy(), [part]),
        lambda part: Compose(StepCounter(), part),
        lambda part: TransformedEnv(toy(), StepCounter()).append_transform(part),
    ]
    for take in takers:
        for part in (env.transform[1:], Compose(*_three())[:2]):
            with pytest.raises(RuntimeError, match=r"another Compose owns.*\.clone\(\)"):
                take(part)
    other = TransformedEnv(toy(), env.transform[1:].clone())
    assert other.rollout(2)["next", "episode_reward"].flatten().tolist() == [2.0, 6.0]
    assert env.rollout(2)["next", "episode_reward"].flatten().tolist() == [2.0, 6.0]
    assert all(one is not two for one in env.transform for two in other.transform)


def test_what_a_transform_sees_is_no_base_env(toy: MakeEnv) -> None:
    """The view that `parent` gives belongs to its env: another one around it would take its transforms away."""
    env = TransformedEnv(toy(), [StepCounter(), RewardSum()])
    with pytest.raises(RuntimeError, match="base_env is a view"):
        TransformedEnv(env.transform[1].parent, RewardSum())
    env.append_transform(RewardScaling(0.0, 2.0))
    assert env.rollout(2)["next", "step_count"].flatten().tolist() == [1, 2]


def test_each_transform_has_a_stream_of_its_own(toy: MakeEnv) -> None:
    """Two transforms of a class get different seeds, none of them that of the base env; others in between change
    nothing."""

    @final
    class Seeded(Transform):
        accepts_mapping = True

        def set_seed(self, seed: int) -> None:
            """Notes the seed."""
            self.seed = seed

    env = TransformedEnv(toy(), [Seeded(), Compose(Seeded(), Seeded())])
    env.set_seed(7)
    seeds = [leaf.seed for leaf in env.transform.leaves()]
    assert len({7, *seeds}) == 4
    again = TransformedEnv(toy(), [Seeded(), StepCounter(), Seeded(), Seeded()])
    again.set_seed(7)
    assert [again.transform[position].seed for position in (0, 2, 3)] == seeds


def test_inverse_on_stored_data(toy: MakeEnv) -> None:
    """`inv` is that of each member, from the last to the first, with the batch dimensions of the data."""
    wider = UnsqueezeTransform(0, in_keys_inv=["action"], allow_positive_dim=True)
    both = Compose(wider, SignTransform(in_keys_inv=["action"]))
    TransformedEnv(toy((2,)), both)
    data = TensorDict({"action": torch.full((5, 4, 1, 2), -3.0)}, [5, 4])
    found = both.inv(data)
    assert found["action"].tolist() == torch.full((5, 4, 2), -1.0).tolist()
    assert data["action"].shape == (5, 4, 1, 2)
    assert Compose().inv(data) is not data
