"""Entries taken out of data, of specs and of the plan of an environment, by name or by the name of a level above."""

from collections.abc import Iterable

from tensordict import TensorDictBase

from rl_envs._env_specs import FLAG_NAMES, EnvSpecs
from rl_envs.transforms._wiring import leaf_keys
from rl_specs import Composite, NestedKey, TensorMap, key_str


def is_under(key: NestedKey, names: Iterable[NestedKey]) -> bool:
    """Whether `key` is one of `names` or lies below one."""
    path = (key,) if isinstance(key, str) else key
    levels = {path[:end] for end in range(1, len(path) + 1)}
    return any(((name,) if isinstance(name, str) else name) in levels for name in names)


def remove_entries(data: TensorMap, keys: Iterable[NestedKey]) -> TensorMap:
    """Remove those of `keys` that are there from a flat dict or a TensorDict; returns it."""
    if isinstance(data, dict):
        for key in keys:
            data.pop(key, None)
    elif isinstance(data, TensorDictBase):
        there = set(data.keys(True))
        for key in keys:
            if key in there:
                del data[key]
    return data


def remove_specs(spec: Composite, keys: Iterable[NestedKey]) -> Composite:
    """Remove the leaves `keys` that are there, and levels that are empty then; returns `spec`."""
    for key in keys:
        if key in spec:
            del spec[key]
        while not isinstance(key, str):
            key = key[0] if len(key) == 2 else key[:-1]
            level = spec.get(key)
            if not isinstance(level, Composite) or len(level):
                break
            del spec[key]
    return spec


def needed_problems(removed: Iterable[NestedKey], specs: EnvSpecs) -> list[str]:
    """Problems, in words, of entries that are to be removed and that the loop around an environment needs."""
    states = set(leaf_keys(specs.state))
    groups: dict[tuple[str, ...], set[str]] = {}
    for key in leaf_keys(specs.done):
        path = (key,) if isinstance(key, str) else key
        groups.setdefault(path[:-1], set()).add(path[-1])
    problems = []
    for key in removed:
        path = (key,) if isinstance(key, str) else key
        if key in states:
            problems.append(f"{key_str(key)} is a state that the environment reads back, and has to stay")
        elif path[-1] == "done" and "done" in groups.get(path[:-1], ()):
            problems.append(f"{key_str(key)} says which rows to reset, and has to stay")
    return problems


def flag_keys(specs: EnvSpecs) -> set[NestedKey]:
    """Keys of `done`, `terminated` and `truncated` at every level."""
    return {key for key in leaf_keys(specs.done) if (key if isinstance(key, str) else key[-1]) in FLAG_NAMES}
