"""Masks of actions that lie in the data: which categories the next action may be.

`EnvSpecs.action_masks` says which entry holds the mask of which action. Specs are read once and kept; a mask is the one
part of a spec that may change afterwards, so plans set it in the spec that they hold, from the data of the step at
hand.
"""

from typing import TypeAlias, final

import torch
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_specs import (
    Categorical,
    DTypeError,
    MultiCategorical,
    MultiOneHot,
    NestedKey,
    OneHot,
    ShapeError,
    TensorMap,
    TensorSpec,
    key_str,
)

MaskedSpec: TypeAlias = Categorical | OneHot | MultiCategorical | MultiOneHot
"""Specs of actions that can have a mask."""


@final
class ActionMasks:
    """Sets the masks of action specs to what the data of an environment say.

    A place at which nothing is allowed, as games have it after their last move, counts as one that allows everything.

    Args:
        specs: specs of the environment; those of its masked actions are changed by `follow`.
    """

    def __init__(self, specs: EnvSpecs) -> None:
        actions = dict(specs.action.flat_items())
        found = [(actions[action], entry) for action, entry in specs.action_masks]
        self._pairs = [(spec, _blocks(spec), entry) for spec, entry in found if isinstance(spec, MaskedSpec)]

    def follow(self, data: TensorMap) -> None:
        """Take the masks from `data`, root entries or those of a step; an entry that is not there changes nothing."""
        for spec, blocks, entry in self._pairs:
            mask = data.get(entry, None)
            if mask is not None:
                spec.update_mask(_beside_action(spec, _with_choice(mask, blocks)))


def mask_problems(specs: EnvSpecs) -> list[str]:
    """What is wrong with `specs.action_masks`, one sentence each."""
    actions, entries = dict(specs.action.flat_items()), _entries(specs)
    problems = []
    for action, entry in specs.action_masks:
        problem = _problem(actions.get(action), entries.get(entry))
        if problem:
            pair = f"mask {key_str(entry)} of action {key_str(action)}"
            problems.append(f"{pair}: {problem}. Place ActionMask after the transforms of both")
    return problems


def _problem(action: TensorSpec | None, entry: TensorSpec | None) -> str:
    if action is None or entry is None:
        return f"no such {'action' if action is None else 'observation'}"
    if not isinstance(action, MaskedSpec):
        return f"a {type(action).__name__} has no categories to be masked"
    try:
        action.clone().update_mask(_beside_action(action, torch.ones_like(entry.zero())))
    except (DTypeError, ShapeError) as error:
        return str(error).rstrip(".")
    return ""


def _entries(specs: EnvSpecs) -> dict[NestedKey, TensorSpec]:
    return {**dict(specs.state.flat_items()), **dict(specs.observation.flat_items())}


def _blocks(spec: MaskedSpec) -> list[int]:
    """Number of categories of each variable that the last dimension of the mask holds; empty for one variable."""
    return list(spec.nvec) if isinstance(spec, (MultiCategorical, MultiOneHot)) else []


def _beside_action(spec: MaskedSpec, mask: Tensor) -> Tensor:
    """A mask `[*B, n]` of indices `[*B, 1]` in the form of these, `[*B, 1, n]`; any other as it is."""
    is_index = isinstance(spec, Categorical) and spec.shape[-1:] == (1,)
    return mask.unsqueeze(-2) if is_index and mask.shape[:-1] == spec.shape[:-1] else mask


def _with_choice(mask: Tensor, blocks: list[int]) -> Tensor:
    parts = torch.functional.split(mask, blocks, -1) if blocks else (mask,)
    open_parts = [part | ~part.any(-1, keepdim=True) for part in parts]
    return torch.cat(open_parts, -1) if blocks else open_parts[0]
