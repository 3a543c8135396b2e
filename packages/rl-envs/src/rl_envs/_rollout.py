"""A policy in an environment for a number of steps."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from rl_envs._env_plan import EnvPlan
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs._input_checks import check_first_action
from rl_envs._policy_plan import PolicyPlan, plan_policy
from rl_specs import FlatDict, NestedKey, canonical_key, join_key, message

if TYPE_CHECKING:
    from rl_envs._env_base import EnvBase


def rollout(
    env: "EnvBase",
    max_steps: int,
    policy: Callable[..., Any] | None,
    *,
    callback: Callable[["EnvBase", TensorDictBase], None] | None,
    auto_reset: bool,
    auto_cast_to_device: bool,
    break_when_any_done: bool,
    break_when_all_done: bool,
    return_contiguous: bool,
    tensordict: TensorDictBase | None,
    set_truncation: bool,
) -> TensorDictBase:
    """See `EnvBase.rollout`."""
    _check_arguments(max_steps, auto_reset, tensordict, break_when_any_done, break_when_all_done)
    plan = EnvPlan(env)
    act = plan.random_action if policy is None else _policy(env, policy, auto_cast_to_device)
    root = _first_root(env, auto_reset, tensordict)
    steps: list[_Step] = []
    done_keys = _done_keys(env)
    finished: _FinishedRows | None = _FinishedRows(env, done_keys) if break_when_all_done else None
    for index in range(max_steps):
        act(root)
        if index == 0:
            check_first_action(type(env).__name__, root, env.full_action_spec)
        following = plan.step(root)
        step = root, following
        if finished is not None:
            step = finished.freeze(step)
        steps.append(step)
        if callback is not None:
            callback(env, pack_flat(_merged(step), env.batch_size, env.device))
        if finished is not None:
            if finished.all():
                break
        elif break_when_any_done and any(bool(following[key].any()) for key in done_keys):
            break
        if index + 1 < max_steps:
            root = plan.advance(root, following)[0]
    if set_truncation:
        steps[-1] = steps[-1][0], _truncated(steps[-1][1], done_keys)
    return _batch(steps, env.batch_size, env.device, return_contiguous)


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
            root = {key: _chosen(rows, after.get(key, before.get(key, value)), value) for key, value in root.items()}
            following = {key: self._frozen(key, value, rows) for key, value in following.items()}
            step = root, following
        done = torch.stack([step[1][key].flatten(self._dims).any(-1) for key in self._done_keys]).any(0)
        self._rows = done if rows is None else rows | done
        self._last = step
        return step

    def all(self) -> bool:
        """Whether every row has finished."""
        return self._rows is not None and bool(self._rows.all())

    def _frozen(self, key: NestedKey, value: Tensor, rows: Tensor) -> Tensor:
        is_reward = key in self._reward_keys
        return _chosen(rows, torch.zeros_like(value) if is_reward else self._last[1].get(key, value), value)


def _chosen(rows: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """`inside` in the rows of a mask `[*B]`, `outside` elsewhere."""
    return torch.where(rows.reshape(rows.shape + (1,) * (outside.ndim - rows.ndim)), inside, outside)


def _check_arguments(
    max_steps: int, auto_reset: bool, tensordict: TensorDictBase | None, any_done: bool, all_done: bool
) -> None:
    _check_type(max_steps)
    if max_steps < 1:
        raise ValueError(message("rollout", "max_steps too small", expected=">= 1", found=max_steps))
    if not auto_reset and tensordict is None:
        raise ValueError(
            message(
                "rollout", "auto_reset=False without tensordict", fix="Pass tensordict=env.reset(), or auto_reset=True"
            )
        )
    if any_done and all_done:
        raise ValueError(
            message(
                "rollout",
                "break_when_any_done and break_when_all_done are both set",
                fix="Pass break_when_any_done=False with break_when_all_done=True",
            )
        )


def _check_type(max_steps: object) -> None:
    if not isinstance(max_steps, int):
        fix, found = "Call env.rollout(max_steps, policy)", type(max_steps).__name__
        raise TypeError(message("rollout", "max_steps", expected="an integer", found=found, fix=fix))


def _first_root(env: "EnvBase", auto_reset: bool, tensordict: TensorDictBase | None) -> FlatDict:
    start = env.reset(tensordict) if auto_reset or tensordict is None else tensordict
    return {key: value for key, value in unpack_flat(start).items() if key[0] != "next"}


def _done_keys(env: "EnvBase") -> list[NestedKey]:
    keys = [canonical_key(key) for key in env.done_keys]
    return [key for key in keys if (key if isinstance(key, str) else key[-1]) == "done"] or keys


def _policy(env: "EnvBase", policy: Callable[..., Any], auto_cast: bool) -> PolicyPlan:
    first = next(policy.parameters(), None) if auto_cast and isinstance(policy, nn.Module) else None
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


def _truncated(following: FlatDict, done_keys: list[NestedKey]) -> FlatDict:
    """What the last step returned, its rows that are not done truncated."""
    changed = dict(following)
    for done in done_keys:
        path = (done,) if isinstance(done, str) else done
        truncated = canonical_key((*path[:-1], "truncated"))
        changed[truncated] = changed[truncated] | ~changed[done]
        changed[done] = torch.ones_like(changed[done])
    return changed


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
    stacked_after = {key: torch.stack(values, dim) for key, values in after.items()}
    stacked: FlatDict = {}
    for key in roots[0]:
        values = [root[key] for root in roots]
        stacked[key] = (
            _stacked_root(values, after[key], stacked_after[key], dim) if key in after else torch.stack(values, dim)
        )
    stacked.update({join_key("next", key): value for key, value in stacked_after.items()})
    result: TensorDict = pack_flat(stacked, torch.Size((*batch_size, len(steps))), device)
    result.names = [*([None] * dim), "time"]
    return result


def _stacked_root(values: list[Tensor], after: list[Tensor], stacked_after: Tensor, dim: int) -> Tensor:
    """`torch.stack(values, dim)`, where most values are what the step before returned, `after`, stacked already."""
    pairs = enumerate(zip(values[1:], after, strict=False), 1)
    others = [index for index, (value, moved) in pairs if value is not moved]
    if 4 * len(others) > len(values):
        return torch.stack(values, dim)
    stacked = torch.cat((values[0].unsqueeze(dim), stacked_after.narrow(dim, 0, len(values) - 1)), dim)
    for index in others:
        stacked.select(dim, index).copy_(values[index])
    return stacked
