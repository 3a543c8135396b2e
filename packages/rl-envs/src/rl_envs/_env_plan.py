"""An environment as three plain calls over flat dicts: reset, step, advance.

What a step needs to know (which flags to complete, which entries move on to the next root, whether the env takes
mappings) is read from the specs and from the first step, once. `rollout`, `step_and_maybe_reset` and the collectors run
this plan.
"""

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._action_masks import ActionMasks, MaskedSpec
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs._output_checks import check_first_step, check_tensors, not_entries
from rl_envs._row_choice import chosen_rows
from rl_specs import FlatDict, NestedKey, TensorMap, TensorSpec, canonical_key, missing_key

if TYPE_CHECKING:
    from rl_envs._env_base import EnvBase

RESET_KEY = "_reset"
STEP_KEY = "_step"
_DRAWN_AT_ONCE = 1024
"""Elements of random actions that one draw makes at most."""
_FLAGS = ("done", "terminated", "truncated")
FlagGroup: TypeAlias = tuple[NestedKey, NestedKey, NestedKey]
"""Keys of `done`, `terminated` and `truncated` at one level."""


class EnvPlan:
    """Steps an environment over flat dicts, without a check that has been made before.

    Args:
        env: the environment; its specs are read here.
        is_branchless: apply the mask of a reset without a look at it on the CPU too, as is done on an accelerator, so
            that a step can be compiled. The numbers are the same.
    """

    def __init__(self, env: "EnvBase", *, is_branchless: bool = False) -> None:
        self._env = env
        self._takes_mapping = env.accepts_mapping
        self._batch_size = env.batch_size
        self._device = env.device
        self._is_batched = env.batch_size.numel() != 1
        self._syncs_freely = not is_branchless and (env.device is None or env.device.type == "cpu")
        self._done_keys = [canonical_key(key) for key in env.done_keys]
        self._flag_groups = flag_groups(self._done_keys)
        self._deciding_groups = outermost(self._flag_groups)
        rewards = {canonical_key(key) for key in env.reward_keys}
        self._action_items = list(env.full_action_spec.flat_items())
        self._done_items = list(env.full_done_spec.flat_items())
        self._not_carried = rewards
        self._not_kept = rewards | {canonical_key(key) for key in env.action_keys}
        self._is_connected = False
        self._has_reset = False
        self._dropped: list[NestedKey] = []
        self._only_done: NestedKey | None = None
        self._kept: list[NestedKey] = []
        self._written_ahead: list[NestedKey] | None = None
        self._incomplete_groups: list[FlagGroup] = []
        specs = env._env_specs()
        self._masks = ActionMasks(specs) if specs.action_masks else None
        self._follows_masks = self._masks is not None and not is_branchless

    @property
    def is_connected(self) -> bool:
        """Whether a step has been carried over, so that nothing is left to learn."""
        return self._is_connected

    def reset(self, root: TensorMap | None = None) -> FlatDict:
        """Root entries after a reset of everything, or of the rows that `root["_reset"]` names.

        Args:
            root: None, or root entries with the mask `"_reset"`, bool `[*B, 1]`.
        Returns:
            Root entries; rows outside the mask are those of `root`.
        """
        if root is None or root.get(RESET_KEY, None) is None:
            whole = self.fresh(root)
            if self._follows_masks:
                self.follow_masks(whole)
            return whole
        mask = root[RESET_KEY]
        before = dict(unpack_flat(root))
        before.pop(RESET_KEY)
        fresh, rows = self._reset_entries(root), len(self._batch_size)
        merged = merge_reset(before, fresh, mask, rows)
        outside = ~mask
        for key, spec in self._done_items:
            if key not in fresh:
                old = before.get(key)
                merged[key] = spec.zero() if old is None else old & _beside(outside, old, rows)
        if self._follows_masks:
            self.follow_masks(merged)
        return merged

    def fresh(self, root: TensorMap | None = None) -> FlatDict:
        """What `reset` merges in: entries for the whole batch, of use in the rows that are reset alone.

        An environment inside transforms takes this one: the root that it is given has their entries, not its own.
        """
        fresh = self._reset_entries(root)
        for key, spec in self._done_items:
            if key not in fresh:
                fresh[key] = spec.zero()
        return fresh

    def random_action(self, root: FlatDict) -> None:
        """Write actions drawn from the action spec into `root`, allowed ones where `root` holds a mask."""
        self.follow_masks(root)
        self._env._random_action(root, self._action_items)

    def random_policy(self) -> Callable[[FlatDict], None]:
        """`random_action` for the steps of one rollout: one draw for many of them, where every action is allowed.

        How many does not depend on the length of the rollout, so that a longer one begins like a shorter one.
        """
        numel = sum(spec.shape.numel() for _, spec in self._action_items)
        count = _DRAWN_AT_ONCE // max(1, numel)
        if count < 2 or self._masks is not None or not self._env._draws_any_action:
            return self.random_action
        ahead = [_drawn_ahead(key, spec, count) for key, spec in self._action_items]

        def draw(root: FlatDict) -> None:
            for actions in ahead:
                key, action = next(actions)
                root[key] = action

        return draw

    def follow_masks(self, data: TensorMap) -> None:
        """Set the masks of the action specs to those that `data`, entries of a root or a step, hold."""
        if self._masks is not None:
            self._masks.follow(data)

    def step(self, root: FlatDict) -> FlatDict:
        """Entries that the step returns (those of `("next", ...)`), done flags complete."""
        if self._takes_mapping:
            result = self._env._step(root)
        else:
            result = self._env._step(pack_flat(root, self._batch_size, self._device))
        try:
            nxt = unpack_flat(result)
        except TypeError:
            raise not_entries(type(self._env).__name__, "_step", result) from None
        if self._written_ahead is None:
            self._learn_step(root, nxt)
        for key in self._written_ahead or ():  # a recurrent policy writes its next state itself
            nxt[canonical_key(key[1:])] = root.pop(key)
        for done, terminated, truncated in self._incomplete_groups:
            complete_flags(nxt, done, terminated, truncated)
        if self._follows_masks:
            self.follow_masks(nxt)
        return nxt

    def advance(self, root: FlatDict, nxt: FlatDict) -> tuple[FlatDict, Tensor | None]:
        """The next root: entries of the step moved up, done rows reset.

        Args:
            root: entries before the step, with the policy's.
            nxt: what `step` returned.
        Returns:
            The new root, and the mask of rows that were reset, bool `[*B, 1]`; None when it is known that none was.
        """
        if not self._is_connected:
            self._connect(root, nxt)
        new = nxt.copy()
        for key in self._dropped:
            del new[key]
        for key in self._kept:
            new[key] = root[key]
        done = self._only_done
        mask = self._reset_mask(nxt) if done is None else nxt[done]
        if self._syncs_freely and not (bool(mask.any()) if self._is_batched else bool(mask)):
            return new, None
        return self.reset({**new, RESET_KEY: mask}), mask

    def _learn_step(self, root: FlatDict, nxt: FlatDict) -> None:
        env = self._env
        check_first_step(
            type(env).__name__,
            nxt,
            observation=env.full_observation_spec,
            reward=env.full_reward_spec,
            done=env.full_done_spec,
            groups=self._flag_groups,
        )
        self._written_ahead = [key for key in root if isinstance(key, tuple) and key[0] == "next"]
        self._incomplete_groups = incomplete_groups(self._flag_groups, nxt, set(self._done_keys))

    def _reset_entries(self, root: TensorMap | None) -> FlatDict:
        """What the env's reset returned; a flag that it left out is False in the rows that are reset."""
        if root is None or self._takes_mapping or isinstance(root, TensorDictBase):
            result = self._env._reset(root)
        else:
            result = self._env._reset(pack_flat(unpack_flat(root), self._batch_size, self._device))
        try:
            fresh = unpack_flat(result)
        except TypeError:
            raise not_entries(type(self._env).__name__, "_reset", result) from None
        if not self._has_reset:
            specs = self._env.full_observation_spec, self._env.full_done_spec
            check_tensors(f"{type(self._env).__name__}._reset", fresh, specs)
            self._has_reset = True
        return fresh

    def _connect(self, root: FlatDict, nxt: FlatDict) -> None:
        self._is_connected = True
        self._dropped = [key for key in nxt if key in self._not_carried]
        groups = self._deciding_groups
        if len(groups) == 1 and nxt[groups[0][0]].ndim == len(self._batch_size) + 1:
            self._only_done = groups[0][0]
        moved = set(nxt) | self._not_kept
        self._kept = [key for key in root if key not in moved]

    def _reset_mask(self, nxt: FlatDict) -> Tensor:
        groups = self._deciding_groups
        mask = nxt[groups[0][0]] if len(groups) == 1 else _any_done(nxt, groups)
        rows = len(self._batch_size)
        if mask.ndim > rows + 1:
            mask = mask.flatten(rows).any(-1, keepdim=True)
        return mask


def _drawn_ahead(key: NestedKey, spec: TensorSpec, count: int) -> Iterator[tuple[NestedKey, Any]]:
    """Random values of an entry, without end, drawn `count` at a time; one by one while the spec has a mask."""
    if not isinstance(spec, MaskedSpec):
        while True:
            for value in spec.rand((count,)).unbind(0):
                yield key, value
    while True:
        values = spec.rand((count if spec.mask is None else 1,)).unbind(0)
        mask = spec.mask
        for value in values:
            if spec.mask is not mask:  # an env may set it from step to step
                break
            yield key, value


def incomplete_groups(groups: list[FlagGroup], nxt: TensorMap, declared: Collection[NestedKey]) -> list[FlagGroup]:
    """The groups of which a step left out a flag that the specs declare; what the first step shows holds for all."""
    return [group for group in groups if any(key in declared and nxt.get(key, None) is None for key in group)]


def complete_flags(nxt: TensorMap, done: NestedKey, terminated: NestedKey, truncated: NestedKey) -> None:
    """Write the flags that a step left out: `done = terminated | truncated`; `done` alone is a termination."""
    have_done, have_terminated, have_truncated = (nxt.get(key, None) for key in (done, terminated, truncated))
    if have_terminated is None and have_truncated is None:
        if have_done is None:
            raise missing_key(
                "environment",
                done,
                unpack_flat(nxt),
                fix="Return done, or terminated and truncated, from _step for every group of flags",
            )
        nxt[terminated] = have_done.clone()
        nxt[truncated] = torch.zeros_like(nxt[done])
        return
    if have_terminated is None:
        nxt[terminated] = torch.zeros_like(have_truncated) if have_done is None else have_done & ~have_truncated
    if have_truncated is None:
        nxt[truncated] = torch.zeros_like(have_terminated) if have_done is None else have_done & ~have_terminated
    if have_done is None:
        nxt[done] = nxt[terminated] | nxt[truncated]


def merge_reset(before: FlatDict, fresh: FlatDict, mask: Tensor, batch_dims: int) -> FlatDict:
    """Entries of `fresh` in the rows of `mask`, of `before` elsewhere.

    Args:
        before: root entries before the reset.
        fresh: what the reset returned, for every row.
        mask: bool `[*B, 1]`.
        batch_dims: number of dimensions of `B`.
    Returns:
        A new flat dict; entries that the reset did not return stay as they were.
    """
    merged = dict(before)
    if mask.numel() == 1 and mask.device.type == "cpu" and not torch.compiler.is_compiling():
        if bool(mask):
            merged.update(fresh)
        return merged
    for key, value in fresh.items():
        old = before.get(key)
        merged[key] = value if old is None else _merged_entry(key, mask, value, old, batch_dims)
    return merged


def _merged_entry(key: NestedKey, mask: Tensor, value: Any, old: Any, batch_dims: int) -> Any:
    beside = _beside(mask, value, batch_dims) if isinstance(value, Tensor) else mask
    return chosen_rows(key, beside, value, old)


def _beside(mask: Tensor, value: Tensor, batch_dims: int) -> Tensor:
    """`mask`, bool `[*B, 1]`, with as many dimensions as `value`, `[*B, ...]`."""
    if value.ndim == mask.ndim == batch_dims + 1:
        return mask
    batch = mask.shape[:batch_dims]
    return mask.reshape(batch + (1,) * (value.ndim - batch_dims))


def flag_groups(done_keys: list[NestedKey]) -> list[FlagGroup]:
    """`(done, terminated, truncated)` keys, one triple per level that has flags."""
    prefixes: list[tuple[str, ...]] = []
    for key in done_keys:
        path = (key,) if isinstance(key, str) else key
        if path[-1] in _FLAGS and path[:-1] not in prefixes:
            prefixes.append(path[:-1])
    groups = []
    for prefix in prefixes:
        done, terminated, truncated = (canonical_key((*prefix, name)) for name in _FLAGS)
        groups.append((done, terminated, truncated))
    return groups


def outermost(groups: list[FlagGroup]) -> list[FlagGroup]:
    """The groups that decide on the end of an episode: those that no other group stands above.

    Flags at the root speak for the whole row; flags below them, such as those of agents one of which has dropped out,
    do not end it.
    """
    paths = [(group[0],)[:-1] if isinstance(group[0], str) else group[0][:-1] for group in groups]
    return [g for g, path in zip(groups, paths, strict=True) if not any(path[:n] in paths for n in range(len(path)))]


def _any_done(nxt: FlatDict, groups: list[FlagGroup]) -> Tensor:
    """Rows in which any group of flags says done, at the batch shape of the first (shortest) flag."""
    flags = sorted((nxt[group[0]] for group in groups), key=lambda flag: flag.ndim)
    mask = flags[0]
    for flag in flags[1:]:
        extra = flag.ndim - mask.ndim
        mask = mask | (flag.flatten(mask.ndim - 1, -1).any(-1, keepdim=True) if extra else flag)
    return mask
