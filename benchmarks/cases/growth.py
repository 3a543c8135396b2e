"""How the time of one step of a collection loop grows; prints microseconds a step as JSON.

By the number of environments (CartPole-v1 in one process), of observation keys and of transforms (a synthetic
environment that returns the same tensors again, so that what is left is the library), and what each stock transform
adds to a step of that environment.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from _case import report
from tensordict import TensorDict

STEPS = 256
ENVS, KEYS, TRANSFORMS = (1, 2, 4, 8, 16, 32, 64), (1, 2, 4, 8, 16, 32), (0, 1, 2, 4, 8, 16)
MOST_FOR_TORCHRL = 8  # the time to set up clips in a row doubles with each one there: minutes for 16


def load(library: str) -> Any:
    """The same names from this library or from TorchRL."""
    if library == "rl-suite":
        import rl_collectors
        import rl_envs
        import rl_specs

        spaces: list[Any] = [rl_collectors, rl_envs, rl_specs]
    else:
        import torchrl.collectors
        import torchrl.data
        import torchrl.envs

        spaces = [torchrl.collectors, torchrl.envs, torchrl.data]
    found = {name: value for space in reversed(spaces) for name, value in vars(space).items()}
    found.setdefault("Collector", found.get("SyncDataCollector"))
    return SimpleNamespace(**found)


def is_ours(lib: Any) -> bool:
    """Whether the names are this library's."""
    return "plan_policy" in vars(lib)


def synthetic_env(lib: Any, num_keys: int, doubles: bool = False) -> Any:
    """Environment with `num_keys` observations of four numbers, and a picture."""
    dtype = torch.float64 if doubles else torch.float32
    names = [f"observation_{index}" for index in range(num_keys)]
    flags = {name: torch.zeros(1, dtype=torch.bool) for name in ("done", "terminated", "truncated")}
    entries = {name: torch.zeros(4, dtype=dtype) for name in names}
    entries["pixels"] = torch.zeros(32, 32, 3, dtype=torch.uint8)
    reward = torch.ones(1)

    def packed(found: Mapping[str, torch.Tensor]) -> Any:
        return dict(found) if is_ours(lib) else TensorDict(dict(found), [])

    class Synthetic(lib.EnvBase):  # type: ignore[misc]  # a class of either library
        accepts_mapping = True

        def __init__(self) -> None:
            super().__init__()
            specs = {name: lib.Unbounded((4,), dtype=dtype) for name in names}
            specs["pixels"] = lib.Unbounded((32, 32, 3), dtype=torch.uint8)
            self.observation_spec = lib.Composite(specs)
            self.action_spec = lib.Bounded(-1.0, 1.0, (2,))
            self.reward_spec = lib.Unbounded((1,))

        def _reset(self, data: Any, **_: Any) -> Any:
            return packed({**entries, **flags})

        def _step(self, data: Any) -> Any:
            return packed({**entries, **flags, "reward": reward})

        def _set_seed(self, seed: int | None) -> None:
            pass

    return Synthetic()


def step_us(
    lib: Any, env: Any, batches: int, rows: int = 1, of: Callable[[list[float]], float] = statistics.median
) -> float:
    """Median (or what `of` makes) over batches, without the first, of the time of one step of all rows."""
    frames = STEPS * rows
    collector = lib.Collector(env, None, frames_per_batch=frames, total_frames=frames * (batches + 1))
    times: list[float] = []
    start = time.perf_counter()
    for _ in collector:
        times.append((time.perf_counter() - start) / STEPS * 1e6)
        start = time.perf_counter()
    collector.shutdown()
    return of(times[1:])


def by_envs(lib: Any, batches: int) -> dict[str, float]:
    """CartPole-v1, several in this process."""
    values = {}
    for count in ENVS:
        if is_ours(lib):
            env = lib.GymEnv("CartPole-v1", num_envs=count)
        else:
            env = lib.SerialEnv(count, lambda: lib.GymEnv("CartPole-v1"))
        values[f"{count} envs"] = step_us(lib, env, batches, count)
    return values


def by_keys(lib: Any, batches: int) -> dict[str, float]:
    """Observations of four numbers."""
    return {f"{count} keys": step_us(lib, synthetic_env(lib, count), batches) for count in KEYS}


def by_transforms(lib: Any, batches: int) -> dict[str, float]:
    """Clips of one observation."""
    values = {}
    for count in TRANSFORMS:
        if count > MOST_FOR_TORCHRL and not is_ours(lib):
            continue
        env = lib.TransformedEnv(synthetic_env(lib, 1), lib.Compose())
        for _ in range(count):
            env.append_transform(lib.ClipTransform(in_keys=["observation_0"], low=-1.0, high=1.0))
        values[f"{count} transforms"] = step_us(lib, env, batches)
    return values


def stock_transforms(lib: Any) -> dict[str, Callable[[], Any]]:
    """Makers of each transform that can be put on the synthetic environment."""
    one, both, frames = ["observation_0"], ["observation_0", "observation_1"], ["pixels"]
    channels_first = partial(lib.PermuteTransform, in_keys=frames)
    return {
        "ActionDiscretizer": lambda: lib.ActionDiscretizer(3),
        "ActionScaling": lambda: lib.ActionScaling(),
        "BatchSizeTransform": lambda: lib.BatchSizeTransform(reshape_fn=lambda data: data),
        "BinarizeReward": lambda: lib.BinarizeReward(),
        "CatFrames": lambda: lib.CatFrames(4, -1, in_keys=one),
        "CatTensors": lambda: lib.CatTensors(in_keys=both, out_key="both"),
        "CenterCrop": lambda: lib.Compose(channels_first([-1, -3, -2]), lib.CenterCrop(16, 16, in_keys=frames)),
        "ClipTransform": lambda: lib.ClipTransform(in_keys=one, low=-1.0, high=1.0),
        "ConditionalSkip": lambda: lib.ConditionalSkip(lambda data: False),
        "Crop": lambda: lib.Compose(channels_first([-1, -3, -2]), lib.Crop(16, 16, in_keys=frames)),
        "DTypeCastTransform": lambda: lib.DTypeCastTransform(torch.float32, torch.float64, in_keys=one),
        "DeviceCastTransform": lambda: lib.DeviceCastTransform("cpu"),
        "DoubleToFloat": lambda: lib.DoubleToFloat(in_keys=one),
        "ExcludeTransform": lambda: lib.ExcludeTransform("observation_1"),
        "ExpandAs": lambda: lib.ExpandAs("done", "observation_0", out_key="is_last"),
        "FiniteTensorDictCheck": lambda: lib.FiniteTensorDictCheck(),
        "FlattenAction": lambda: lib.FlattenAction(-1, -1),
        "FlattenObservation": lambda: lib.FlattenObservation(-3, -1, in_keys=frames),
        "FrameSkipTransform": lambda: lib.FrameSkipTransform(1),
        "GrayScale": lambda: lib.Compose(channels_first([-1, -3, -2]), lib.GrayScale(in_keys=frames)),
        "Hash": lambda: lib.Hash(in_keys=one, out_keys=["hash"]),
        "InitTracker": lambda: lib.InitTracker(),
        "LineariseRewards": lambda: lib.LineariseRewards(["reward"], weights=[2.0]),
        "NextObservationDelta": lambda: lib.NextObservationDelta(one),
        "NoopResetEnv": lambda: lib.NoopResetEnv(noops=4),
        "ObservationNorm": lambda: lib.ObservationNorm(loc=0.0, scale=1.0, in_keys=one),
        "PermuteTransform": lambda: channels_first([-1, -3, -2]),
        "RandomTruncationTransform": lambda: lib.Compose(
            lib.StepCounter(), lib.RandomTruncationTransform(1_000_000, 2_000_000)
        ),
        "RemoveEmptySpecs": lambda: lib.RemoveEmptySpecs(),
        "RenameTransform": lambda: lib.RenameTransform(one, ["o"]),
        "Resize": lambda: lib.Compose(channels_first([-1, -3, -2]), lib.Resize(16, 16, in_keys=frames)),
        "RewardClipping": lambda: lib.RewardClipping(-1.0, 1.0),
        "RewardScaling": lambda: lib.RewardScaling(loc=0.0, scale=2.0),
        "RewardSum": lambda: lib.RewardSum(),
        "SelectTransform": lambda: lib.SelectTransform("observation_0"),
        "SignTransform": lambda: lib.SignTransform(in_keys=one),
        "SqueezeTransform": lambda: lib.SqueezeTransform(-1, in_keys=["reward"], out_keys=["flat"]),
        "Stack": lambda: lib.Stack(in_keys=both, out_key="both"),
        "StepCounter": lambda: lib.StepCounter(),
        "SuccessReward": lambda: lib.SuccessReward("terminated"),
        "TargetReturn": lambda: lib.TargetReturn(10.0),
        "TensorDictPrimer": lambda: lib.TensorDictPrimer({"hidden": lib.Unbounded(4)}),
        "TerminateTransform": lambda: lib.TerminateTransform(lambda data: data["reward"] > 2),
        "TimeMaxPool": lambda: lib.TimeMaxPool(in_keys=one, T=4),
        "Timer": lambda: lib.Timer(),
        "ToTensorImage": lambda: lib.ToTensorImage(in_keys=frames),
        "TrajCounter": lambda: lib.TrajCounter(),
        "UnaryTransform": lambda: lib.UnaryTransform(in_keys=one, out_keys=["square"], fn=torch.square),
        "UnsqueezeTransform": lambda: lib.UnsqueezeTransform(-1, in_keys=one),
        "VecNorm": lambda: lib.VecNorm(in_keys=one),
        "gSDENoise": lambda: lib.gSDENoise(4, 2),
    }


def by_kind(lib: Any, batches: int) -> dict[str, float]:
    """What each transform adds: one batch with it and one without take turns, the least of each counts."""
    values = {}
    for name, make in stock_transforms(lib).items():
        try:
            values[name] = added_by(lib, make, batches, doubles=name == "DoubleToFloat")
        except Exception as error:
            if is_ours(lib):
                raise
            print(f"TorchRL's {name} does not run here: {error!r:.200}", file=sys.stderr)
    return values


def added_by(lib: Any, make: Callable[[], Any], batches: int, *, doubles: bool) -> float:
    """Microseconds that one transform adds to a step."""
    best = [float("inf"), float("inf")]
    for _ in range(max(2, batches // 2)):
        bare = lib.TransformedEnv(synthetic_env(lib, 2, doubles), lib.Compose())
        env = lib.TransformedEnv(synthetic_env(lib, 2, doubles), lib.Compose())
        env.append_transform(make())
        best = [min(known, step_us(lib, one, 3, of=min)) for known, one in zip(best, (bare, env), strict=True)]
    return best[1] - best[0]


WORK = {"envs": by_envs, "keys": by_keys, "transforms": by_transforms, "kinds": by_kind}


def main() -> None:
    """Time one kind of growth and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=["rl-suite", "torchrl"], required=True)
    parser.add_argument("--by", choices=sorted(WORK), required=True)
    parser.add_argument("--batches", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    report(WORK[args.by](load(args.library), args.batches), "us")


if __name__ == "__main__":
    main()
