"""Mistakes with environments: the answers name component, key, what was expected and found, and the fix."""

from collections.abc import Callable
from typing import Any

import gymnasium
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from rl_envs import (
    CatTensors,
    ClipTransform,
    DoubleToFloat,
    EnvBase,
    GymEnv,
    GymWrapper,
    ObservationNorm,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    VecNorm,
    check_env_specs,
)
from rl_envs.testing import CountingEnv
from rl_specs import (
    Bounded,
    Composite,
    DeviceError,
    DTypeError,
    FlatDict,
    MissingKeyError,
    ShapeError,
    SpecError,
    TensorMap,
    Unbounded,
)

WRITE_IT = "Write it with a policy whose out_keys name it"


def told(error: type[Exception], call: Callable[[], object], *parts: str) -> None:
    """`call` raises `error`, with each of `parts` in its message, in this order."""
    with pytest.raises(error) as caught:
        call()
    text, position = str(caught.value), 0
    for part in parts:
        found = text.find(part, position)
        assert found >= 0, f"{part!r} is not in {text[position:]!r} of {text!r}"
        position = found + len(part)


def untyped(call: Any) -> Any:
    """`call`, so that a type checker lets a mistake through."""
    return call


def policy(function: Callable[[Tensor], Tensor], in_key: str = "observation", out_key: str = "action") -> nn.Module:
    """A policy of one function."""
    return TensorDictModule(function, in_keys=[in_key], out_keys=[out_key])


ACTIONS: dict[str, tuple[type[Exception], Tensor, tuple[str, ...]]] = {
    "shape": (ShapeError, torch.zeros(2), ('"action"', "shape", "(2, 1)", "(2,)", "last layer")),
    "dtype": (
        DTypeError,
        torch.zeros(2, 1, dtype=torch.float64),
        ('"action"', "dtype", "torch.float32", "torch.float64", ".to(torch.float32)"),
    ),
    "device": (DeviceError, torch.zeros(2, 1, device="meta"), ('"action"', "device", "cpu", "meta", "env.to(device)")),
    "bounds": (SpecError, torch.full((2, 1), 3.0), ('"action"', "bounds", "low=-1, high=1", "3.", "TanhNormal")),
    "nan": (SpecError, torch.full((2, 1), torch.nan), ('"action"', "bounds", "low=-1, high=1", "nan", "TanhNormal")),
}


@pytest.mark.parametrize("case", ACTIONS)
def test_an_action_that_does_not_fit_is_refused_by_a_step(case: str) -> None:
    """A step names the env, the action, what its spec says and what it was given."""
    error, action, parts = ACTIONS[case]
    env = CountingEnv((2,))
    told(error, lambda: env.step(env.reset().set("action", action)), "CountingEnv.step", *parts)


@pytest.mark.parametrize("case", ACTIONS)
def test_a_policy_whose_actions_do_not_fit_is_refused_by_a_rollout(case: str) -> None:
    """A rollout compares the first action of the policy with the spec, as a step does."""
    error, action, parts = ACTIONS[case]
    told(error, lambda: CountingEnv((2,)).rollout(3, policy(lambda _: action.clone())), "CountingEnv", *parts)


@pytest.mark.parametrize(
    ("make_policy", "error", "parts"),
    [
        (lambda: policy(nn.Linear(1, 1), out_key="actn"), MissingKeyError, ('"action" missing', '"actn"', WRITE_IT)),
        (lambda: lambda data: data, MissingKeyError, ("wrote no action", '"action" missing', WRITE_IT)),
        (
            lambda: policy(nn.Linear(1, 1), in_key="obsevation"),
            MissingKeyError,
            ("TensorDictModule", '"obsevation" missing', 'Did you mean "observation"?', "in_keys"),
        ),
        (lambda: lambda data: torch.zeros(2, 1), TypeError, ("policy", "a TensorDict", "Tensor", "Wrap the network")),
        (
            lambda: nn.Bilinear(1, 1, 1),
            TypeError,
            ("policy (Bilinear)", "a module from TensorDict", "Bilinear", "Wrap the net"),
        ),
        (lambda: 3, TypeError, ("policy", "a callable", "int")),
        (
            lambda: policy(nn.Linear(4, 1)),
            RuntimeError,
            ("policy (TensorDictModule)", '"observation" (2, 1) torch.float32', "first layer"),
        ),
    ],
)
def test_a_policy_that_cannot_act_is_told_why(
    make_policy: Callable[[], Callable[..., object]], error: type[Exception], parts: tuple[str, ...]
) -> None:
    """Missing actions, misspelt inputs, networks of unknown inputs and layers of another width are named."""
    told(error, lambda: CountingEnv((2,)).rollout(3, make_policy()), *parts)


def _closed() -> EnvBase:
    env = CountingEnv()
    env.close()
    return env


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (
            lambda env: env.step(env.reset()),
            MissingKeyError,
            ("CountingEnv.step", '"action" missing', "has:", '"observation"', WRITE_IT),
        ),
        (
            lambda env: env.step(TensorDict({"action": torch.zeros(3, 1)}, [3])),
            ShapeError,
            ("CountingEnv.step", "batch size", "(2,)", "(3,)", "one row per env"),
        ),
        (lambda env: env.step({"action": torch.zeros(2, 1)}), TypeError, ("CountingEnv.step", "a TensorDict", "dict")),
        (lambda env: env.reset(torch.ones(2)), TypeError, ("CountingEnv.reset", "a TensorDict", "Tensor")),
        (
            lambda env: env.reset(env.reset().set("_reset", torch.ones(2, 3, dtype=torch.bool))),
            ShapeError,
            ("CountingEnv.reset", '"_reset"', "(2, 1)", "(2, 3)", "one flag per row"),
        ),
        (
            lambda env: env.reset(env.reset().set("_reset", torch.ones(2, 1))),
            DTypeError,
            ("CountingEnv.reset", '"_reset"', "torch.bool", "torch.float32", "mask.bool()"),
        ),
        (lambda env: env.rollout(0), ValueError, ("rollout", "max_steps", ">= 1", "0")),
        (
            lambda env: env.rollout(2.5),
            TypeError,
            ("rollout", "max_steps", "integer", "float", "env.rollout(max_steps"),
        ),
        (lambda env: env.set_seed(-1), ValueError, ("CountingEnv.set_seed", ">= 0", "-1")),
        (lambda env: _closed().reset(), RuntimeError, ("CountingEnv.reset", "closed", "Make a new one")),
        (lambda env: env.rollout(3, break_when_done=True), TypeError, ("rollout", "break_when_done")),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(
    call: Callable[[CountingEnv], object], error: type[Exception], parts: tuple[str, ...]
) -> None:
    """Each method names itself, the argument, what it takes and what it got."""
    told(error, lambda: call(CountingEnv((2,))), *parts)


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda: GymEnv("HalfCheeta-v5"), ValueError, ("GymEnv", "HalfCheeta-v5", "Did you mean HalfCheetah-v5")),
        (lambda: GymEnv("CartPole-v9"), ValueError, ("GymEnv", "CartPole-v9", "Did you mean CartPole-v1")),
        (lambda: GymEnv("ALE/Pong-v5"), ValueError, ("GymEnv", "ALE/Pong-v5", "rl-envs[atari]")),
        (
            lambda: GymEnv("CartPole-v1", num_env=4),
            TypeError,
            ("GymEnv(CartPole-v1)", '"num_env"', "Expected one of", "Did you mean num_envs?"),
        ),
        (
            lambda: GymEnv("CartPole-v1", sutton_barto=True),
            TypeError,
            ("GymEnv(CartPole-v1)", '"sutton_barto"', "Expected one of", "Did you mean sutton_barto_reward?"),
        ),
        (lambda: GymEnv("CartPole-v1", num_envs=0), ValueError, ("GymEnv", "num_envs", "integer >= 1", "0")),
        (lambda: GymEnv("CartPole-v1", frame_skip=0), ValueError, ("GymEnv", "frame_skip", ">= 1", "0")),
        (lambda: GymWrapper("CartPole-v1"), TypeError, ("GymWrapper", "gymnasium.Env", "CartPole-v1", "GymEnv(")),
        (lambda: GymWrapper(gymnasium.make), TypeError, ("GymWrapper", "gymnasium.Env", "function", "gymnasium.make(")),
    ],
)
def test_an_environment_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[], object], error: type[Exception], parts: tuple[str, ...]
) -> None:
    """Unknown names and keywords come with their near matches, other objects with what to pass instead."""
    for name in [name for name in gymnasium.registry if name.startswith("ALE/")]:  # another test registered them
        monkeypatch.delitem(gymnasium.registry, name)
    told(error, call, *parts)


def _one_env_for_all() -> Callable[[], EnvBase]:
    env = CountingEnv()
    return lambda: env


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (
            lambda: SerialEnv(2, [lambda: GymEnv("CartPole-v1"), lambda: GymEnv("Pendulum-v1")]),
            SpecError,
            (
                "SerialEnv",
                "action",
                "env 1",
                "env 0",
                "OneHot",
                "Bounded",
                "Bring them to one form",
            ),
        ),
        (
            lambda: untyped(SerialEnv)(2, CountingEnv()),
            TypeError,
            ("SerialEnv", "create_env_fn", "callable", "CountingEnv", "lam"),
        ),
        (lambda: untyped(SerialEnv)(2, lambda: 3), TypeError, ("SerialEnv", "rl_envs.EnvBase", "int", "GymWrapper")),
        (lambda: SerialEnv(0, CountingEnv), ValueError, ("SerialEnv", "num_workers", "integer >= 1", "0")),
        (
            lambda: SerialEnv(3, [CountingEnv] * 2),
            ValueError,
            ("SerialEnv", "num_workers", "3", "2", "Pass one callable"),
        ),
        (
            lambda: SerialEnv(2, _one_env_for_all()),
            ValueError,
            ("SerialEnv", "same environment twice", "new environment"),
        ),
    ],
)
def test_environments_that_are_no_batch_are_refused(
    call: Callable[[], object], error: type[Exception], parts: tuple[str, ...]
) -> None:
    """`SerialEnv` compares all specs in one report and names what it cannot take."""
    told(error, call, *parts)


class Sketch(EnvBase):
    """An environment whose results are given, as a person writes a first attempt."""

    accepts_mapping = True

    def __init__(self, at_reset: object, at_step: object, observation: Composite | None = None) -> None:
        super().__init__()
        self.observation_spec = observation or Composite({"observation": Unbounded((1,))})
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
        self.at_reset, self.at_step = at_reset, at_step

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return dict(self.at_reset) if isinstance(self.at_reset, dict) else self.at_reset  # type: ignore[return-value]  # the mistake

    def _step(self, data: TensorMap) -> FlatDict:
        return dict(self.at_step) if isinstance(self.at_step, dict) else self.at_step  # type: ignore[return-value]  # the mistake

    def _set_seed(self, seed: int) -> None:
        self.seed = seed


GOOD_RESET = {"observation": torch.zeros(1)}
GOOD_STEP = {**GOOD_RESET, "reward": torch.zeros(1), "terminated": torch.zeros(1, dtype=torch.bool)}


def without(key: str) -> dict[str, Tensor]:
    """A good step without one entry."""
    return {name: value for name, value in GOOD_STEP.items() if name != key}


@pytest.mark.parametrize(
    ("env", "error", "parts"),
    [
        (Sketch(None, GOOD_STEP), TypeError, ("Sketch._reset", "a TensorDict or a dict", "NoneType", "Return a dict")),
        (
            Sketch(GOOD_RESET, (torch.zeros(1), 1.0, False, False, {})),
            TypeError,
            ("Sketch._step", "a TensorDict or a dict", "tuple", "Return a dict"),
        ),
        (
            Sketch(GOOD_RESET, without("reward")),
            MissingKeyError,
            ("Sketch._step", '"reward" missing', "has:", "Return it"),
        ),
        (Sketch(GOOD_RESET, without("terminated")), MissingKeyError, ("Sketch._step", '"done" missing', "Return done")),
        (
            Sketch(GOOD_RESET, {**GOOD_STEP, "reward": torch.zeros(())}),
            ShapeError,
            ("Sketch._step", '"reward"', "(1,)", "()", "check_env_specs"),
        ),
        (
            Sketch(GOOD_RESET, {**GOOD_STEP, "reward": 1.0}),
            TypeError,
            ("Sketch._step", '"reward"', "Tensor", "float 1.0", "torch.as_tensor"),
        ),
        (
            Sketch(GOOD_RESET, {**GOOD_STEP, "terminated": False}),
            TypeError,
            ("Sketch._step", '"terminated"', "Tensor", "bool False", "torch.as_tensor"),
        ),
    ],
)
def test_an_environment_that_returns_too_little_is_told_at_its_first_step(
    env: EnvBase, error: type[Exception], parts: tuple[str, ...]
) -> None:
    """Without rewards, flags or tensors no loop runs, so the first step says what is wrong."""
    told(error, lambda: env.rollout(2), *parts)


def test_specs_that_lie_are_told_in_one_table() -> None:
    """`check_env_specs` lists all differences of reset and step: shape, dtype, domain, type, missing and unknown."""
    observation = Composite({"a": Unbounded((3,)), "b": Unbounded((1,)), "d": Bounded(0.0, 1.0, (1,))})
    at_reset = {"a": torch.zeros(2), "c": torch.zeros(1), "d": torch.zeros(1, dtype=torch.float64)}
    at_step = {"a": 3.0, "c": torch.zeros(1), "d": torch.full((1,), 5.0), "reward": torch.zeros(()), "done": 0.0}
    told(
        SpecError,
        lambda: check_env_specs(Sketch(at_reset, at_step, observation)),
        *("Sketch", "difference", "where", "entry", "problem", "expected", "found"),
    )
    with pytest.raises(SpecError) as caught:
        check_env_specs(Sketch(at_reset, at_step, observation))
    rows = [" ".join(line.split()) for line in str(caught.value).splitlines()[2:-1]]
    for row in (
        'reset "a" shape (3,) (2,)',
        'reset "b" missing an entry none',
        'reset "c" in no spec none an entry',
        'reset "d" dtype torch.float32 torch.float64',
        'step ("next", "a") type Tensor float',
        'step ("next", "b") missing an entry none',
        'step ("next", "c") in no spec none an entry',
        'step ("next", "reward") shape (1,) ()',
        'step ("next", "done") type Tensor float',
    ):
        assert row in rows
    assert any(row.startswith('step ("next", "d") outside its spec') and "5.0" in row for row in rows)
    assert "Correct the specs in __init__" in str(caught.value)


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (
            lambda: check_env_specs(Sketch(None, GOOD_STEP)),
            SpecError,
            ("reset", "raised", "TypeError", "Sketch._reset"),
        ),
        (
            lambda: untyped(check_env_specs)("CartPole-v1"),
            TypeError,
            ("check_env_specs", "rl_envs.EnvBase", "str", "GymEnv(name)"),
        ),
        (
            lambda: untyped(Sketch)(GOOD_RESET, GOOD_STEP, {"observation": Unbounded((1,))}),
            TypeError,
            ('"observation"', "a spec of rl_specs", "dict", "Composite("),
        ),
        (lambda: Early(), RuntimeError, ("Early.__init__", "super().__init__(")),
        (
            lambda: setattr(CountingEnv((2,)), "observation_spec", Unbounded((3, 1))),
            ShapeError,
            ("observation", "batch shape", "(2, ...)", "(3, 1)", "expand"),
        ),
    ],
)
def test_an_author_is_told_how_to_declare_specs(
    call: Callable[[], object], error: type[Exception], parts: tuple[str, ...]
) -> None:
    """Specs that are none, of another batch, or set before `EnvBase` was initialised."""
    told(error, call, *parts)


class Early(Sketch):
    """Sets its specs before `EnvBase` is initialised."""

    def __init__(self) -> None:
        self.observation_spec = Composite({"observation": Unbounded((1,))})


@pytest.mark.parametrize(
    ("transform", "name", "near"),
    [
        (lambda: RewardSum(in_keys=["rewrad"]), '"rewrad"', 'Did you mean "reward"'),
        (lambda: ObservationNorm(in_keys=["observaton"], loc=0.0, scale=1.0), '"observaton"', 'mean "observation"'),
        (lambda: VecNorm(in_keys=["observaton"]), '"observaton"', 'mean "observation"'),
        (lambda: DoubleToFloat(in_keys=["observaton"]), '"observaton"', 'mean "observation"'),
        (lambda: ClipTransform(in_keys=["observaton"], low=-1.0, high=1.0), '"observaton"', 'mean "observation"'),
        (lambda: CatTensors(in_keys=["observaton"], out_key="x"), '"observaton"', 'mean "observation"'),
    ],
)
def test_a_misspelt_key_of_a_transform_is_told_when_it_is_connected(
    transform: Callable[[], RewardSum], name: str, near: str
) -> None:
    """The message names the transform, the key, what there is, and the near match."""
    kind = type(transform()).__name__
    told(
        SpecError,
        lambda: TransformedEnv(CountingEnv(), transform()),
        "transform 0",
        kind,
        "in_keys",
        name,
        "has:",
        near,
    )


def test_a_limit_of_no_steps_is_refused() -> None:
    """`StepCounter(max_steps=0)` would end every episode before it begins."""
    told(ValueError, lambda: StepCounter(max_steps=0), "StepCounter", "max_steps", ">= 1", "0")


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (
            lambda: TransformedEnv(CountingEnv(), [StepCounter(), StepCounter(max_steps=3)]),
            SpecError,
            ("transform 1, StepCounter", "step_count_key", '"step_count"', "written already", "leave one"),
        ),
        (
            lambda: TransformedEnv(CountingEnv(), [RewardSum(), RewardSum()]),
            SpecError,
            ("transform 1, RewardSum", "out_keys", '"episode_reward"', "written already", "leave one"),
        ),
        (
            lambda: untyped(TransformedEnv)(CountingEnv(), RewardSum),
            TypeError,
            ("Compose", "not a transform", "Transform", "the class RewardSum", "Pass an object"),
        ),
        (
            lambda: untyped(TransformedEnv)("CartPole-v1", RewardSum()),
            TypeError,
            ("TransformedEnv", "base_env", "rl_envs.EnvBase", "str", "GymWrapper"),
        ),
        (
            lambda: untyped(TransformedEnv)(RewardSum(), CountingEnv()),
            TypeError,
            ("TransformedEnv", "base_env", "rl_envs.EnvBase", "RewardSum", "TransformedEnv(env, transform)"),
        ),
        (
            lambda: _normalised().transform[0].init_stats(3, key="observaton"),
            MissingKeyError,
            ("ObservationNorm.init_stats", '"observaton" missing', 'Did you mean "observation"', "Pass one"),
        ),
        (
            lambda: _normalised().rollout(2),
            RuntimeError,
            ("ObservationNorm", "loc and scale", "init_stats("),
        ),
    ],
)
def test_transforms_that_do_not_go_together_are_refused(
    call: Callable[[], object], error: type[Exception], parts: tuple[str, ...]
) -> None:
    """Two writers of one entry, swapped arguments, classes for objects, statistics of an unknown entry."""
    told(error, call, *parts)


def _normalised() -> Any:
    return TransformedEnv(CountingEnv(), ObservationNorm(in_keys=["observation"]))
