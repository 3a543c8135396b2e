"""The base class: what an author of a transform gets."""

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from rl_envs import EnvBase, RewardSum, StepCounter, Transform, TransformedEnv, check_env_specs
from rl_specs import Composite, MissingKeyError, SpecError, TensorMap, TensorSpec, Unbounded

MakeEnv = Callable[..., Any]


class Halve(Transform):
    """All that a stateless map needs."""

    def _apply_transform(self, value: Tensor) -> Tensor:
        return value / 2


class FirstTwo(Transform):
    """A map that changes the shape."""

    accepts_mapping: ClassVar[bool] = True

    def _apply_transform(self, value: Tensor) -> Tensor:
        return value[..., :2]


class TensorDictOnly(Transform):
    """A transform written with all that a TensorDict can do."""

    def _call(self, data: TensorMap) -> TensorMap:
        assert isinstance(data, TensorDictBase)
        data.update({"total": data.select("observation")["observation"].sum(-1, keepdim=True)})
        return data

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the total."""
        observation_spec["total"] = Unbounded(shape=(*observation_spec.shape, 1), dtype=torch.float64)
        return observation_spec


class ScaleAction(Transform):
    """Actions of [-1, 1] outside are actions of [-0.1, 0.1] inside, under another name."""

    accepts_mapping: ClassVar[bool] = True

    def _inv_apply_transform(self, value: Tensor) -> Tensor:
        return value.double() / 10

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        return Unbounded(shape=spec.shape, dtype=torch.float32)


class MoveCounter(Transform):
    """Carries an entry from step to step, and reads an action from the root."""

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        next_data["moved"] = data["moved"] + data["action"].abs().sum(-1, keepdim=True)
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        reset_data["moved"] = torch.zeros_like(reset_data["observation"][..., :1])
        return reset_data

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the distance."""
        observation_spec["moved"] = Unbounded(shape=(*observation_spec.shape, 1), dtype=torch.float64)
        return observation_spec


@pytest.mark.parametrize("batch_size", [(), (2,)], ids=str)
@pytest.mark.parametrize(
    "transform",
    [
        lambda: Halve(in_keys=["observation", "reward"]),
        lambda: Halve(in_keys=["pixels"], out_keys=[("agents", "half")]),
        lambda: FirstTwo(in_keys=["observation"]),
        TensorDictOnly,
        lambda: ScaleAction(in_keys_inv=["action"], out_keys_inv=[("agents", "move")]),
        lambda: MoveCounter(in_keys=["action"], out_keys=["moved"]),
    ],
)
def test_a_transform_of_ones_own(toy: MakeEnv, transform: Callable[[], Transform], batch_size: tuple[int, ...]) -> None:
    """Each style of writing a transform gives an env whose specs hold."""
    check_env_specs(TransformedEnv(toy(batch_size), transform()))


def test_stateless_map_by_hand(toy: MakeEnv) -> None:
    """`_apply_transform` runs on resets and steps; a reward among the keys is left out at a reset."""
    env = TransformedEnv(toy(), Halve(in_keys=["observation", "reward"]))
    data = env.rollout(2)
    assert data["observation"][:, 1].tolist() == [0.0, 1.0]
    assert data["next", "reward"].flatten().tolist() == [0.5, 1.0]


def test_default_spec_is_found_on_zeros(toy: MakeEnv) -> None:
    """Without a spec of its own a map's spec has the shape and dtype of its result."""
    env = TransformedEnv(toy((2,)), Halve(in_keys=["pixels"], out_keys=["half"]))
    assert env.observation_spec["half"] == Unbounded(shape=(2, 4, 5, 3), dtype=torch.float32)
    assert env.observation_spec["pixels"].dtype == torch.uint8


def test_tensordict_code_gets_tensordicts(toy: MakeEnv) -> None:
    """A transform that does not accept mappings is handed TensorDicts, though the env would take mappings."""
    env = TransformedEnv(toy((2,)), TensorDictOnly())
    assert not env.accepts_mapping
    assert env.rollout(3)["next", "total"][0].flatten().tolist() == [6.0, 12.0, 18.0]


def test_actions_on_their_way_in(toy: MakeEnv) -> None:
    """The inner env gets the mapped action; the data keep the outer one alone."""
    base = toy()
    env = TransformedEnv(base, ScaleAction(in_keys_inv=["action"], out_keys_inv=[("agents", "move")]))
    assert env.action_keys == [("agents", "move")]
    root = env.reset()
    root["agents", "move"] = torch.tensor([1.0, -0.5])
    stepped = env.step(root)
    torch.testing.assert_close(base.actions[-1], torch.tensor([0.1, -0.05], dtype=torch.float64))
    assert stepped["agents", "move"].tolist() == [1.0, -0.5]
    assert "action" not in stepped.keys()  # noqa: SIM118
    with pytest.raises(MissingKeyError, match="move"):
        env.step(env.reset())


def test_inverse_runs_from_the_outside_in(toy: MakeEnv) -> None:
    """With two inverse transforms the outer one maps first; so does a `Compose` on its own."""
    base = toy()
    inner = ScaleAction(in_keys_inv=["action"], out_keys_inv=["middle"])
    outer = ScaleAction(in_keys_inv=["middle"], out_keys_inv=["outer"])
    env = TransformedEnv(base, [inner, outer])
    assert env.action_keys == ["outer"]
    env.step(env.reset().set("outer", torch.tensor([1.0, -5.0])))
    expected = torch.tensor([0.01, -0.05], dtype=torch.float64)
    torch.testing.assert_close(base.actions[-1], expected)
    mapped = env.transform._inv_call({"outer": torch.tensor([1.0, -5.0])})
    torch.testing.assert_close(mapped["action"], expected)


def test_action_read_from_the_root(toy: MakeEnv) -> None:
    """A transform with its own `_step` may name an action among its in keys, and carries its entry."""
    env = TransformedEnv(toy(), MoveCounter(in_keys=["action"], out_keys=["moved"]))
    root = env.reset()
    for _ in range(2):
        root["action"] = torch.tensor([0.1, -0.1], dtype=torch.float64)
        _, root = env.step_and_maybe_reset(root)
    assert root["moved"].item() == pytest.approx(0.4)


def test_keys_are_canonical_and_can_be_changed() -> None:
    """One key may be given alone; out keys follow in keys until they differ."""
    transform = Halve(in_keys="observation")
    assert transform.in_keys == transform.out_keys == ["observation"]
    transform.in_keys = [("a", ("b",))]  # type: ignore[list-item]  # nested tuples are flattened
    assert transform.in_keys == transform.out_keys == [("a", "b")]
    transform.out_keys = ["c"]
    transform.in_keys = ["d"]
    assert (transform.in_keys, transform.out_keys) == (["d"], ["c"])
    assert transform(TensorDict({"d": torch.ones(1)}))["c"].tolist() == [0.5]


def test_lengths_of_keys_must_agree() -> None:
    """Two in keys with one out key are an error that shows both numbers."""
    with pytest.raises(ValueError, match=r"Halve: in_keys and out_keys differ in number. Expected 2.* found 1"):
        Halve(in_keys=["a", "b"], out_keys=["c"])
    with pytest.raises(ValueError, match="in_keys_inv and out_keys_inv"):
        Halve(in_keys_inv=["a", "b"], out_keys_inv=["c"])


def test_unknown_keyword_is_an_error() -> None:
    """A typo in a constructor is not swallowed."""
    with pytest.raises(TypeError, match="in_key"):
        Halve(in_key=["a"])  # type: ignore[call-arg]  # the typo under test


def test_missing_entry_has_near_matches() -> None:
    """The error for a missing entry suggests the entry that was meant."""
    with pytest.raises(MissingKeyError, match=r'key "observation" missing .*Did you mean "observatoin"'):
        Halve(in_keys=["observation"])(TensorDict({"observatoin": torch.zeros(1)}))


def test_maps_that_were_not_written() -> None:
    """Keys without the method that maps them are an error that names the method."""
    with pytest.raises(NotImplementedError, match=r"Transform: .*_apply_transform"):
        Transform(in_keys=["a"])(TensorDict({"a": torch.zeros(1)}))
    with pytest.raises(NotImplementedError, match="_inv_apply_transform"):
        Transform(in_keys_inv=["a"])._inv_call({"a": torch.zeros(1)})


def test_overwriting_a_state_is_refused(toy: MakeEnv) -> None:
    """An entry that the env reads back as a state cannot be replaced on its way out alone."""
    base = toy()
    base.state_spec = Composite({"observation": base.observation_spec["observation"]}, shape=())
    with pytest.raises(SpecError, match=r'"observation" is a state.*another out key'):
        TransformedEnv(base, Halve(in_keys=["observation"]))
    TransformedEnv(base, Halve(in_keys=["observation"], out_keys=["half"]))


class Twice(Transform):
    """Steps the environment inside two times."""

    accepts_mapping: ClassVar[bool] = True

    def _wrap(self, env: EnvBase) -> Any:
        return TwoSteps(env), env._reset


class TwoSteps:
    """The step of an environment, twice."""

    def __init__(self, env: EnvBase) -> None:
        self.env_step = env._step

    def __call__(self, data: TensorMap) -> TensorMap:
        """Two steps, the second one with the count of the first."""
        first = self.env_step(data)
        return self.env_step({**data, "step_count": first["step_count"]})  # type: ignore[dict-item]  # a flat dict


def test_wrapped_steps_nest(toy: MakeEnv) -> None:
    """What lies before a wrapping transform runs in each of its steps, what lies after it once."""
    count = StepCounter(step_count_key="outer")
    env = TransformedEnv(toy(horizon=100), [StepCounter(), Twice(), count, Twice(), RewardSum()])
    data = env.rollout(2)
    assert data["next", "step_count"].tolist() == [[4], [8]]
    assert data["next", "outer"].tolist() == [[1], [2]]  # `Twice` hands on nothing but the inner count
    assert data["next", "observation"][:, 0].tolist() == [4.0, 8.0]
    assert data["next", "episode_reward"].tolist() == [[4.0], [12.0]]  # rewards of the last inner steps
    twin = copy.deepcopy(env)
    twin.rollout(2)
    assert env.base_env.t.item() == 8  # type: ignore[attr-defined]  # the toy
    assert twin.base_env is not env.base_env


def test_plain_transforms_pay_nothing_for_wrapping(toy: MakeEnv) -> None:
    """Without a wrapping transform the step calls are those of the base env and of each transform."""
    transforms = [StepCounter(), RewardSum()]
    env = TransformedEnv(toy(), transforms)
    assert env._base_step == env.base_env._step
    assert env._base_reset == env.base_env._reset
    assert env._step_calls == [transform._step for transform in transforms]
    assert env._reset_calls == [transform._reset for transform in transforms]
    assert env._inverse_calls == []
