"""Which device each part of collection uses."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import torch
from torch import nn

from rl_specs import FlatDict, resolve_device

DeviceLike: TypeAlias = torch.device | str | int | None


@dataclass(frozen=True)
class Devices:
    """Devices of environment, policy and batches; None leaves data where they are."""

    env: torch.device | None
    policy: torch.device | None
    storing: torch.device | None

    @classmethod
    def resolve(cls, device: DeviceLike, env: DeviceLike, policy: DeviceLike, storing: DeviceLike) -> Self:
        """The three devices, each `device` where nothing is said of it."""
        default = _as_device(device)
        chosen = [_as_device(d) or default for d in (env, policy, storing)]
        return cls(*chosen)

    def across(self, run: Callable[[FlatDict], None]) -> Callable[[FlatDict], None]:
        """`run` on the policy's device, its data brought there and back, where the two devices differ."""
        there, back = self.policy, self.env
        if there is None or there == back or (back is None and there.type == "cpu"):
            return run
        home = torch.device("cpu") if back is None else back

        def moved(data: FlatDict) -> None:
            inputs = {key: value.to(there, non_blocking=home.type == "cpu") for key, value in data.items()}
            given = dict(inputs)
            run(inputs)
            for key, value in inputs.items():
                if value is not given.get(key):
                    data[key] = value.to(home)

        return moved


def _as_device(device: DeviceLike) -> torch.device | None:
    return None if device is None else resolve_device(device)


def move_policy(policy: Callable[..., Any], device: torch.device | None) -> Callable[..., Any]:
    """The policy, or a copy of it on `device` when its weights live elsewhere."""
    if device is None or not isinstance(policy, nn.Module):
        return policy
    tensors = [*policy.parameters(), *policy.buffers()]
    if all(tensor.device == device for tensor in tensors):
        return policy
    return copy.deepcopy(policy).to(device)
