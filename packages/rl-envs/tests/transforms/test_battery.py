"""What holds for every transform."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule

from rl_envs import (
    ActionDiscretizer,
    ActionMask,
    ActionScaling,
    BatchSizeTransform,
    BinarizeReward,
    CatFrames,
    CatTensors,
    CenterCrop,
    ClipTransform,
    Compose,
    ConditionalPolicySwitch,
    ConditionalSkip,
    Crop,
    DeviceCastTransform,
    DiscreteActionProjection,
    DoubleToFloat,
    DTypeCastTransform,
    EndOfLifeTransform,
    EnvBase,
    ExcludeTransform,
    ExpandAs,
    FiniteTensorDictCheck,
    FlattenAction,
    FlattenObservation,
    FrameSkipTransform,
    GrayScale,
    Hash,
    InitTracker,
    LineariseRewards,
    MeanActionSelector,
    ModuleTransform,
    MultiAction,
    NextObservationDelta,
    NoopResetEnv,
    ObservationNorm,
    PermuteTransform,
    PinMemoryTransform,
    RandomTruncationTransform,
    RemoveEmptySpecs,
    RenameTransform,
    Resize,
    RewardClipping,
    RewardScaling,
    RewardSum,
    SelectTransform,
    SerialEnv,
    SignTransform,
    SqueezeTransform,
    Stack,
    StepCounter,
    SuccessReward,
    TargetReturn,
    TensorDictPrimer,
    TerminateTransform,
    TimeMaxPool,
    Timer,
    ToTensorImage,
    TrajCounter,
    Transform,
    TransformedEnv,
    UnaryTransform,
    UnsqueezeTransform,
    VecNorm,
    check_env_specs,
    gSDENoise,
    transforms,
    unpack_flat,
)
from rl_specs import Bounded, Categorical, FlatDict, MissingKeyError, TensorMap, Unbounded

MakeEnv = Callable[..., Any]


class _Ticks:
    """A clock that goes on by one second each time it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


NESTED = ("agents", "x")


def _seeded(transform: Transform) -> Transform:
    transform.set_seed(0)
    return transform


def _still(data: TensorDictBase) -> TensorDictBase:
    return data.set("action", torch.zeros((*data.batch_size, 2), dtype=torch.float64))


def _double() -> ModuleTransform:
    module = TensorDictModule(lambda x, y: (2 * x, y.sum(-1)), ["observation", NESTED], ["observation", "total"])
    return ModuleTransform(module=module)


CONTROL: dict[str, Callable[[], Transform]] = {
    "ActionDiscretizer": lambda: ActionDiscretizer(3),
    "ActionDiscretizer random": lambda: _seeded(
        ActionDiscretizer(4, sampling=ActionDiscretizer.SamplingStrategy.RANDOM)
    ),
    "ActionMask": ActionMask,
    "ActionScaling": ActionScaling,
    "ActionScaling unit": lambda: ActionScaling(standard_normal=False),
    "BatchSizeTransform": lambda: BatchSizeTransform(reshape_fn=lambda td: td.unsqueeze(-1)),
    "ConditionalPolicySwitch": lambda: ConditionalPolicySwitch(_still, lambda td: td.get("reward", None) is not None),
    "ConditionalSkip": lambda: ConditionalSkip(lambda td: False),
    "DiscreteActionProjection": lambda: _seeded(DiscreteActionProjection(3, 5)),
    "EndOfLifeTransform": lambda: EndOfLifeTransform(eol_attribute="lives"),
    "FlattenAction": lambda: FlattenAction(-1, -1),
    "FrameSkipTransform": lambda: FrameSkipTransform(2),
    "gSDENoise": lambda: _seeded(gSDENoise(3, 2)),
    "MeanActionSelector": MeanActionSelector,
    "ModuleTransform": _double,
    "MultiAction": lambda: MultiAction(num_actions=3),
    "MultiAction all": lambda: MultiAction(num_actions=2, stack_observations=True),
    "MultiAction last": lambda: MultiAction(num_actions=2, stack_rewards=False),
    "RandomTruncationTransform": lambda: _seeded(Compose(StepCounter(), RandomTruncationTransform(1, 4, prob=0.5))),
    "SuccessReward": lambda: SuccessReward("terminated", scale=2.0),
    "TargetReturn": lambda: TargetReturn(10.0),
    "TargetReturn constant": lambda: TargetReturn(10.0, "constant", out_keys=[("agents", "target")]),
    "TensorDictPrimer": lambda: TensorDictPrimer({("agents", "hidden"): Unbounded(4)}, default_value=1.5),
    "TensorDictPrimer random": lambda: _seeded(TensorDictPrimer(hidden=Bounded(-1.0, 1.0, shape=(2,)), random=True)),
    "TerminateTransform": lambda: TerminateTransform(lambda td: td["reward"] > 1),
    "TrajCounter": TrajCounter,
}
"""Transforms of actions, of the end of episodes and of the loop of steps."""
CONTROL_WITH_FORWARD = ("MeanActionSelector", "ModuleTransform", "SuccessReward")
DISCRETE = ("ActionMask", "DiscreteActionProjection")
"""They need actions that are numbers."""


def _images() -> Transform:
    """The toy's pixels as images."""
    return PermuteTransform([-1, -3, -2], ["pixels"])


MAKERS: dict[str, Callable[[], Transform]] = {
    "BinarizeReward": BinarizeReward,
    "BinarizeReward new": lambda: BinarizeReward(out_keys=["is_rewarded"], dtype=torch.bool),
    "CatFrames": lambda: CatFrames(3, -1, in_keys=["observation", NESTED]),
    "CatFrames new": lambda: CatFrames(2, -3, out_keys=[("agents", "frames")], padding="constant", padding_value=7),
    "CatFrames one": lambda: CatFrames(1, -1, in_keys=[NESTED]),
    "CatFrames apart": lambda: Compose(CatFrames(3, -1, in_keys=[NESTED]), ObservationNorm(1, 0.5, in_keys=[NESTED])),
    "CatTensors": lambda: CatTensors(in_keys=["observation", NESTED], out_key=("agents", "all")),
    "CatTensors all": lambda: CatTensors(in_keys=["observation"], out_key="vector", del_keys=False),
    "ClipTransform": lambda: ClipTransform(in_keys=["observation", NESTED, "reward"], low=-1, high=1.5),
    "ClipTransform inv": lambda: ClipTransform(in_keys_inv=["action"], low=-0.05),
    "ClipTransform new": lambda: ClipTransform(in_keys=[NESTED], out_keys=[("agents", "clipped")], high=0.0),
    "Compose": lambda: Compose(StepCounter(), Compose(DoubleToFloat(), RewardSum())),
    "DoubleToFloat": DoubleToFloat,
    "DoubleToFloat new": lambda: DoubleToFloat(in_keys=["observation"], out_keys=["single"]),
    "ExcludeTransform": lambda: ExcludeTransform("pixels", "agents", "truncated"),
    "ExcludeTransform inverse": lambda: ExcludeTransform("pixels", inverse=True),
    "FiniteTensorDictCheck": FiniteTensorDictCheck,
    "InitTracker": InitTracker,
    "ObservationNorm": lambda: ObservationNorm(0.5, -2.0, in_keys=["observation", NESTED]),
    "ObservationNorm inv": lambda: ObservationNorm(0.01, 2.0, in_keys=[], in_keys_inv=["action"]),
    "ObservationNorm all": lambda: ObservationNorm([0.5], [2.0], standard_normal=True),
    "ObservationNorm int": lambda: ObservationNorm(0.0, 0.1, in_keys=["pixels"], out_keys=["scaled"]),
    "RemoveEmptySpecs": RemoveEmptySpecs,
    "RenameTransform": lambda: RenameTransform(["observation", NESTED], [("agents", "o"), "x"]),
    "RenameTransform copy": lambda: RenameTransform(["observation", "done"], ["o", ("a", "over")], create_copy=True),
    "RewardScaling": lambda: RewardScaling(1.0, 0.5),
    "RewardScaling new": lambda: RewardScaling(1.0, 0.5, out_keys=["scaled_reward"], standard_normal=True),
    "RewardSum": RewardSum,
    "SelectTransform": lambda: SelectTransform("observation"),
    "StepCounter": StepCounter,
    "StepCounter limit": lambda: StepCounter(max_steps=2),
    "ToTensorImage": ToTensorImage,
    "ToTensorImage new": lambda: ToTensorImage(unsqueeze=True, in_keys=["pixels"], out_keys=[("agents", "image")]),
    "CenterCrop": lambda: Compose(_images(), CenterCrop(3, 2)),
    "Crop": lambda: Compose(_images(), Crop(2, top=1, left=3, in_keys=["pixels"], out_keys=["part"])),
    "DTypeCastTransform": lambda: DTypeCastTransform(torch.float64, torch.float32),
    "DTypeCastTransform new": lambda: DTypeCastTransform(
        torch.uint8, torch.int32, in_keys=["pixels"], out_keys=["wide"]
    ),
    "DTypeCastTransform inv": lambda: DTypeCastTransform(torch.float64, torch.float32, in_keys_inv=["action"]),
    "DeviceCastTransform": lambda: DeviceCastTransform("cpu"),
    "DeviceCastTransform keys": lambda: DeviceCastTransform("cpu", in_keys=[NESTED], in_keys_inv=["action"]),
    "ExpandAs": lambda: ExpandAs("done", NESTED, out_key=("agents", "is_last")),
    "ExpandAs reward": lambda: ExpandAs("reward", NESTED, out_key=("agents", "reward")),
    "FlattenObservation": lambda: FlattenObservation(-3, -1),
    "FlattenObservation new": lambda: FlattenObservation(
        1, 2, in_keys=["pixels"], out_keys=["rows"], allow_positive_dim=True
    ),
    "GrayScale": lambda: Compose(_images(), GrayScale()),
    "Hash": lambda: Hash(["pixels", NESTED], ["hash", ("agents", "hash")], seed=3),
    "LineariseRewards": lambda: LineariseRewards("reward", weights=[-2.0]),
    "NextObservationDelta": NextObservationDelta,
    "NextObservationDelta keys": lambda: NextObservationDelta([NESTED], delta_dtype=torch.bfloat16),
    "PermuteTransform": lambda: PermuteTransform([-1, -3, -2], ["pixels"]),
    "PermuteTransform inv": lambda: PermuteTransform([-1], in_keys_inv=["action"]),
    "PinMemoryTransform": PinMemoryTransform,
    "Resize": lambda: Compose(_images(), Resize(3, 6)),
    "Resize nearest": lambda: Resize(8, interpolation="nearest", in_keys=["pixels"], out_keys=["large"]),
    "RewardClipping": lambda: RewardClipping(-1, 1.5),
    "RewardClipping new": lambda: RewardClipping(clamp_max=2, out_keys=["clipped"]),
    "SignTransform": lambda: SignTransform(["observation", NESTED, "reward"], in_keys_inv=["action"]),
    "SqueezeTransform": lambda: SqueezeTransform(-1, ["reward"], out_keys=["flat_reward"]),
    "SqueezeTransform inv": lambda: Compose(UnsqueezeTransform(-1, [NESTED]), SqueezeTransform(-1, [NESTED])),
    "Stack": lambda: Compose(UnaryTransform([NESTED], ["minus"], fn=torch.neg), Stack([NESTED, "minus"], "both")),
    "Stack keeping": lambda: Stack(["reward"], "rewards", dim=0, allow_positive_dim=True, del_keys=False),
    "TimeMaxPool": lambda: TimeMaxPool(["observation", NESTED], T=3),
    "TimeMaxPool new": lambda: TimeMaxPool(["pixels"], ["maximum"], T=2),
    "TimeMaxPool one": TimeMaxPool,
    "Timer": lambda: Timer(clock=_Ticks()),
    "Timer new": lambda: Timer(time_key=("agents", "seconds"), clock=_Ticks()),
    "UnaryTransform": lambda: UnaryTransform([NESTED, "reward"], [("agents", "square"), "reward"], fn=torch.square),
    "UnaryTransform inv": lambda: UnaryTransform([], [], in_keys_inv=["action"], fn=torch.neg),
    "UnsqueezeTransform": lambda: UnsqueezeTransform(-1, ["observation", NESTED], in_keys_inv=["action"]),
    "UnsqueezeTransform front": lambda: UnsqueezeTransform(0, [NESTED], allow_positive_dim=True),
    "VecNorm": lambda: VecNorm(in_keys=["observation", NESTED, "reward"], decay=0.9),
    "VecNorm new": lambda: VecNorm(in_keys=["observation"], out_keys=["normal"]),
    **CONTROL,
}
IN_ENVS_ALONE = ("Compose", "InitTracker", "RewardSum", "StepCounter", "Timer")
OVER_TIME = ("CatFrames", "TimeMaxPool", "NextObservationDelta")
WITHOUT_KEYS = ("DeviceCastTransform", "PinMemoryTransform", "VecNorm")
WITH_FORWARD = [
    name
    for name, make in MAKERS.items()
    if (name not in CONTROL or name in CONTROL_WITH_FORWARD)
    and not name.startswith((*IN_ENVS_ALONE, *OVER_TIME))
    and not isinstance(make(), Compose)
]
AROUND_STEPS = ("EndOfLifeTransform",)
"""What they do after a step needs what they do around it."""
ON_THE_HOST = ("Hash", "VecNorm shared")
"""They read values on the host, or wait for other processes: no graph can hold that."""
TAKES_ANYTHING = ("ExcludeTransform", "FiniteTensorDictCheck", "RemoveEmptySpecs", "SelectTransform", "VecNorm")
OF_THE_WHOLE = ("VecNorm", "gSDENoise", "TensorDictPrimer random", "TrajCounter", "RandomTruncation")
"""They count, or draw, for all rows of what they are around."""


@dataclass(frozen=True)
class OwnTests:
    """Where a transform that cannot be in the battery is tested instead.

    Args:
        reason: why it cannot be.
        file: file of its tests.
        tests: those of its state, and of partial resets where there are resets.
    """

    reason: str
    file: str
    tests: tuple[str, ...]


_STORED = "works on stored steps, not in an environment"
_OWN_RESETS = "needs an environment that resets itself, whose rows can be reset at the end of an episode alone"
EXCEPTIONS = {
    "AutoResetTransform": OwnTests(
        _OWN_RESETS,
        "test_auto_reset.py",
        ("test_what_is_kept_is_state", "test_a_partial_reset_leaves_other_rows_alone"),
    ),
    "BurnInTransform": OwnTests(_STORED, "test_burn_in.py", ("test_it_has_no_state",)),
    "MultiStepTransform": OwnTests(_STORED, "test_multi_step.py", ("test_waiting_steps_are_state",)),
    "NextStateReconstructor": OwnTests(_STORED, "test_next_state_reconstructor.py", ("test_it_has_no_state",)),
    "NoopResetEnv": OwnTests(
        "is for an environment of one row",
        "test_noop_reset.py",
        ("test_stream_is_part_of_the_state", "test_a_partial_reset_leaves_other_rows_alone"),
    ),
    "RandomCropTensorDict": OwnTests(_STORED, "test_random_crop.py", ("test_its_state_is_that_of_the_generator",)),
    "Reward2GoTransform": OwnTests(_STORED, "test_reward_to_go.py", ("test_state",)),
    "RunningMeanStd": OwnTests(
        "is a module with statistics, no transform",
        "test_running_mean_std.py",
        ("test_batches_of_any_shape_and_state",),
    ),
    "VecGymEnvTransform": OwnTests(
        _OWN_RESETS, "test_vec_gym_env.py", ("test_what_is_kept_is_state", "test_partial_and_full_resets")
    ),
}
all_transforms = pytest.mark.parametrize("name", MAKERS)
all_batches = pytest.mark.parametrize("batch_size", [(), (3,), (2, 2)], ids=str)


@pytest.fixture
def toy(toy: MakeEnv, name: str) -> MakeEnv:
    """The class of the environment that the transform can be in."""
    return partial(toy, is_discrete=True) if name.startswith(DISCRETE) else toy


def _action(env: EnvBase) -> Any:
    spec = env.full_action_spec["action"]
    return torch.full_like(spec.zero(), spec.n - 1 if isinstance(spec, Categorical) else 0.05)


def test_every_transform_is_tested_here_or_says_where() -> None:
    """Each public class is in the battery, or listed with a reason and tests of its own that exist."""
    public = set(transforms.__all__) - {"Transform", "TransformedEnv"}
    here = {name.split()[0] for name in MAKERS}
    assert here.isdisjoint(EXCEPTIONS)
    assert here | set(EXCEPTIONS) == public
    for own in EXCEPTIONS.values():
        text = (Path(__file__).parent / own.file).read_text()
        assert own.tests
        assert [test for test in own.tests if f"def {test}(" not in text] == [], own.file


def _run(env: EnvBase, steps: int) -> list[TensorDictBase]:
    """Steps with resets of the rows that are done, as `rollout` makes them."""
    root: TensorDictBase = env.reset()
    found = []
    for _ in range(steps):
        stepped, root = env.step_and_maybe_reset(root.set("action", _action(env)))
        found += [stepped.clone(), root.clone()]
    return found


@all_transforms
@all_batches
@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_specs_describe_the_data(toy: MakeEnv, name: str, batch_size: tuple[int, ...], mode: bool) -> None:
    """A transformed env passes the check of its own specs, whatever its batch shape and mode."""
    check_env_specs(TransformedEnv(toy(batch_size), MAKERS[name]()).train(mode))


@all_transforms
def test_no_rows(toy: MakeEnv, name: str) -> None:
    """Around an environment of no rows, as a program may meet that counts them, each transform works."""
    env = TransformedEnv(toy((0,)), MAKERS[name]())
    check_env_specs(env)
    assert env.rollout(2).batch_size.numel() == 0


@all_transforms
def test_specs_are_kept_until_the_transforms_change(toy: MakeEnv, name: str) -> None:
    """Specs are the same object from access to access, and another one after an append."""
    env = TransformedEnv(toy((2,)), MAKERS[name]())
    before = env.full_observation_spec
    assert env.full_observation_spec is before
    env.append_transform(StepCounter(step_count_key="other_count"))
    assert env.full_observation_spec is not before
    assert "other_count" in env.full_observation_spec.keys()  # noqa: SIM118


@all_transforms
@all_batches
def test_mapping_and_tensordict_agree(toy: MakeEnv, name: str, batch_size: tuple[int, ...]) -> None:
    """An env that is handed flat dicts gives bit for bit what it gives on TensorDicts."""
    plain = TransformedEnv(toy(batch_size, accepts_mapping=True), MAKERS[name]())
    packed = TransformedEnv(toy(batch_size, accepts_mapping=False), MAKERS[name]())
    assert plain.accepts_mapping
    assert not packed.accepts_mapping
    for one, other in zip(_run(plain, 6), _run(packed, 6), strict=True):
        assert (one == other).all()
        assert set(one.keys(True, True)) == set(other.keys(True, True))


@all_transforms
def test_a_seed_gives_the_run_again(toy: MakeEnv, name: str) -> None:
    """After the same seed an env does the same once more, and a new one does it too."""
    env, other = TransformedEnv(toy((2,)), MAKERS[name]()), TransformedEnv(toy((2,)), MAKERS[name]())
    counts = name.startswith(("TrajCounter", "Timer", "VecNorm"))  # they go on
    runs = []
    for each in (env, other, *([] if counts else [env])):
        each.set_seed(5)
        runs.append(_run(each, 8))
    for found in runs[1:]:
        for one, two in zip(runs[0], found, strict=True):
            assert (one == two).all()


@pytest.mark.parametrize("name", [name for name in MAKERS if not name.startswith(OF_THE_WHOLE)])
def test_inside_and_around_several_environments(toy: MakeEnv, name: str) -> None:
    """In each environment of a `SerialEnv` or around it, a transform gives the same bits."""

    def inner(horizon: int) -> TransformedEnv:
        return TransformedEnv(toy(horizon=horizon), MAKERS[name]())

    inside = SerialEnv(2, [partial(inner, horizon) for horizon in (2, 3)])
    around = TransformedEnv(SerialEnv(2, [partial(toy, horizon=horizon) for horizon in (2, 3)]), MAKERS[name]())
    for one, other in zip(_run(inside, 6), _run(around, 6), strict=True):
        assert set(one.keys(True, True)) == set(other.keys(True, True))
        assert (one == other).all()


@all_transforms
def test_the_first_step_is_flagged(toy: MakeEnv, name: str) -> None:
    """A flag of `InitTracker` inside is up in the roots after resets, and in these alone."""
    if name.startswith(("SelectTransform", "MultiAction all")):
        return
    env = TransformedEnv(toy((2,)), [InitTracker(), MAKERS[name]()])
    root = env.reset()
    assert root["is_init"].all()
    for _ in range(5):
        stepped, root = env.step_and_maybe_reset(root.set("action", _action(env)))
        assert not stepped["next", "is_init"].any()
        assert torch.equal(root["is_init"], stepped["next", "done"])


@all_transforms
def test_bounded_rewards_stay_in_their_bounds(toy: MakeEnv, name: str) -> None:
    """What a transform makes of bounded rewards lies in the specs that it makes of theirs."""
    env = TransformedEnv(toy((2,)), [RewardClipping(1, 1.5), MAKERS[name]()])
    spec = env.full_reward_spec
    for data in _run(env, 6)[::2]:
        assert all(leaf.is_in(data["next", key]) for key, leaf in spec.flat_items())


@all_transforms
def test_a_move_to_a_device_follows_any_transform(toy: MakeEnv, name: str) -> None:
    """A `DeviceCastTransform` of everything connects behind each transform, and the numbers are the same."""
    plain = TransformedEnv(toy((2,)), MAKERS[name]())
    moved = TransformedEnv(toy((2,)), [MAKERS[name](), DeviceCastTransform("cpu")])
    for one, other in zip(_run(plain, 5), _run(moved, 5), strict=True):
        assert (one == other).all()


@all_transforms
def test_partial_reset_leaves_other_rows_alone(toy: MakeEnv, name: str) -> None:
    """Entries of rows outside the reset mask stay bit-identical, and so does what those rows give later."""
    env = TransformedEnv(toy((3,), horizon=100), MAKERS[name]())
    stay = TransformedEnv(toy((3,), horizon=100), MAKERS[name]())
    root, other = env.reset(), stay.reset()
    for _ in range(2):
        root = env.step_and_maybe_reset(root.set("action", _action(env)))[1]
        other = stay.step_and_maybe_reset(other.set("action", _action(env)))[1]
    mask = torch.tensor([[False], [True], [False]])
    before = root.clone()
    after = env.reset(root.clone().set("_reset", mask))
    assert set(after.keys(True, True)) == set(before.keys(True, True))
    for key in before.keys(True, True):
        assert torch.equal(after[key][[0, 2]], before[key][[0, 2]]), key
    if name.split()[0] != "VecNorm":  # its statistics have seen one row more
        following = env.step(after.set("action", _action(env)))
        expected = stay.step(other.set("action", _action(env)))
        for key in expected["next"].keys(True, True):
            assert torch.equal(following["next"][key][[0, 2]], expected["next"][key][[0, 2]]), key


@all_transforms
def test_inputs_and_earlier_results_stay(toy: MakeEnv, name: str) -> None:
    """A step changes no tensor that was handed in or out before."""
    env = TransformedEnv(toy((2,)), MAKERS[name]())
    root: TensorDictBase = env.reset()
    kept: list[tuple[TensorDictBase, TensorDictBase]] = []
    for _ in range(5):
        root.set("action", _action(env))
        stepped, root = env.step_and_maybe_reset(root)
        kept.append((stepped, stepped.clone()))
        kept.append((root, root.clone()))
        for shared, copied in kept[:-2]:
            for key in copied.keys(True, True):
                assert torch.equal(shared[key], copied[key]), key


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in AROUND_STEPS])
def test_transform_does_not_write_into_the_tensors_it_reads(toy: MakeEnv, name: str) -> None:
    """The base env's own tensors are as they were after the transform has run."""
    env = TransformedEnv(toy((2,)), MAKERS[name]())
    root = env.reset().set("action", _action(env))
    data: FlatDict = {key: root[key] for key in root.keys(True, True)}
    inner: TensorMap = dict(data)
    for transform in reversed(env.transform.leaves()):
        inner = transform._inv_call(inner)
    result = env.base_env._step(inner)
    assert isinstance(result, dict)
    result["done"] = result["terminated"].clone()
    result["truncated"] = torch.zeros_like(result["done"])
    copies = {key: value.clone() for key, value in result.items()}
    given: TensorMap = dict(result)
    for transform in env.transform:
        given = transform._step(data, given)
    assert all(torch.equal(result[key], copies[key]) for key in copies)


@all_transforms
def test_state_dict_round_trip(toy: MakeEnv, name: str) -> None:
    """A new env that loads the saved state, which holds plain data alone, goes on bit for bit."""
    env, fresh = TransformedEnv(toy((2,)), MAKERS[name]()), TransformedEnv(toy((2,)), MAKERS[name]())
    root = _run(env, 4)[-1]
    file = io.BytesIO()
    torch.save(env.state_dict(), file)
    expected = env.step(root.clone().set("action", _action(env)))
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    found = fresh.step(root.clone().set("action", _action(env)))
    assert (found == expected).all()
    assert set(found.keys(True, True)) == set(expected.keys(True, True))


@all_transforms
def test_clone_is_free_and_equal(toy: MakeEnv, name: str) -> None:
    """A clone belongs to no container and gives what the original gives."""
    env = TransformedEnv(toy((2,)), MAKERS[name]())
    _run(env, 2)
    copies = [transform.clone() for transform in env.transform]
    assert all(copy.container is None for copy in copies)
    other = TransformedEnv(toy((2,)), copies)
    for one, two in zip(_run(env, 3), _run(other, 3), strict=True):
        assert (one == two).all()


@pytest.mark.parametrize("name", [name for name in WITH_FORWARD if name != "DeviceCastTransform"])
def test_forward_on_stored_data(toy: MakeEnv, name: str) -> None:
    """On a TensorDict of any batch shape, `forward` writes the out keys and leaves the stored tensors alone."""
    env = TransformedEnv(toy((2,)), MAKERS[name]()).eval()
    transform = env.transform[0]
    base = toy((2,))
    base_step = base.step(base.reset().set("action", _action(base)))["next"]
    stored = TensorDict.stack([base_step, base_step], 1)
    copied = stored.clone()
    given = stored.copy()
    result = transform(given)
    assert result is given
    expected = TransformedEnv(toy((2,)), transform.clone()).eval()
    after = expected.step(expected.reset().set("action", _action(env)))["next"]
    for key in transform.out_keys:
        assert torch.equal(result[key][:, 1], after[key]), key
    assert (stored == copied).all()


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in ON_THE_HOST + AROUND_STEPS])
def test_step_compiles_to_one_graph(toy: MakeEnv, name: str) -> None:
    """What a transform makes of a step compiles without a break, and the numbers are the same."""
    env = TransformedEnv(toy((2,)), MAKERS[name]()).eval()
    root = dict(unpack_flat(env.reset()))
    root |= {key: spec.zero() for key, spec in env.full_action_spec.flat_items()}
    base = toy((2,))
    stepped = base.step(base.reset().set("action", _action(base)))
    next_data = unpack_flat(stepped["next"])

    def transformed(root: FlatDict, data: TensorMap) -> TensorMap:
        for transform in env.transform:
            data = transform._step(root, data)
        return data

    torch.compiler.reset()
    found = torch.compile(transformed, fullgraph=True, backend="eager")(root, dict(next_data))
    expected = transformed(root, dict(next_data))
    assert all(torch.equal(found[key], value) for key, value in unpack_flat(expected).items())


@pytest.mark.parametrize("maker", [RewardSum, StepCounter, InitTracker, NoopResetEnv])
def test_forward_refused_where_it_means_nothing(maker: Callable[[], Transform]) -> None:
    """A transform that needs an environment says so when it is applied to stored data."""
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        maker()(TensorDict({"reward": torch.zeros(2, 1)}, [2]))


@pytest.mark.parametrize(
    "name",
    [name for name in WITH_FORWARD if not name.startswith(WITHOUT_KEYS + TAKES_ANYTHING) and not name.endswith(" inv")],
)
def test_missing_entry_lists_what_is_there(toy: MakeEnv, name: str) -> None:
    """A missing in key is an error that names the transform, what is there and what to do."""
    transform = MAKERS[name]()
    env = TransformedEnv(toy(), transform)
    with pytest.raises(MissingKeyError, match=f"{name.split()[0]}: key .* missing .*other.*in_keys"):
        env.transform[0](TensorDict({"other": torch.zeros(1)}))
