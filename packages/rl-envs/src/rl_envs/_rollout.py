"""A policy in an environment for a number of steps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from rl_envs._env_plan import RESET_KEY, EnvPlan, FlagGroup, flag_groups, outermost
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs._input_checks import check_first_action
from rl_envs._plain_network import as_policy
from rl_envs._policy_plan import PolicyPlan, plan_policy
from rl_envs._reset_masks import done_rows
from rl_envs._rollout_out import check_out, written_steps
from rl_envs._row_choice import chosen_rows
from rl_specs import FlatDict, NestedKey, ShapeError, canonical_key, join_key, key_str, message

if TYPE_CHECKING:
    from rl_envs._env_base import EnvBase


@dataclass(frozen=True, kw_only=True)
class RolloutOptions:
    """The options of `EnvBase.rollout`, which says what they mean."""

    callback: Callable[["EnvBase", TensorDictBase], None] | None
    auto_reset: bool
    auto_cast_to_device: bool
    break_when_any_done: bool
    break_when_all_done: bool
    return_contiguous: bool | None
    tensordict: TensorDictBase | None
    set_truncation: bool
    out: TensorDictBase | None
    trust_policy: bool
    storing_device: torch.device | None


def rollout(
    env: "EnvBase", max_steps: int, policy: Callable[..., Any] | None, options: RolloutOptions
) -> TensorDictBase:
    """See `EnvBase.rollout`."""
    _check_arguments(max_steps, options)
    if options.out is not None:
        check_out(options.out, (*env.batch_size, max_steps))
    plan = EnvPlan(env)
    act = plan.random_action if policy is None else _policy(env, policy, options)
    steps = _steps(env, plan, act, max_steps, options)
    if options.set_truncation:
        steps[-1] = steps[-1][0], _truncated(steps[-1][1], _done_groups(env))
    if options.out is not None:
        return written_steps(options.out, [_merged(step) for step in steps], len(env.batch_size))
    is_contiguous = options.return_contiguous
    if is_contiguous is None:
        is_contiguous = not env.has_dynamic_specs
    return _batch(steps, env.batch_size, options.storing_device or env.device, is_contiguous)


def _steps(env: "EnvBase", plan: EnvPlan, act: PolicyPlan, max_steps: int, options: RolloutOptions) -> "list[_Step]":
    root = _first_root(env, plan, options)
    steps: list[_Step] = []
    specs = env._env_specs()
    done_keys = [group[0] for group in outermost(_done_groups(env))]
    finished: _FinishedRows | None = _FinishedRows(env, done_keys) if options.break_when_all_done else None
    callback, device = options.callback, options.storing_device
    for index in range(max_steps):
        act(root)
        if index == 0:
            check_first_action(type(env).__name__, root, env.full_action_spec)
        following = plan.step(root)
        step = root, following
        if finished is not None:
            step = finished.freeze(step)
        steps.append(step if device is None else (_moved(step[0], device), _moved(step[1], device)))
        if callback is not None:
            callback(env, pack_flat(_merged(step), env.batch_size, env.device))
        if finished is not None:
            if finished.all():
                break
        elif options.break_when_any_done and any(bool(following[key].any()) for key in done_keys):
            break
        if index + 1 < max_steps:
            root = plan.advance(root, following)[0]
    if env._env_specs() is not specs:
        _check_same_entries(steps)
    return steps


def _moved(entries: FlatDict, device: torch.device) -> FlatDict:
    return {key: value.to(device) for key, value in entries.items()}


_Step: TypeAlias = tuple[FlatDict, FlatDict]
"""Root entries of a step, and those that the step returned."""


def _merged(step: _Step) -> FlatDict:
    root, following = step
    return {**root, **{join_key("next", key): value for key, value in following.items()}}


class _FinishedRows:
    """Rows of the batch that have been done once: their steps repeat the last state, with no reward."""

    def __init__(self, env: "EnvBase", done_keys: list[NestedKey]) -> None:
        self._rows: Tensor | None = None
        self._dims = len(env.batch_size)
        self._done_keys = done_keys
        self._reward_keys = {canonical_key(key) for key in env.reward_keys}
        self._last: _Step = {}, {}

    def freeze(self, step: _Step) -> _Step:
        """`step`, with finished rows as they were when they finished."""
        rows = self._rows
        if rows is not None:
            root, following = step
            before, after = self._last
            states = {key: after.get(key, before.get(key, value)) for key, value in root.items()}
            root = {key: _chosen(key, rows, states[key], value) for key, value in root.items()}
            following = {key: self._frozen(key, value, rows) for key, value in following.items()}
            step = root, following
        done = torch.stack([step[1][key].flatten(self._dims).any(-1) for key in self._done_keys]).any(0)
        self._rows = done if rows is None else rows | done
        self._last = step
        return step

    def all(self) -> bool:
        """Whether every row has finished."""
        return self._rows is not None and bool(self._rows.all())

    def _frozen(self, key: NestedKey, value: Tensor, rows: Tensor) -> Any:
        is_reward = key in self._reward_keys
        return _chosen(key, rows, torch.zeros_like(value) if is_reward else self._last[1].get(key, value), value)


def _chosen(key: NestedKey, rows: Tensor, inside: Any, outside: Any) -> Any:
    """`inside` in the rows of a mask `[*B]`, `outside` elsewhere."""
    return chosen_rows(key, rows.reshape(rows.shape + (1,) * (outside.ndim - rows.ndim)), inside, outside)


def _check_arguments(max_steps: int, options: RolloutOptions) -> None:
    _check_type(max_steps)
    if max_steps < 1:
        raise ValueError(message("rollout", "max_steps too small", expected=">= 1", found=max_steps))
    if not options.auto_reset and options.tensordict is None:
        raise ValueError(
            message(
                "rollout", "auto_reset=False without tensordict", fix="Pass tensordict=env.reset(), or auto_reset=True"
            )
        )
    if options.break_when_any_done and options.break_when_all_done:
        raise ValueError(
            message(
                "rollout",
                "break_when_any_done and break_when_all_done are both set",
                fix="Pass break_when_any_done=False with break_when_all_done=True",
            )
        )
    if options.out is not None and options.return_contiguous is False:
        problem = "out is given, and a lazy stack asked for"
        raise ValueError(message("rollout", problem, fix="Pass return_contiguous=True, or no out"))


def _check_type(max_steps: object) -> None:
    if not isinstance(max_steps, int):
        fix, found = "Call env.rollout(max_steps, policy)", type(max_steps).__name__
        raise TypeError(message("rollout", "max_steps", expected="an integer", found=found, fix=fix))


def _first_root(env: "EnvBase", plan: EnvPlan, options: RolloutOptions) -> FlatDict:
    given = options.tensordict
    start = env.reset(given) if options.auto_reset or given is None else given
    root = {key: value for key, value in unpack_flat(start).items() if key[0] != "next"}
    if options.auto_reset:
        return root
    mask = done_rows(root, env.done_keys, len(env.batch_size))
    if mask is None or not bool(mask.any()):
        plan.follow_masks(root)
        return root
    return plan.reset({**root, RESET_KEY: mask})


def _done_groups(env: "EnvBase") -> list[FlagGroup]:
    return flag_groups([canonical_key(key) for key in env.done_keys])


def _policy(env: "EnvBase", policy: Callable[..., Any], options: RolloutOptions) -> PolicyPlan:
    if not options.trust_policy:
        policy = as_policy(policy, env)
    first = None
    if options.auto_cast_to_device and isinstance(policy, nn.Module):
        first = next(policy.parameters(), None)
    target = env.device or torch.device("cpu")
    if first is None or first.device == target:
        return plan_policy(policy, batch_size=env.batch_size, device=env.device)
    source = first.device
    run = plan_policy(policy, batch_size=env.batch_size, device=source)

    def run_there(data: FlatDict) -> None:
        given = {key: value.to(source) for key, value in data.items()}
        written = dict(given)
        run(written)
        data.update({key: value.to(target) for key, value in written.items() if given.get(key) is not value})

    return run_there


def _truncated(following: FlatDict, groups: list[FlagGroup]) -> FlatDict:
    """What the last step returned, its rows that are not done truncated."""
    changed = dict(following)
    for done, _, truncated in groups:
        changed[truncated] = changed[truncated] | ~changed[done]
        changed[done] = torch.ones_like(changed[done])
    return changed


def _check_same_entries(steps: list[_Step]) -> None:
    """Refuse a batch in which not every step has every entry."""
    keys = [step.keys() for step in map(_merged, steps)]
    changed = {key for each in keys for key in each ^ keys[0]}
    if changed:
        names = ", ".join(sorted(key_str(key) for key in changed))
        fix = "Change transforms between rollouts, or have the callback change what keeps the entries"
        raise RuntimeError(message("rollout", f"entries changed while it ran: {names}", fix=fix))


def _batch(steps: list[_Step], batch_size: torch.Size, device: torch.device | None, contiguous: bool) -> TensorDictBase:
    dim = len(batch_size)
    if not contiguous:
        lazy: TensorDictBase = TensorDict.lazy_stack(
            [pack_flat(_merged(step), batch_size, device) for step in steps], dim
        )
        lazy.names = [*([None] * dim), "time"]
        return lazy
    roots, following = zip(*steps, strict=True)
    after = {key: [entries[key] for entries in following] for key in following[0]}
    stacked_after = {key: _stacked(key, values, dim) for key, values in after.items()}
    stacked: FlatDict = {}
    for key in roots[0]:
        values = [root[key] for root in roots]
        stacked[key] = (
            _stacked_root(key, values, after[key], stacked_after[key], dim)
            if key in after
            else _stacked(key, values, dim)
        )
    stacked.update({join_key("next", key): value for key, value in stacked_after.items()})
    result: TensorDict = pack_flat(stacked, torch.Size((*batch_size, len(steps))), device)
    result.names = [*([None] * dim), "time"]
    return result


def _stacked(key: NestedKey, values: list[Tensor], dim: int) -> Tensor:
    try:
        return torch.stack(values, dim)
    except RuntimeError:
        shapes = list(dict.fromkeys(tuple(value.shape) for value in values))
        if len(shapes) == 1:
            raise
        fix = "Pass return_contiguous=False for a lazy stack of the steps"
        problem = f"{key_str(key)} has another shape from step to step"
        raise ShapeError(message("rollout", problem, found=shapes, fix=fix)) from None


def _stacked_root(key: NestedKey, values: list[Tensor], after: list[Tensor], stacked_after: Tensor, dim: int) -> Tensor:
    """`_stacked` of values most of which are what the step before returned, `after`, stacked already."""
    pairs = enumerate(zip(values[1:], after, strict=False), 1)
    others = [index for index, (value, moved) in pairs if value is not moved]
    is_tensor = isinstance(values[0], Tensor) and isinstance(after[0], Tensor)
    is_alike = is_tensor and values[0].shape == after[0].shape and values[0].dtype is after[0].dtype
    if not is_alike or 4 * len(others) > len(values):
        return _stacked(key, values, dim)
    stacked = torch.cat((values[0].unsqueeze(dim), stacked_after.narrow(dim, 0, len(values) - 1)), dim)
    for index in others:
        stacked.select(dim, index).copy_(values[index])
    return stacked
