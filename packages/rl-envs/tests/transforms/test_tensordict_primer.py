"""Entries from the first step on."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from rl_envs import (
    AutoResetTransform,
    EnvBase,
    SerialEnv,
    StepCounter,
    TensorDictPrimer,
    TransformedEnv,
    check_env_specs,
)
from rl_envs.testing import CountingEnv, TensorDictCountingEnv
from rl_specs import Bounded, Composite, MissingKeyError, ShapeError, SpecError, TensorMap, Unbounded

MakeEnv = Callable[..., Any]
HIDDEN = {"hidden": Unbounded(shape=(4,))}


def count_up(data: TensorDictBase) -> TensorDictBase:
    """A recurrent policy: the next hidden state is one more."""
    data["action"] = torch.zeros(*data.batch_size, 1)
    data["next", "hidden"] = data["hidden"] + 1
    return data


@pytest.mark.parametrize("batch_size", [(), (2,), (2, 2)], ids=str)
def test_values_live_through_an_episode(batch_size: tuple[int, ...]) -> None:
    """The value of the reset is handed on as it is; what the policy writes ahead takes its place."""
    env = TransformedEnv(CountingEnv(batch_size, max_steps=2), TensorDictPrimer(HIDDEN, default_value=3.0))
    check_env_specs(env)
    assert env.full_state_spec["hidden"].shape == (*batch_size, 4)
    assert env.full_observation_spec["hidden"].shape == (*batch_size, 4)
    kept = env.rollout(4, break_when_any_done=False)
    assert (kept["hidden"] == 3).all()
    assert (kept["next", "hidden"] == 3).all()
    data = env.rollout(4, count_up, break_when_any_done=False)
    assert data["hidden"].reshape(-1, 4, 4)[0, :, 0].tolist() == [3.0, 4.0, 3.0, 4.0]
    assert data["next", "hidden"].reshape(-1, 4, 4)[0, :, 0].tolist() == [4.0, 5.0, 4.0, 5.0]


@pytest.mark.parametrize("make", [CountingEnv, TensorDictCountingEnv])
def test_in_rows_of_environments(make: Callable[[], Any]) -> None:
    """It works inside the environments of a row, whatever these take."""
    env = SerialEnv(2, lambda: TransformedEnv(make(), TensorDictPrimer(HIDDEN)))
    check_env_specs(env)
    assert env.rollout(3, count_up)["hidden"][1, :, 0].tolist() == [0.0, 1.0, 2.0]


def test_random_values() -> None:
    """Draws lie in their specs, differ from reset to reset and are those of the seed or state."""
    primers = {"a": Bounded(2.0, 3.0, shape=(5,)), ("n", "b"): Unbounded(shape=(200,))}

    def make() -> TransformedEnv:
        return TransformedEnv(CountingEnv((2,)), TensorDictPrimer(primers, random=True))

    env, other = make(), make()
    check_env_specs(env)
    env.set_seed(1)
    root = env.reset()
    assert env.full_observation_spec["a"].is_in(root["a"])
    assert root["n", "b"].std().item() == pytest.approx(1.0, abs=0.15)
    second = env.reset()
    assert not torch.equal(second["a"], root["a"])
    other.set_seed(1)
    assert torch.equal(other.reset()["a"], root["a"])
    other.load_state_dict(env.state_dict())
    assert torch.equal(other.reset()["n", "b"], env.reset()["n", "b"])


def test_two_primers_draw_different_numbers() -> None:
    """Transforms of one environment, seeded together, do not draw the same numbers; the first of them does, alone."""
    first, second = (TensorDictPrimer({key: Unbounded(shape=(4,))}, random=True) for key in ("a", "b"))
    env = TransformedEnv(CountingEnv(), [first, second])
    root = env.reset(seed=0)
    assert not torch.equal(root["a"], root["b"])
    alone = TransformedEnv(CountingEnv(), [StepCounter(), first.clone()]).reset(seed=0)
    assert torch.equal(alone["a"], root["a"])


def test_defaults() -> None:
    """A default is a number for all, one per key, a callable per key, or one callable that gives everything."""
    primers = {"a": Unbounded(shape=(2,)), ("n", "b"): Unbounded(shape=(1,), dtype=torch.int64)}
    row = torch.tensor([1.0, 2.0])
    given: list[Any] = [
        {"a": 1.5, ("n", "b"): 7},
        {"a": lambda: row, ("n", "b"): lambda: torch.tensor([[5], [6], [7]])},
    ]
    roots = [TransformedEnv(CountingEnv((3,)), TensorDictPrimer(primers, default_value=each)).reset() for each in given]
    assert roots[0]["a"].tolist() == [[1.5, 1.5]] * 3
    assert roots[0]["n", "b"].tolist() == [[7]] * 3
    assert roots[1]["a"].tolist() == [[1.0, 2.0]] * 3
    assert roots[1]["n", "b"].tolist() == [[5], [6], [7]]
    roots[1]["a"].zero_()
    assert row.tolist() == [1.0, 2.0]  # what the callable gave is not shared
    whole = TensorDictPrimer(
        primers, default_value=lambda: TensorDict({"a": row, "n": {"b": torch.tensor([4])}}), single_default_value=True
    )
    root = TransformedEnv(CountingEnv((3,)), whole).reset()
    assert root["a"].tolist() == [[1.0, 2.0]] * 3
    assert root["n", "b"].tolist() == [[4]] * 3


def test_batch_dimensions_of_specs() -> None:
    """Specs of one row are expanded, a Composite of the batch is taken as it is, and one can say which it is."""
    whole = Composite({"a": Unbounded(shape=(3, 2))}, shape=(3,))
    assert TransformedEnv(CountingEnv((3,)), TensorDictPrimer(whole)).reset()["a"].shape == (3, 2)
    assert TransformedEnv(CountingEnv((3,)), TensorDictPrimer(a=Unbounded(shape=(3,)))).reset()["a"].shape == (3, 3)
    fixed = TensorDictPrimer(a=Unbounded(shape=(3,)), expand_specs=False)
    assert TransformedEnv(CountingEnv((3,)), fixed).reset()["a"].shape == (3,)
    with pytest.raises(SpecError, match="expand_specs=True"):
        TransformedEnv(CountingEnv((3,)), TensorDictPrimer(a=Unbounded(shape=(2,)), expand_specs=False))


def test_another_mask() -> None:
    """With `reset_key`, rows outside that mask keep their values."""
    transform = TensorDictPrimer(a=Unbounded(shape=(1,)), default_value=9.0, reset_key="_mine")
    TransformedEnv(CountingEnv((2,)), transform)
    root = {"a": torch.tensor([[3.0], [4.0]]), "_mine": torch.tensor([[True], [False]])}
    assert transform._reset(root, {})["a"].tolist() == [[9.0], [4.0]]


@pytest.mark.parametrize("mapping", [True, False])
def test_values_for_the_reset_of_the_environment(mapping: bool) -> None:
    """With `call_before_env_reset` the environment's reset is given the values that the root then has."""

    class Seen(CountingEnv):  # type: ignore[misc]  # final: the test watches it
        seen: list[Tensor]
        accepts_mapping = mapping

        def _reset(self, data: TensorMap | None) -> Any:
            assert data is not None
            assert isinstance(data, TensorDictBase) is not mapping
            self.seen.append(data["goal"])
            return super()._reset(data)

    base = Seen((2,), max_steps=2)
    base.seen = []
    primer = TensorDictPrimer(goal=Unbounded(shape=(3,)), random=True, call_before_env_reset=True)
    env: EnvBase = TransformedEnv(base, primer)
    assert torch.equal(env.reset()["goal"], base.seen[-1])
    data = env.rollout(4, break_when_any_done=False)
    assert torch.equal(data["goal"][:, 2], base.seen[-1])
    check_env_specs(env)


def test_on_stored_data() -> None:
    """`forward` adds the entries to a TensorDict of any batch size."""
    primer = TensorDictPrimer({("n", "hidden"): Unbounded(shape=(4,))}, default_value=2.0)
    data = primer(TensorDict({"observation": torch.zeros(3, 5, 1)}, [3, 5]))
    assert data["n", "hidden"].shape == (3, 5, 4)
    assert (data["n", "hidden"] == 2).all()
    assert primer(TensorDict({}))["n", "hidden"].shape == (4,)


def test_steps_without_the_entries_are_refused(toy: MakeEnv) -> None:
    """A root that does not come from a reset is told so; an entry that is there already is, too."""
    env = TransformedEnv(toy(), TensorDictPrimer(HIDDEN))
    with pytest.raises(MissingKeyError, match="hidden"):
        env.step(env.rand_action(env.reset().exclude("hidden")))
    with pytest.raises(SpecError, match='"observation" is written already'):
        TransformedEnv(toy(), TensorDictPrimer(observation=Unbounded(shape=(3,))))


BAD: list[tuple[Callable[[], object], type[Exception], str]] = [
    (TensorDictPrimer, ValueError, "no entries"),
    (lambda: TensorDictPrimer(HIDDEN, random=True, default_value=1.0), ValueError, "both set"),
    (lambda: TensorDictPrimer(HIDDEN, single_default_value=True), ValueError, "callable"),
    (lambda: TensorDictPrimer(HIDDEN, defualt_value=cast(Any, 1.0)), TypeError, "defualt_value=1.0"),
    (lambda: TensorDictPrimer(HIDDEN, default_value={"hiden": 1.0}), MissingKeyError, "hiden"),
    (lambda: TensorDictPrimer(HIDDEN, default_value={}), MissingKeyError, "hidden"),
    (
        lambda: TensorDictPrimer(HIDDEN, default_value=lambda: torch.zeros(3))(TensorDict({})),
        ShapeError,
        r"\(4,\), found \(3,\)",
    ),
]


@pytest.mark.parametrize(("make_bad", "kind", "part"), BAD)
def test_bad_arguments(make_bad: Callable[[], object], kind: type[Exception], part: str) -> None:
    """No entry, contradictions, a typo among the keywords, defaults of other keys and of another shape are errors."""
    with pytest.raises(kind, match=part):
        make_bad()


def test_entries_for_an_environment_that_resets_itself(endless: MakeEnv) -> None:
    """With `call_before_env_reset` a reset of everything reaches the environment, and one of rows that have ended gives
    what `AutoResetTransform` keeps."""
    base = endless((2,))
    primer = TensorDictPrimer(HIDDEN, default_value=3.0, call_before_env_reset=True)
    env = TransformedEnv(base, [AutoResetTransform(), primer])
    check_env_specs(env)
    env.set_seed(0)
    before = base.resets
    data = env.rollout(4, lambda td: td.set("action", torch.zeros(2, 1)), break_when_any_done=False)
    assert data["observation"].squeeze(-1).tolist() == [[100.0, 101.0, 200.0, 201.0], [100.0, 101.0, 102.0, 200.0]]
    assert base.resets == before + 1
    assert (data["hidden"] == 3).all()
    assert env.reset()["observation"].flatten().tolist() == [400.0, 300.0]
    assert base.resets == before + 2
