"""A step of zeros, from the specs alone."""

from typing import cast

import torch
from tensordict import LazyStackedTensorDict, TensorDict

from rl_envs._env_specs import EnvSpecs, prefixed
from rl_envs._flat import pack_flat
from rl_specs import FlatDict


def fake_tensordict(specs: EnvSpecs, batch_size: torch.Size, device: torch.device | None) -> TensorDict:
    """One step of zeros with every entry that a step of the env has.

    Args:
        specs: specs of the env.
        batch_size: batch shape of the env.
        device: device that the result declares.
    Returns:
        TensorDict `[*B]`: observations, flags, states and actions at the root; observations, rewards and flags under
        `"next"`. A lazy stack of the steps of each environment, where these differ.
    """
    if specs.rows:
        rows = [fake_tensordict(row, batch_size[1:], device) for row in specs.rows]
        return cast(TensorDict, LazyStackedTensorDict(*rows, stack_dim=0))
    entries: FlatDict = {}
    for composite in (specs.state, specs.observation, specs.done, specs.action):
        entries.update({key: spec.zero() for key, spec in composite.flat_items()})
    for composite in (specs.observation, specs.reward, specs.done):
        entries.update({prefixed(key): spec.zero() for key, spec in composite.flat_items()})
    return pack_flat(entries, batch_size, device)
