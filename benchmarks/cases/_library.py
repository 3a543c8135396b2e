"""The same names from this library or from TorchRL, so that one program is timed with both."""

import importlib
from types import SimpleNamespace
from typing import Any


def load(name: str) -> Any:
    """Namespace with the classes that the tutorial program uses.

    Args:
        name: `"rl-suite"` or `"torchrl"`.
    """
    if name == "rl-suite":
        import rl_buffers
        import rl_collectors
        import rl_envs
        import rl_modules
        import rl_objectives

        spaces: list[Any] = [rl_envs, rl_modules, rl_buffers, rl_collectors, rl_objectives]
    elif name == "torchrl":
        import torchrl.collectors
        import torchrl.data
        import torchrl.data.replay_buffers.samplers
        import torchrl.envs
        import torchrl.modules
        import torchrl.objectives
        import torchrl.objectives.value

        spaces = [
            torchrl.envs,
            torchrl.modules,
            torchrl.data,
            torchrl.data.replay_buffers.samplers,
            torchrl.collectors,
            torchrl.objectives,
            torchrl.objectives.value,
        ]
    else:
        raise ValueError(f"unknown library {name!r}; expected 'rl-suite' or 'torchrl'")
    wanted = [
        "ClipPPOLoss",
        "ClipTransform",
        "Collector",
        "DoubleToFloat",
        "ExplorationType",
        "GAE",
        "GymEnv",
        "LazyTensorStorage",
        "MLP",
        "OneHotCategorical",
        "ProbabilisticActor",
        "RewardSum",
        "SamplerWithoutReplacement",
        "SerialEnv",
        "StepCounter",
        "TanhNormal",
        "TensorDictReplayBuffer",
        "TransformedEnv",
        "ValueOperator",
        "VecNorm",
        "compile_loss",
        "group_optimizers",
    ]
    found = {key: getattr(space, key) for key in wanted for space in spaces if key in vars(space)}
    if name == "rl-suite":
        found["mujoco"] = importlib.import_module("rl_envs.mujoco")
    if "Collector" not in found:
        found["Collector"] = found.get("SyncDataCollector") or vars(spaces[4])["SyncDataCollector"]
    return SimpleNamespace(**found)
