"""What the case scripts share: the form of their report."""

import json
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

ADAM: dict[str, Any] = {"lr": 3e-4, "eps": 1e-5, "fused": True}  # of every PPO contender


def report(values: dict[str, float], unit: str) -> None:
    """Print the line that the runner reads; the last one of a script.

    Args:
        values: label of a row -> figure.
        unit: `"frames/s"`, `"us"`, `"s"`, `"MB"` or `"%"`, a share of what can be reached.
    """
    print(json.dumps({"values": values, "unit": unit}), flush=True)


def label(num_envs: int) -> str:
    """How rows name a number of environments."""
    return "1 env" if num_envs == 1 else f"{num_envs:,} envs"


def make_adam(parameters: Iterable[Tensor]) -> torch.optim.Adam:
    """The optimiser of every PPO contender."""
    return torch.optim.Adam(parameters, **ADAM)
