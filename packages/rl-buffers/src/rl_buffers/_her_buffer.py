"""Hindsight experience replay: rows are sampled with goals that were reached later on."""

from collections.abc import Callable
from typing import Any, TypeAlias, Unpack, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_buffers._arguments import named_arguments
from rl_buffers._hindsight import HindsightSampler, HindsightStrategy
from rl_buffers._options import RingOptions
from rl_buffers._random_sampler import RandomSampler
from rl_buffers._round_robin_writer import RoundRobinWriter
from rl_buffers._sampler import Sampler
from rl_buffers._storage import Storage
from rl_buffers._tensordict_buffer import TensorDictBufferBase
from rl_specs import MissingKeyError, NestedKey, ShapeError, canonical_key, join_key, key_str, message, near_matches

GoalFunction: TypeAlias = Callable[[Tensor, Tensor, TensorDictBase], Tensor]


@final
class HERReplayBuffer(TensorDictBufferBase):
    """A `TensorDictReplayBuffer` that replaces goals of a batch by goals that were achieved (hindsight replay).

    Rows are stored as they come. When a batch is drawn, each of its rows is relabelled with probability `her_ratio`:
    its goal becomes the goal achieved by the step of another row, and its reward is computed for that goal. With `k`
    relabelled rows for each original one, `her_ratio` is `k / (k + 1)`.

    Rows are consecutive steps: of one environment, or of several where the storage keeps them side by side (`ndim=2`)
    or `trajectory_key` tells them apart. An episode ends where `end_key` is true, where `trajectory_key` changes, at
    the seam of the ring, and with the rows that a storage held before; goals are never taken from beyond. Batches have
    the entries `"index"`, `"goal_index"` (the row that the goal comes from, the row itself where it was not relabelled)
    and `"is_relabelled"`.

    Args:
        reward_fn: reward of a batch, called with achieved goal `[n, *goal]`, desired goal `[n, *goal]` and the batch,
            whose goals are replaced already; returns `[n]` or the shape of the stored rewards, as a tensor or an array.
            What it returns for rows that are not relabelled is not used.
        storage: as for `ReplayBuffer`, as are the arguments not listed here. The writer is a ring.
        her_ratio: part of the rows that are relabelled, on average, in [0, 1].
        strategy: where goals come from; see `HindsightStrategy`.
        terminated_fn: whether a step with that goal terminates, called as `reward_fn`; it replaces
            `("next", "terminated")` and `("next", "done")` of relabelled rows. None to leave them as they are.
        achieved_goal_key: entry of an observation that says which goal is achieved; read under `"next"`.
        desired_goal_key: entry of an observation that says which goal is pursued; replaced at the root, and under
            `"next"` where it is there.
        reward_key: the reward.
        end_key: true in the last row of an episode.
        trajectory_key: differs between episodes; None for `"episode"` or `("collector", "traj_ids")`, which collectors
            write, where the rows have one, and for `end_key` alone where not.
    Source: Andrychowicz et al. 2017, https://arxiv.org/abs/1707.01495
    """

    fixed_parts = "Build a HERReplayBuffer of the parts that it is to have"

    @named_arguments
    def __init__(
        self,
        *,
        reward_fn: GoalFunction,
        storage: Storage | None = None,
        sampler: Sampler | None = None,
        her_ratio: float = 0.8,
        strategy: HindsightStrategy | str = HindsightStrategy.FUTURE,
        terminated_fn: GoalFunction | None = None,
        achieved_goal_key: NestedKey = "achieved_goal",
        desired_goal_key: NestedKey = "desired_goal",
        reward_key: NestedKey = ("next", "reward"),
        end_key: NestedKey = ("next", "done"),
        trajectory_key: NestedKey | None = None,
        priority_key: NestedKey = "td_error",
        **options: Unpack[RingOptions],
    ) -> None:
        if not isinstance(her_ratio, int | float) or not 0 <= her_ratio <= 1:
            raise ValueError(message(self._name, "her_ratio", expected="a number in [0, 1]", found=repr(her_ratio)))
        for name, function in (("reward_fn", reward_fn), ("terminated_fn", terminated_fn)):
            if not callable(function) and (name == "reward_fn" or function is not None):
                fix = f"Give {name}=lambda achieved, desired, batch: (achieved == desired).all(-1), say"
                raise TypeError(message(self._name, name, expected="a function", found=repr(function), fix=fix))
        self._reward_fn = reward_fn
        self._terminated_fn = terminated_fn
        self._achieved_key = join_key("next", achieved_goal_key)
        self._goal_key = canonical_key(desired_goal_key)
        self._next_goal_key = join_key("next", desired_goal_key)
        self._reward_key = canonical_key(reward_key)
        needed = [self._achieved_key, self._goal_key, self._reward_key, canonical_key(end_key)]
        self._needed = needed if trajectory_key is None else [*needed, canonical_key(trajectory_key)]
        self._is_checked = False
        writer = RoundRobinWriter()
        hindsight = HindsightSampler(
            sampler if sampler is not None else RandomSampler(),
            writer,
            ratio=her_ratio,
            strategy=_strategy(strategy),
            end_key=end_key,
            trajectory_key=trajectory_key,
        )
        super().__init__(storage=storage, sampler=hindsight, writer=writer, priority_key=priority_key, **options)

    def _accept(self, data: Any, method: str) -> Any:
        data = super()._accept(data, method)
        if "goal_index" in data:
            data = data.exclude("goal_index", "is_relabelled")
        if not self._is_checked:
            self._check_dims(data, method)
            self._check_entries(data)
            self._is_checked = True
        return data

    def _check_dims(self, data: TensorDictBase, method: str) -> None:
        """A row is one step."""
        dims = self._storage.ndim - (method == "add")
        if method != "__setitem__" and data.ndim > dims:
            problem = "dimensions of the data, where a row is one step"
            expected, found = f"{dims} for a storage with ndim={self._storage.ndim}", list(data.batch_size)
            fix = f"Give the storage ndim={self._storage.ndim + data.ndim - dims} for data [*B, T], or flatten them"
            raise ShapeError(message(f"{self._name}.{method}", problem, expected=expected, found=found, fix=fix))

    def _check_entries(self, data: TensorDictBase) -> None:
        """The entries that relabelling reads are there, and goals are alike."""
        names = {canonical_key(key) for key in data.keys(True, True)}
        missing = [key for key in self._needed if key not in names]
        if missing:
            listed = ", ".join(key_str(key) for key in missing)
            have = sorted(key_str(key) for key in names)
            near = "".join(near_matches(key_str(key), have) for key in missing)
            arguments = "achieved_goal_key, desired_goal_key, reward_key, end_key, trajectory_key"
            fix = f"Store them with every row, or name others: {arguments}"
            raise MissingKeyError(message(self._name, f"missing from the rows: {listed}.{near}", found=have, fix=fix))
        goal, achieved = data[self._goal_key], data[self._achieved_key]
        if goal.shape != achieved.shape:
            expected = f"{list(goal.shape)} as {key_str(self._goal_key)}"
            problem = f"the shape of {key_str(self._achieved_key)}"
            fix = "A goal is replaced by what was achieved: name entries of one meaning"
            raise ShapeError(message(self._name, problem, expected=expected, found=list(achieved.shape), fix=fix))

    def _choose(self, count: int) -> tuple[Tensor, dict[str, Any]]:
        if not self._is_checked and len(self):
            self._check_entries(self._collate(self._storage.read(slice(0, 1))))
            self._is_checked = True
        return super()._choose(count)

    def _read(self, index: Tensor, info: dict[str, Any]) -> Any:
        info["goals"] = self._storage.read_entry(self._achieved_key, info["goal_index"])
        return super()._read(index, info)

    def _annotate(self, batch: Any, info: dict[str, Any]) -> Any:
        goals = info.pop("goals", None)
        batch = super()._annotate(batch, info)
        if goals is not None:
            self._relabel(batch, goals, info["is_relabelled"])
        return batch

    def _relabel(self, batch: TensorDictBase, goals: Tensor, mask: Tensor) -> None:
        """Replace the goals of some rows, and what depends on them."""
        goal = _choose(mask, goals, batch[self._goal_key])
        batch.set(self._goal_key, goal)
        if (after := batch.get(self._next_goal_key, None)) is not None:
            batch.set(self._next_goal_key, _choose(mask, goals, after))
        achieved = batch[self._achieved_key]
        stored = batch[self._reward_key]
        reward = self._result("reward_fn", self._reward_fn(achieved, goal, batch), stored)
        batch.set(self._reward_key, _choose(mask, reward, stored))
        if self._terminated_fn is not None:
            before = batch["next", "terminated"]
            terminated = self._result("terminated_fn", self._terminated_fn(achieved, goal, batch), before)
            terminated = _choose(mask, terminated, before)
            batch.set(("next", "terminated"), terminated)
            truncated = batch.get(("next", "truncated"), None)
            batch.set(("next", "done"), terminated.clone() if truncated is None else terminated | truncated)

    def _result(self, name: str, result: Any, stored: Tensor) -> Tensor:
        """What a function of the user returned, in the shape and dtype of what is stored."""
        try:
            value = torch.as_tensor(result)
        except (TypeError, ValueError, RuntimeError) as error:
            fix = f"Return a number for each row from {name}"
            problem, found = f"the result of {name}", type(result).__name__
            raise TypeError(message(self._name, problem, expected="a tensor", found=found, fix=fix)) from error
        if value.shape != stored.shape and value.shape != stored.shape[:1]:
            expected = f"{list(stored.shape[:1])} or {list(stored.shape)}"
            fix = f"Reduce over the entries of a goal in {name}, with .all(-1) or .norm(dim=-1) say"
            problem, found = f"the result of {name}", str(list(value.shape))
            raise ShapeError(message(self._name, problem, expected=expected, found=found, fix=fix))
        return value.detach().to(stored.device, stored.dtype).reshape(stored.shape)


def _choose(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` in the rows of a mask, `old` in the others."""
    return torch.where(mask.view(-1, *[1] * (old.ndim - 1)), new, old)


def _strategy(name: HindsightStrategy | str) -> HindsightStrategy:
    choices = [str(choice) for choice in HindsightStrategy]
    if name not in choices:
        problem = f"no strategy {name!r}.{near_matches(str(name), choices)}"
        raise ValueError(message("HERReplayBuffer", problem, expected=f"one of {', '.join(choices)}"))
    return HindsightStrategy(name)
