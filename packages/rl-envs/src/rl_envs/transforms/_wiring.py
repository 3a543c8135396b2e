"""Whether the keys of a transform fit the environment before it, and what to say where they do not."""

from collections.abc import Iterable, Sequence

from rl_envs._env_plan import RESET_KEY, STEP_KEY
from rl_envs._env_specs import EnvSpecs
from rl_specs import Composite, NestedKey, key_str, near_matches


def leaf_keys(*specs: Composite) -> list[NestedKey]:
    """Canonical keys of the leaves of several specs, in order."""
    return [key for spec in specs for key, _ in spec.flat_items()]


def absent_keys(keys: list[NestedKey], present: list[NestedKey], parameter: str, what: str) -> list[str]:
    """Problems, in words, of keys that are not there: `parameter` named them, and `what` could be there."""
    names = sorted({key_str(key) for key in present})
    return [
        f"{parameter}: key {key_str(key)} missing from what {what} (has: {', '.join(names) or 'nothing'})."
        f"{_list_hint(key, present) or near_matches(key_str(key), names)}"
        for key in keys
        if key_str(key) not in names
    ]


def _list_hint(key: NestedKey, present: list[NestedKey]) -> str:
    """What to say of a tuple of keys: it is one nested key."""
    is_list = isinstance(key, tuple) and all(part in present for part in key)
    return " A tuple is one nested key: give several keys as a list" if is_list else ""


def wiring_problems(
    in_keys: list[NestedKey],
    out_keys: list[NestedKey],
    in_keys_inv: list[NestedKey],
    specs: EnvSpecs,
    *,
    reads_root: bool,
) -> list[str]:
    """Problems, in words, of in keys that are not there, and of states that are written over.

    Args:
        in_keys: entries that a transform reads of what the environment writes.
        out_keys: entries that it writes.
        in_keys_inv: entries that it writes of what the environment reads.
        specs: specs of the environment before it.
        reads_root: whether actions and states may be among `in_keys`.
    """
    read = leaf_keys(specs.action, specs.state)
    written = leaf_keys(specs.observation, specs.reward, specs.done, specs.state)
    problems = absent_keys(in_keys, [*written, *read] if reads_root else written, "in_keys", "the environment writes")
    problems += absent_keys(in_keys_inv, read, "in_keys_inv", "the environment reads")
    states = set(leaf_keys(specs.state)) - set(in_keys_inv)
    return problems + [
        f"out_keys: {key_str(key)} is a state that the environment reads back. Write to another out key"
        for key in out_keys
        if key in states
    ]


def repeated_key(keys: Sequence[NestedKey]) -> NestedKey | None:
    """The first of `keys` that is there twice; None where there is none."""
    return next((key for position, key in enumerate(keys) if key in keys[:position]), None)


def misplaced_keys(pairs: Iterable[tuple[NestedKey, NestedKey]], specs: EnvSpecs) -> list[str]:
    """Problems, in words, of out keys that belong to entries of another kind, to a level, or to the loop of steps.

    Args:
        pairs: in and out keys of a map of single entries.
        specs: specs of the environment before it.
    """
    kinds = dict.fromkeys(leaf_keys(specs.action), "an action")
    kinds |= dict.fromkeys(leaf_keys(specs.done), "a flag")
    kinds |= dict.fromkeys(leaf_keys(specs.reward), "a reward")
    kinds |= dict.fromkeys(leaf_keys(specs.observation), "an observation")
    levels = {path[:end] for path in map(_path, kinds) for end in range(1, len(path))}
    problems = []
    for in_key, out_key in pairs:
        path, there = _path(out_key), kinds.get(out_key)
        if in_key == out_key:
            continue
        if path[0] == "next" or path[-1] in (RESET_KEY, STEP_KEY):
            problems.append(f"out_keys: {key_str(out_key)} is a name of the loop of steps. Write to another out key")
        elif there is not None and there != kinds.get(in_key):
            source = f"{key_str(in_key)}, which is {kinds.get(in_key, 'none')}"
            problems.append(f"out_keys: {key_str(out_key)} is {there}, and not to be made of {source}")
        elif path in levels:
            problems.append(f"out_keys: {key_str(out_key)} is a level with entries below it. Write to another out key")
    return problems


def _path(key: NestedKey) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key
