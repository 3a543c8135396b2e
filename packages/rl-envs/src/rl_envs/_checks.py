"""Whether an environment returns what its specs say."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

import torch
from tensordict import NonTensorData, NonTensorStack, TensorDictBase
from torch import Tensor

from rl_envs._env_base import EnvBase
from rl_envs._env_plan import complete_flags, flag_groups
from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import unpack_flat
from rl_envs._output_checks import not_entries
from rl_envs._ragged import row_entries, spread
from rl_specs import FlatDict, LeafSpec, NestedKey, SpecError, canonical_key, join_key, key_str, message

_STEPS = 3
_ACTION, _STATE, _OBSERVATION = attrgetter("action"), attrgetter("state"), attrgetter("observation")


class EnvSpecError(SpecError, AssertionError):
    """An environment does not return what its specs say; the message is a table of all differences."""


@dataclass(frozen=True)
class SpecDifference:
    """One way in which the data of an env differ from its specs.

    Args:
        where: `reset`, `step` or `rollout`.
        entry: the entry, as a person writes it.
        problem: what is wrong.
        expected: what the spec says.
        found: what the env returned.
    """

    where: str
    entry: str
    problem: str
    expected: str
    found: str


def check_env_specs(
    env: EnvBase,
    return_contiguous: bool | None = None,
    check_dtype: bool = True,
    seed: int | None = None,
    *,
    tensordict: TensorDictBase | None = None,
    break_when_any_done: bool | Literal["both"] = False,
) -> None:
    """Run a reset, a step and a short random rollout and compare all that they return with the specs.

    The global random generator of torch is left as it was.

    Args:
        env: the environment; left at the end of the rollout.
        return_contiguous: stack the rollout, or leave it a lazy stack; None: as `EnvBase.rollout` decides.
        check_dtype: compare dtypes too.
        seed: seeds the env and the random actions.
        tensordict: handed to the resets, such as parameters or, for an env that is not `batch_locked`, a batch size.
        break_when_any_done: see `EnvBase.rollout`; `"both"` makes a rollout of either kind.
    Raises:
        TypeError: `env` is no `EnvBase`.
        EnvSpecError: the env and its specs differ; one table has all differences.
    """
    if not isinstance(env, EnvBase):
        raise TypeError(
            message(
                "check_env_specs",
                "env is no environment",
                expected="an rl_envs.EnvBase",
                found=type(env).__name__,
                fix="Wrap it: GymWrapper(env) for a Gymnasium environment, GymEnv(name) for a name",
            )
        )
    with torch.random.fork_rng():
        if seed is not None:
            torch.manual_seed(seed)
            env.set_seed(seed)
        both = break_when_any_done == "both"
        options = CheckOptions(
            return_contiguous=return_contiguous,
            check_dtype=check_dtype,
            tensordict=tensordict,
            breaks=(False, True) if both else (bool(break_when_any_done),),
        )
        differences = spec_differences(env, options)
    if differences:
        raise EnvSpecError(difference_table(repr(env), differences))


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """The options of `check_env_specs`, which says what they mean."""

    return_contiguous: bool | None = None
    check_dtype: bool = True
    tensordict: TensorDictBase | None = None
    breaks: Sequence[bool] = (False,)


def spec_differences(env: EnvBase, options: CheckOptions) -> list[SpecDifference]:
    """All differences between what `env` returns and its specs, as `check_env_specs` finds them.

    An environment that is not batch-locked is looked at with one more batch dimension too, or with that of
    `options.tensordict`.
    """
    given = options.tensordict
    if given is not None and not env.batch_locked and given.batch_size != env.batch_size:
        with env._resized(given.batch_size):
            return _differences(env, options)
    found = _differences(env, options)
    if found or env.batch_locked or given is not None:
        return found
    with env._resized(torch.Size((2, *env.batch_size))):
        return _differences(env, options)


def _differences(env: EnvBase, options: CheckOptions) -> list[SpecDifference]:
    given, check_dtype = options.tensordict, options.check_dtype
    extra = set() if given is None else set(unpack_flat(given))
    expected = unpack_flat(env.fake_tensordict())
    rows = env._env_specs().rows or (env._env_specs(),)
    actions, states, observed = (
        {key for specs in rows for key, _ in part(specs).flat_items()} for part in (_ACTION, _STATE, _OBSERVATION)
    )
    root_only = {k: v for k, v in expected.items() if k[0] != "next" and k not in actions and k not in states}
    try:
        root = env.reset(given)
    except Exception as error:
        return [_raised("reset", error)]
    entries = _without(extra - set(expected), unpack_flat(root))
    at_reset = root_only | {k: v for k, v in expected.items() if k in states & observed}
    open_specs = _open_specs(env)
    found = _compare("reset", entries, at_reset, check_dtype, open_specs)
    found += _batch_difference("reset", root, env.batch_size)
    found += outside_specs("reset", env, entries, is_root=True)
    returned = _with_copies(entries)
    try:
        chosen = {key: value for key, value in unpack_flat(env.rand_action(root)).items() if key in actions}
        before = _with_copies(chosen)
        following = _step_once(env, root)
    except Exception as error:
        return [*found, _raised("step", error)]
    found += _written("step", before, "written to", "an action left as it is", "one that the step changes")
    returned += _with_copies(following)
    in_next = {key: value for key, value in expected.items() if key[0] == "next"}
    found += _compare("step", following, in_next, check_dtype, open_specs)
    found += outside_specs("step", env, following, is_root=False)
    if found:
        return found
    for is_broken in options.breaks:
        try:
            steps = env.rollout(
                _STEPS,
                break_when_any_done=is_broken,
                return_contiguous=options.return_contiguous,
                tensordict=given,
            )
        except Exception as error:
            return [_raised("rollout", error)]
        count = steps.batch_size[-1] if is_broken else _STEPS
        found += _batch_difference("rollout", steps, torch.Size((*env.batch_size, count)))
        last = _without(extra - set(expected), unpack_flat(steps.unbind(-1)[-1]))
        found += _compare("rollout", last, expected, check_dtype, open_specs)
        found += _outside_steps(env, steps)
    return found + _written("rollout", returned, "written later", "a tensor of its own", "one that later steps change")


def _without(left_out: Collection[NestedKey], entries: FlatDict) -> FlatDict:
    return {key: value for key, value in entries.items() if key not in left_out}


def _open_specs(env: EnvBase) -> dict[NestedKey, LeafSpec]:
    """Specs of entries of a step that leave a size open, by the name of the entry."""
    root = [env.full_state_spec, env.full_observation_spec, env.full_done_spec, env.full_action_spec]
    following = [env.full_observation_spec, env.full_reward_spec, env.full_done_spec]
    leaves = [(key, spec) for composite in root for key, spec in composite.flat_items()]
    leaves += [(join_key("next", key), spec) for composite in following for key, spec in composite.flat_items()]
    return {key: spec for key, spec in leaves if isinstance(spec, LeafSpec) and spec.is_dynamic}


def _with_copies(entries: FlatDict) -> list[tuple[NestedKey, Tensor, Tensor]]:
    return [(key, value, value.clone()) for key, value in spread(entries).items() if isinstance(value, Tensor)]


def _written(
    where: str, entries: list[tuple[NestedKey, Tensor, Tensor]], problem: str, expected: str, found: str
) -> list[SpecDifference]:
    """Entries that have changed since a copy was made; batches that hold them would not be what was there."""
    changed = [key for key, value, then in entries if not torch.equal(value.nan_to_num(), then.nan_to_num())]
    return [SpecDifference(where, key_str(key), problem, expected, found) for key in changed]


def _step_once(env: EnvBase, root: TensorDictBase) -> FlatDict:
    """Entries that one step from `root` returns, under `"next"`, flags completed where that is possible."""
    result = env._step(root)
    try:
        following = dict(unpack_flat(result))
    except TypeError:
        raise not_entries(type(env).__name__, "_step", result) from None
    declared = [canonical_key(key) for key in env.done_keys]
    for group in flag_groups(declared):
        if all(key in following for key in group if key in declared):
            continue
        flags = [following[key] for key in group if key in following]
        if flags and all(isinstance(flag, Tensor) for flag in flags):
            complete_flags(following, *group)
        elif flags:
            following |= {key: env.full_done_spec[key].zero() for key in group if key not in following}
    return {join_key("next", key): value for key, value in following.items()}


def _raised(where: str, error: Exception) -> SpecDifference:
    lines = str(error).splitlines() or [""]
    return SpecDifference(where, "(all)", "raised", "entries", f"{type(error).__name__}: {lines[0][:200]}")


def difference_table(title: str, differences: list[SpecDifference]) -> str:
    """The differences as lines of aligned columns under `title`."""
    header = SpecDifference("where", "entry", "problem", "expected", "found")
    rows = [(d.where, d.entry, d.problem, d.expected, d.found) for d in (header, *differences)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)) for row in rows]
    count = len(differences)
    head = f"{title}: {count} difference{'s' if count > 1 else ''} between the specs and what the env returns."
    fix = "Correct the specs in __init__, or what _reset and _step return."
    return "\n".join([head, *(line.rstrip() for line in lines), fix])


def _compare(
    where: str, entries: FlatDict, expected: FlatDict, check_dtype: bool, open_specs: Mapping[NestedKey, LeafSpec]
) -> list[SpecDifference]:
    entries, expected = spread(entries), spread(expected)  # those of environments that differ, each for itself
    found = [
        SpecDifference(where, key_str(key), "missing", "an entry", "none") for key in expected if key not in entries
    ]
    found += [
        SpecDifference(where, key_str(key), "in no spec", "none", "an entry") for key in entries if key not in expected
    ]
    models: dict[NestedKey, object] = dict(expected)
    for key, model in models.items():
        value: object = entries.get(key)
        if value is None:
            continue
        if not isinstance(model, Tensor):
            found += _object_differences(where, key, value)
        elif not isinstance(value, Tensor):
            found.append(SpecDifference(where, key_str(key), "type", "Tensor", type(value).__name__))
        else:
            spec = open_specs.get(key)
            shape = model.shape if spec is None else value.shape if spec.fits(value.shape) else spec.shape
            found += _tensor_differences(where, key, value, model, shape, check_dtype)
    return found


def _object_differences(where: str, key: NestedKey, value: object) -> list[SpecDifference]:
    """What is wrong with an entry of text or objects."""
    if isinstance(value, (NonTensorData, NonTensorStack)):
        return []
    expected = "NonTensorData, or a NonTensorStack of rows"
    return [SpecDifference(where, key_str(key), "type", expected, type(value).__name__)]


def _tensor_differences(
    where: str, key: NestedKey, value: Tensor, model: Tensor, shape: torch.Size, check_dtype: bool
) -> list[SpecDifference]:
    found = []
    if value.shape != shape:
        found.append(SpecDifference(where, key_str(key), "shape", str(tuple(shape)), str(tuple(value.shape))))
    if check_dtype and value.dtype is not model.dtype:
        found.append(SpecDifference(where, key_str(key), "dtype", str(model.dtype), str(value.dtype)))
    if value.device != model.device:
        found.append(SpecDifference(where, key_str(key), "device", str(model.device), str(value.device)))
    return found


def _batch_difference(where: str, data: TensorDictBase, batch_size: torch.Size) -> list[SpecDifference]:
    if data.batch_size == batch_size:
        return []
    return [SpecDifference(where, "(all)", "batch size", str(tuple(batch_size)), str(tuple(data.batch_size)))]


def outside_specs(where: str, env: EnvBase, entries: FlatDict, *, is_root: bool) -> list[SpecDifference]:
    """Entries of the right form whose values their spec does not contain."""
    rows = env._env_specs().rows
    if rows:
        parts = [_outside_row(where, own, row_entries(entries, row), is_root) for row, own in enumerate(rows)]
        return [difference for part in parts for difference in part]
    return _outside_row(where, env._env_specs(), entries, is_root)


def _outside_row(where: str, env_specs: EnvSpecs, entries: FlatDict, is_root: bool) -> list[SpecDifference]:
    specs = [env_specs.observation, env_specs.done]
    if not is_root:
        specs.append(env_specs.reward)
    found = []
    for composite in specs:
        for key, spec in composite.flat_items():
            path = key if is_root else join_key("next", key)
            value = entries.get(path)
            if not (isinstance(spec, LeafSpec) and isinstance(value, Tensor)):
                continue
            if value.dtype is spec.dtype and spec.fits(value.shape) and not spec.is_in(value):
                found.append(SpecDifference(where, key_str(path), "outside its spec", _domain(spec), _summary(value)))
    return found


def _outside_steps(env: EnvBase, steps: TensorDictBase) -> list[SpecDifference]:
    """What lies outside its spec in the first step of a rollout that has such an entry."""
    for step in steps.unbind(-1):
        entries = unpack_flat(step)
        found = outside_specs("rollout", env, entries, is_root=True)
        found += outside_specs("rollout", env, entries, is_root=False)
        if found:
            return found
    return []


def _domain(spec: object) -> str:
    return " ".join(str(spec).split())[:120]


def _summary(value: object) -> str:
    if isinstance(value, Tensor) and value.numel() and not value.is_complex():
        return f"values in [{value.min().item()}, {value.max().item()}]"
    return str(value)[:60]
