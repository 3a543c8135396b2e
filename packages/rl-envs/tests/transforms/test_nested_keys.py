"""Every transform of an environment on entries of a group: the same numbers as on entries at the root."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from tensordict import TensorDictBase
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
)
from rl_specs import Categorical, NestedKey, Unbounded

MakeEnv = Callable[..., Any]
At = Callable[[str], NestedKey]
"""The place of an entry: its name, or that name in a group."""


def _images(at: At) -> Transform:
    return PermuteTransform([-1, -3, -2], [at("pixels")])


def _zero(at: At, data: TensorDictBase) -> TensorDictBase:
    return data.set(at("action"), torch.zeros((*data.batch_size, 2), dtype=torch.float64))


def _seeded(transform: Transform) -> Transform:
    transform.set_seed(0)
    return transform


MAKERS: dict[str, Callable[[At], Transform]] = {
    "ActionDiscretizer": lambda at: ActionDiscretizer(3, at("action")),
    "ActionMask": lambda at: ActionMask(at("action"), at("action_mask")),
    "ActionScaling": lambda at: ActionScaling([at("action")]),
    "BatchSizeTransform": lambda at: BatchSizeTransform(batch_size=(2, 1)),
    "BinarizeReward": lambda at: BinarizeReward([at("reward")]),
    "CatFrames": lambda at: CatFrames(2, -1, in_keys=[at("observation")], out_keys=[at("frames")]),
    "CatTensors": lambda at: CatTensors([at("observation"), ("agents", "x")], at("vector")),
    "CenterCrop": lambda at: CenterCrop(2, in_keys=[at("pixels")], out_keys=[at("part")]),
    "ClipTransform": lambda at: ClipTransform([at("observation"), at("reward")], in_keys_inv=[at("action")], low=0.01),
    "Compose": lambda at: Compose(RewardSum([at("reward")]), RewardScaling(0.0, 2.0, in_keys=[at("reward")])),
    "ConditionalPolicySwitch": lambda at: ConditionalPolicySwitch(
        partial(_zero, at), lambda td: td.get(at("reward"), None) is not None
    ),
    "ConditionalSkip": lambda at: ConditionalSkip(lambda td: False),
    "Crop": lambda at: Crop(2, top=1, in_keys=[at("pixels")]),
    "DTypeCastTransform": lambda at: DTypeCastTransform(torch.float64, torch.float32),
    "DeviceCastTransform": lambda at: DeviceCastTransform("cpu", in_keys=[at("observation")]),
    "DiscreteActionProjection": lambda at: _seeded(DiscreteActionProjection(3, 5, action_key=at("action"))),
    "DoubleToFloat": lambda at: DoubleToFloat([at("observation")], in_keys_inv=[at("action")]),
    "EndOfLifeTransform": lambda at: EndOfLifeTransform(at("eol"), at("lives"), eol_attribute="lives"),
    "ExcludeTransform": lambda at: ExcludeTransform(at("pixels")),
    "ExpandAs": lambda at: ExpandAs("done", at("observation"), out_key=at("over")),
    "FiniteTensorDictCheck": lambda at: FiniteTensorDictCheck(),
    "FlattenAction": lambda at: FlattenAction(-1, -1, in_keys_inv=[at("action")]),
    "FlattenObservation": lambda at: FlattenObservation(-3, -1, in_keys=[at("pixels")]),
    "FrameSkipTransform": lambda at: FrameSkipTransform(2),
    "GrayScale": lambda at: Compose(_images(at), GrayScale([at("pixels")], [at("gray")])),
    "Hash": lambda at: Hash([at("observation")], [at("hash")]),
    "InitTracker": lambda at: InitTracker(),
    "LineariseRewards": lambda at: LineariseRewards([at("reward")], weights=[-2.0]),
    "MeanActionSelector": lambda at: MeanActionSelector(at("observation"), at("action")),
    "ModuleTransform": lambda at: ModuleTransform(
        module=TensorDictModule(torch.neg, in_keys=[at("observation")], out_keys=[at("minus")])
    ),
    "MultiAction": lambda at: MultiAction(num_actions=2),
    "NextObservationDelta": lambda at: NextObservationDelta([at("observation")]),
    "NoopResetEnv": lambda at: _seeded(NoopResetEnv(2, random=False)),
    "ObservationNorm": lambda at: ObservationNorm(0.5, 2.0, in_keys=[at("observation")], in_keys_inv=[at("action")]),
    "PermuteTransform": _images,
    "PinMemoryTransform": lambda at: PinMemoryTransform(),
    "RandomTruncationTransform": lambda at: _seeded(
        Compose(StepCounter(), RandomTruncationTransform(1, 4, prob=0.5, step_count_key="step_count"))
    ),
    "RemoveEmptySpecs": lambda at: RemoveEmptySpecs(),
    "RenameTransform": lambda at: RenameTransform(
        [at("observation")], [at("o")], in_keys_inv=[at("action")], out_keys_inv=[at("torque")]
    ),
    "Resize": lambda at: Compose(_images(at), Resize(3, in_keys=[at("pixels")])),
    "RewardClipping": lambda at: RewardClipping(0, 1.5, in_keys=[at("reward")]),
    "RewardScaling": lambda at: RewardScaling(1.0, 0.5, in_keys=[at("reward")], out_keys=[at("scaled")]),
    "RewardSum": lambda at: RewardSum(),
    "SelectTransform": lambda at: SelectTransform(at("observation")),
    "SignTransform": lambda at: SignTransform([at("observation")], in_keys_inv=[at("action")]),
    "SqueezeTransform": lambda at: SqueezeTransform(-1, [at("reward")]),
    "Stack": lambda at: Compose(
        UnaryTransform([at("observation")], [at("minus")], fn=torch.neg),
        Stack([at("observation"), at("minus")], at("both")),
    ),
    "StepCounter": lambda at: StepCounter(max_steps=2),
    "SuccessReward": lambda at: SuccessReward("terminated", at("reward"), scale=2.0),
    "TargetReturn": lambda at: TargetReturn(10.0),
    "TensorDictPrimer": lambda at: TensorDictPrimer({at("hidden"): Unbounded(4)}, default_value=1.5),
    "TerminateTransform": lambda at: TerminateTransform(lambda td: td[at("reward")] > 1),
    "TimeMaxPool": lambda at: TimeMaxPool([at("observation")], T=2),
    "Timer": lambda at: Timer(time_key=at("time"), clock=lambda: 0.0),
    "ToTensorImage": lambda at: ToTensorImage(),
    "TrajCounter": lambda at: TrajCounter(),
    "UnaryTransform": lambda at: UnaryTransform([at("reward")], [at("cost")], in_keys_inv=[at("action")], fn=torch.neg),
    "UnsqueezeTransform": lambda at: UnsqueezeTransform(-1, [at("observation")], in_keys_inv=[at("action")]),
    "VecNorm": lambda at: VecNorm([at("observation"), at("reward")]),
    "gSDENoise": lambda at: _seeded(gSDENoise(3, 2, key=at("noise"))),
}
OF_THEIR_OWN = {
    "AutoResetTransform",
    "BurnInTransform",
    "MultiStepTransform",
    "NextStateReconstructor",
    "RandomCropTensorDict",
    "Reward2GoTransform",
    "RunningMeanStd",
    "VecGymEnvTransform",
}
"""Those that need other environments, or stored data, whose own tests have nested entries."""
DISCRETE = ("ActionMask", "DiscreteActionProjection")
ONE_ROW = ("NoopResetEnv",)
DRAWN_BY_NAME = ("noise",)
"""Entries whose random stream is that of their key."""


def _at_root(name: str) -> NestedKey:
    return name


def _in_group(name: str) -> NestedKey:
    return ("group", name)


def _grouped(env: Any) -> TransformedEnv:
    """The environment with its observations, reward and action in a group; `("agents", "x")` stays."""
    names = [key for key in ("observation", "pixels", "action_mask") if key in env.observation_spec.keys()]  # noqa: SIM118
    moved = [*names, "reward"]
    outer = [_in_group(name) for name in moved]
    rename = RenameTransform(moved, outer, in_keys_inv=["action"], out_keys_inv=[_in_group("action")])
    return TransformedEnv(env, rename)


def _run(env: EnvBase) -> list[TensorDictBase]:
    root: TensorDictBase = env.reset()
    found = [root.clone()]
    for _ in range(5):
        for key, spec in env.full_action_spec.flat_items():
            value = spec.n - 1 if isinstance(spec, Categorical) else 0.05
            root.set(key, spec.project(torch.full_like(spec.zero(), value)))
        stepped, root = env.step_and_maybe_reset(root)
        found += [stepped.clone(), root.clone()]
    return found


def _without_group(key: Any) -> Any:
    path = (key,) if isinstance(key, str) else key
    rest = tuple(name for name in path if name != "group")
    return rest[0] if len(rest) == 1 else rest


def test_every_transform_is_here() -> None:
    """Each public class is tested here, or listed."""
    assert set(MAKERS) | OF_THEIR_OWN == set(transforms.__all__) - {"Transform", "TransformedEnv"}
    assert OF_THEIR_OWN.isdisjoint(MAKERS)


@pytest.mark.parametrize("name", MAKERS)
def test_a_group_changes_the_names_alone(toy: MakeEnv, name: str) -> None:
    """The data of an environment whose entries are in a group are, but for their keys, those of the plain one."""
    batch_size = (1,) if name in ONE_ROW else (2,)
    make = partial(toy, batch_size, horizon=3, is_discrete=name in DISCRETE)
    check_env_specs(_grouped(make()).append_transform(MAKERS[name](_in_group)))
    plain = TransformedEnv(make(), MAKERS[name](_at_root))
    nested = _grouped(make()).append_transform(MAKERS[name](_in_group))
    for env in (plain, nested):
        env.set_seed(1)
    for one, other in zip(_run(plain), _run(nested), strict=True):
        keys = {_without_group(key): key for key in other.keys(True, True)}
        assert set(keys) == set(one.keys(True, True))
        for key, there in keys.items():
            drawn = key in DRAWN_BY_NAME or key in {("next", each) for each in DRAWN_BY_NAME}
            assert drawn or torch.equal(one[key], other[there]), key
