"""How the time of one step of a collection loop grows; prints microseconds a step as JSON.

By the number of environments (CartPole-v1 in one process), of observation keys and of transforms (a synthetic
environment that returns the same tensors again, so that what is left is the library), and what each stock transform
adds to a step of that environment.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
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
    one = ["observation_0"]
    return {
        "CatTensors": lambda: lib.CatTensors(in_keys=["observation_0", "observation_1"], out_key="both"),
        "ClipTransform": lambda: lib.ClipTransform(in_keys=one, low=-1.0, high=1.0),
        "DoubleToFloat": lambda: lib.DoubleToFloat(in_keys=one),
        "InitTracker": lambda: lib.InitTracker(),
        "NoopResetEnv": lambda: lib.NoopResetEnv(noops=4),
        "ObservationNorm": lambda: lib.ObservationNorm(loc=0.0, scale=1.0, in_keys=one),
        "RewardScaling": lambda: lib.RewardScaling(loc=0.0, scale=2.0),
        "RewardSum": lambda: lib.RewardSum(),
        "StepCounter": lambda: lib.StepCounter(),
        "ToTensorImage": lambda: lib.ToTensorImage(in_keys=["pixels"]),
        "VecNorm": lambda: lib.VecNorm(in_keys=one),
    }


def by_kind(lib: Any, batches: int) -> dict[str, float]:
    """What each transform adds: one batch with it and one without take turns, the least of each counts."""
    values = {}
    for name, make in stock_transforms(lib).items():
        doubles = name == "DoubleToFloat"
        best = [float("inf"), float("inf")]
        for _ in range(max(2, batches // 2)):
            bare = lib.TransformedEnv(synthetic_env(lib, 2, doubles), lib.Compose())
            env = lib.TransformedEnv(synthetic_env(lib, 2, doubles), lib.Compose())
            env.append_transform(make())
            best = [min(known, step_us(lib, one, 3, of=min)) for known, one in zip(best, (bare, env), strict=True)]
        values[name] = best[1] - best[0]
    return values


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
