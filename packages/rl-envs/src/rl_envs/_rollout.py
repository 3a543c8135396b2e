"""A policy in an environment for a number of steps."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from rl_envs._env_plan import RESET_KEY, EnvPlan, FlagGroup, flag_groups, outermost
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs._input_checks import check_first_action, check_root
from rl_envs._plain_network import as_policy
from rl_envs._policy_plan import PolicyPlan, plan_policy
from rl_envs._reset_masks import done_rows
from rl_envs._rollout_out import check_out, written_steps
from rl_envs._row_choice import chosen_rows
from rl_envs._step_stack import Step, StepStack, merged
from rl_specs import FlatDict, NestedKey, canonical_key, message

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
    if options.return_contiguous is None:
        options = replace(options, return_contiguous=not env.has_dynamic_specs)
    plan = EnvPlan(env)
    act = plan.random_policy() if policy is None else _policy(env, policy, options)
    stack = _steps(env, plan, act, max_steps, options)
    if options.out is not None:
        return written_steps(options.out, stack.steps(), len(env.batch_size))
    device = options.storing_device or env.device
    return stack.batch(device) if options.return_contiguous else stack.lazy(device)


def _steps(env: "EnvBase", plan: EnvPlan, act: PolicyPlan, max_steps: int, options: RolloutOptions) -> StepStack:
    root = _first_root(env, plan, options)
    specs = env._env_specs()
    groups = _done_groups(env)
    done_keys = [group[0] for group in outermost(groups)]
    stack = StepStack(
        env.batch_size,
        change_last=(lambda following: _truncated(following, groups)) if options.set_truncation else None,
        may_change=lambda: env._env_specs() is not specs,
        keeps_steps=options.out is not None or not options.return_contiguous,
    )
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
        stack.append(step if device is None else (_moved(step[0], device), _moved(step[1], device)))
        if callback is not None:
            callback(env, pack_flat(merged(step), env.batch_size, env.device))
        if finished is not None:
            if finished.all():
                break
        elif options.break_when_any_done and any(bool(following[key].any()) for key in done_keys):
            break
        if index + 1 < max_steps:
            root = plan.advance(root, following)[0]
    return stack


def _moved(entries: FlatDict, device: torch.device) -> FlatDict:
    return {key: value.to(device) for key, value in entries.items()}


class _FinishedRows:
    """Rows of the batch that have been done once: their steps repeat the last state, with no reward."""

    def __init__(self, env: "EnvBase", done_keys: list[NestedKey]) -> None:
        self._rows: Tensor | None = None
        self._dims = len(env.batch_size)
        self._done_keys = done_keys
        self._reward_keys = {canonical_key(key) for key in env.reward_keys}
        self._last: Step = {}, {}

    def freeze(self, step: Step) -> Step:
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
    _check_callback(options.callback)
    if options.out is not None and options.return_contiguous is False:
        problem = "out is given, and a lazy stack asked for"
        raise ValueError(message("rollout", problem, fix="Pass return_contiguous=True, or no out"))


def _check_callback(callback: object) -> None:
    if callback is not None and not callable(callback):
        found, fix = type(callback).__name__, "Pass a function of the env and the TensorDict of the step"
        raise TypeError(message("rollout", "callback", expected="a callable", found=found, fix=fix))


def _check_type(max_steps: object) -> None:
    if not isinstance(max_steps, int):
        fix, found = "Call env.rollout(max_steps, policy)", type(max_steps).__name__
        raise TypeError(message("rollout", "max_steps", expected="an integer", found=found, fix=fix))


def _first_root(env: "EnvBase", plan: EnvPlan, options: RolloutOptions) -> FlatDict:
    given = options.tensordict
    if options.auto_reset or given is None:
        start: TensorDictBase = env.reset(given)
    else:
        check_root("rollout: tensordict", given, env.batch_size)
        start = given
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
