"""Specs of transformed entries, those of entries of any size among them."""

from collections.abc import Callable

import pytest
import torch
from tensordict.nn import TensorDictModule
from torch import Tensor

from rl_envs import (
    CatFrames,
    CatTensors,
    CenterCrop,
    ClipTransform,
    Compose,
    Crop,
    DeviceCastTransform,
    DoubleToFloat,
    DTypeCastTransform,
    EnvBase,
    ExpandAs,
    FiniteTensorDictCheck,
    FlattenObservation,
    FrameSkipTransform,
    GrayScale,
    Hash,
    LineariseRewards,
    ModuleTransform,
    MultiAction,
    NextObservationDelta,
    ObservationNorm,
    PermuteTransform,
    RenameTransform,
    Resize,
    RewardScaling,
    RewardSum,
    SignTransform,
    SqueezeTransform,
    Stack,
    StepCounter,
    TargetReturn,
    TimeMaxPool,
    ToTensorImage,
    Transform,
    TransformedEnv,
    UnaryTransform,
    UnsqueezeTransform,
    VecNorm,
    check_env_specs,
)
from rl_envs.testing import GrowingEnv
from rl_envs.transforms._leaf_specs import dry_run, monotone_image
from rl_specs import Bounded, Composite, FlatDict, ShapeError, SpecError, TensorMap, Unbounded

P = ["points"]
MODULE = TensorDictModule(lambda x: (2 * x, x.sum(-2)), P, ["points", "total"])
OPEN: dict[str, tuple[Callable[[], Transform], str, tuple[int, ...]]] = {
    "CatTensors": (lambda: CatTensors(P, "all", dim=-2), "all", (-1, 2)),
    "CatTensors others": (
        lambda: Compose(UnaryTransform(P, ["minus"], fn=torch.neg), CatTensors([*P, "minus"], "all")),
        "all",
        (-1, 4),
    ),
    "ClipTransform": (lambda: ClipTransform(P, low=0.0), "points", (-1, 2)),
    "ClipTransform twice": (
        lambda: Compose(ClipTransform(P, low=0.0, high=3.0), ClipTransform(P, high=2.0)),
        "points",
        (-1, 2),
    ),
    "Compose": (lambda: Compose(StepCounter(), ClipTransform(P, low=0.0), RewardSum()), "points", (-1, 2)),
    "DTypeCastTransform": (lambda: DTypeCastTransform(torch.float32, torch.float64, in_keys=P), "points", (-1, 2)),
    "DeviceCastTransform": (lambda: DeviceCastTransform("cpu"), "points", (-1, 2)),
    "DoubleToFloat": (DoubleToFloat, "points", (-1, 2)),
    "FiniteTensorDictCheck": (FiniteTensorDictCheck, "points", (-1, 2)),
    "FlattenObservation": (lambda: FlattenObservation(-2, -1, in_keys=P), "points", (-1,)),
    "FrameSkipTransform": (lambda: FrameSkipTransform(2), "points", (-1, 2)),
    "Hash": (lambda: Hash(P, ["hash"]), "hash", (32,)),
    "ModuleTransform": (lambda: ModuleTransform(module=MODULE), "points", (-1, 2)),
    "ModuleTransform closed": (lambda: ModuleTransform(module=MODULE), "total", (2,)),
    "MultiAction": (lambda: MultiAction(num_actions=2), "points", (-1, 2)),
    "NextObservationDelta all": (NextObservationDelta, "points", (-1, 2)),
    "ObservationNorm": (lambda: ObservationNorm([1.0, 2.0], [3.0, 4.0], in_keys=P), "points", (-1, 2)),
    "PermuteTransform": (lambda: PermuteTransform([-1, -2], P), "points", (2, -1)),
    "RenameTransform": (lambda: RenameTransform(P, ["p"]), "p", (-1, 2)),
    "SignTransform": (lambda: SignTransform(P), "points", (-1, 2)),
    "SqueezeTransform": (
        lambda: Compose(UnsqueezeTransform(-1, P), SqueezeTransform(-1, P)),
        "points",
        (-1, 2),
    ),
    "Stack": (
        lambda: Compose(UnaryTransform(P, ["minus"], fn=torch.neg), Stack([*P, "minus"], "both")),
        "both",
        (-1, 2, 2),
    ),
    "TimeMaxPool one": (lambda: TimeMaxPool(P), "points", (-1, 2)),
    "UnaryTransform": (lambda: UnaryTransform(P, ["mean"], fn=lambda value: value.mean(-2)), "mean", (2,)),
    "UnaryTransform half": (lambda: UnaryTransform(P, P, fn=lambda value: value[..., ::2, :]), "points", (-1, 2)),
    "UnsqueezeTransform": (lambda: UnsqueezeTransform(-1, P), "points", (-1, 2, 1)),
}
CLOSED: dict[str, tuple[Callable[[], Transform], str]] = {
    "CatFrames": (lambda: CatFrames(2, -1, in_keys=P), r"in_keys: \"points\" leaves a size open .*pads"),
    "ExpandAs": (lambda: ExpandAs("done", "points", out_key="flag"), r"ref_key: \"points\" leaves a size open"),
    "MultiAction": (
        lambda: MultiAction(num_actions=2, stack_observations=True),
        r"\"points\" leaves a size open .*stack_observations=False",
    ),
    "NextObservationDelta": (lambda: NextObservationDelta(P), r"in_keys: \"points\" leaves a size open"),
    "RewardSum": (lambda: RewardSum(P), r"in_keys: \"points\" leaves a size open"),
    "TargetReturn": (lambda: TargetReturn(1.0, in_keys=P, out_keys=["t"]), r"in_keys: \"points\" leaves a size open"),
    "TimeMaxPool": (lambda: TimeMaxPool(P, T=2), r"in_keys: \"points\" leaves a size open"),
    "VecNorm": (lambda: VecNorm(P), r"in_keys: \"points\" leaves a size open"),
    "ObservationNorm": (lambda: ObservationNorm(torch.zeros(3, 2), 1.0, in_keys=P), "specs do not fit"),
}


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("batch_size", [(), (2,)], ids=str)
def test_open_sizes_stay_open(name: str, batch_size: tuple[int, ...]) -> None:
    """A size of a result that follows an open one is open, others are known, and the data are in the specs."""
    make, key, shape = OPEN[name]
    env = TransformedEnv(GrowingEnv(batch_size), make())
    assert env.full_observation_spec[key].shape == (*batch_size, *shape)
    check_env_specs(env, return_contiguous=False)
    for step in env.rollout(3, return_contiguous=False).unbind(-1):
        assert env.full_observation_spec[key].is_in(step["next", key])


@pytest.mark.parametrize("name", CLOSED)
def test_what_needs_one_size_says_so(name: str) -> None:
    """A transform that joins entries of several steps, or has constants of one size, refuses an open one."""
    make, match = CLOSED[name]
    with pytest.raises(SpecError, match=match):
        TransformedEnv(GrowingEnv((2,)), make())


class Camera(EnvBase):
    """Images of `4 + t` rows and 6 columns, with three rewards for each of as many targets as rows."""

    accepts_mapping = True

    def __init__(self) -> None:
        super().__init__()
        self.observation_spec = Composite(pixels=Bounded(0, 255, shape=(-1, 6, 3), dtype=torch.uint8))
        self.reward_spec = Composite(reward=Bounded(0.0, 2.0, shape=(-1, 3)))
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
        self.rows = 4

    def _reset(self, data: TensorMap | None) -> FlatDict:
        self.rows = 4
        return {"pixels": self._image()}

    def _step(self, data: TensorMap) -> FlatDict:
        self.rows += 1
        done = torch.tensor([self.rows > 7])
        return {"pixels": self._image(), "reward": torch.ones(self.rows, 3), "terminated": done}

    def _image(self) -> Tensor:
        return torch.full((self.rows, 6, 3), self.rows, dtype=torch.uint8)

    def _set_seed(self, seed: int) -> None:
        pass


IMAGES: dict[str, tuple[Callable[[], Transform], tuple[int, ...], float]] = {
    "ToTensorImage": (ToTensorImage, (3, -1, 6), 1.0),
    "CenterCrop": (lambda: Compose(ToTensorImage(), CenterCrop(4)), (3, 4, 4), 1.0),
    "Crop": (lambda: Compose(ToTensorImage(), Crop(4, 2, top=1)), (3, 2, 4), 1.0),
    "GrayScale": (lambda: Compose(ToTensorImage(), GrayScale()), (1, -1, 6), 1.0),
    "Resize": (lambda: Compose(ToTensorImage(), Resize(5)), (3, 5, 5), 1.0),
    "Resize bicubic": (lambda: Compose(ToTensorImage(), Resize(5, interpolation="bicubic")), (3, 5, 5), torch.inf),
    "FlattenObservation": (lambda: FlattenObservation(-3, -2, in_keys=["pixels"]), (-1, 3), 255.0),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_any_height(name: str) -> None:
    """What is made of images whose height is open keeps their bounds, and has a height of its own where it is cut."""
    make, shape, highest = IMAGES[name]
    env = TransformedEnv(Camera(), make())
    spec = env.full_observation_spec["pixels"]
    assert spec.shape == shape
    if isinstance(spec, Bounded):
        assert spec.high.max().item() == pytest.approx(highest)
    else:
        assert highest == torch.inf
    for step in env.rollout(3, return_contiguous=False).unbind(-1):
        assert spec.is_in(step["next", "pixels"])


def test_an_image_that_turns_out_too_small() -> None:
    """Of a height that is open nothing is refused when things are connected; the image that is too small is."""
    env = TransformedEnv(Camera(), [ToTensorImage(), CenterCrop(4, 5)])
    with pytest.raises(ShapeError, match="CenterCrop"):
        env.reset()


def test_rewards_of_any_number() -> None:
    """Scaled rewards of any number keep their bounds; a weighted sum over a dimension of one size does too."""
    env = TransformedEnv(Camera(), RewardScaling(1.0, 0.5))
    spec = env.full_reward_spec["reward"]
    assert spec == Bounded(1.0, 2.0, shape=(-1, 3))
    linear = TransformedEnv(Camera(), LineariseRewards("reward", weights=[1.0, -1.0, 0.0]))
    assert linear.full_reward_spec["reward"] == Bounded(-2.0, 2.0, shape=(-1, 1))
    turned = TransformedEnv(Camera(), [PermuteTransform([-1, -2], ["reward"]), LineariseRewards("reward")])
    assert turned.full_reward_spec["reward"] == Unbounded(shape=(3, 1))


def test_two_open_sizes() -> None:
    """Each open size is told from the other, and from a size that depends on neither."""
    spec = Unbounded(shape=(-1, 4, -1))
    assert dry_run(lambda value: value.movedim(0, -1), spec).shape == (4, -1, -1)
    assert dry_run(lambda value: value.sum(0), spec).shape == (4, -1)
    assert dry_run(lambda value: value.flatten(1), spec).shape == (-1, -1)
    assert dry_run(lambda value: value[:2, :, :1], spec).shape == (2, 4, 1)


def test_bounds_along_an_open_size() -> None:
    """Bounds of places that become one open dimension are the widest of them."""
    box = Bounded(torch.tensor([-1.0, -3.0]), torch.tensor([2.0, 5.0]), shape=(-1, 2))
    flat = monotone_image(lambda value: value.flatten(-2) * 2, box)
    assert flat == Bounded(-6.0, 10.0, shape=(-1,))
    mapped = monotone_image(torch.neg, box)
    assert mapped == Bounded(torch.tensor([-2.0, -5.0]), torch.tensor([1.0, 3.0]), shape=(-1, 2))
    assert mapped.is_in(torch.zeros(7, 2))
