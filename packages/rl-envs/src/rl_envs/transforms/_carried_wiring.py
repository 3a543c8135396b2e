"""Entries that transforms carry from step to step in the data: whether each step finds them as it left them."""

from collections.abc import Sequence
from dataclasses import dataclass

from rl_envs._env_base import EnvBase
from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms.transform import Transform
from rl_specs import NestedKey, key_str


@dataclass(frozen=True)
class Clash:
    """An entry that is read back, and that a later transform changes.

    Args:
        leaf: the transform that carries it; None: the environment inside does.
        problem: what is wrong, one sentence.
    """

    leaf: Transform | None
    problem: str


def overwritten_carriers(base_env: EnvBase, leaves: Sequence[Transform], stages: Sequence[EnvSpecs]) -> list[Clash]:
    """What the transforms of an environment write over, or remove, of entries that are read back.

    Args:
        base_env: the environment inside.
        leaves: its transforms, bound.
        stages: specs before the first transform and after each.
    """
    there = dict(stages[-1].observation.flat_items())
    found = []
    for position in range(-1, len(leaves)):
        leaf = None if position < 0 else leaves[position]
        keys = base_env._carried_keys() if leaf is None else leaf._carried_keys()
        name = "the environment inside" if leaf is None else f"transform {position}, {type(leaf).__name__},"
        for key, is_number in keys.items():
            culprit = _culprit(key, leaves[position + 1 :], is_number=is_number, is_there=key in there)
            if culprit is not None:
                fix = f"Place {culprit} before, or give one of the two another out key"
                found.append(Clash(leaf, f"{name} reads {key_str(key)} back, and {culprit} changes it. {fix}"))
    return found


def _culprit(key: NestedKey, later: Sequence[Transform], *, is_number: bool, is_there: bool) -> str | None:
    """Name of the transform that writes over an entry, or removes it."""
    writers = (leaf for leaf in later if key in leaf.out_keys)
    writer = next((leaf for leaf in writers if not leaf._spares(key, is_number=is_number)), None)
    if writer is not None:
        return type(writer).__name__
    reader = next((leaf for leaf in later if key in leaf.in_keys), None)
    return None if is_there else "a later transform" if reader is None else type(reader).__name__
