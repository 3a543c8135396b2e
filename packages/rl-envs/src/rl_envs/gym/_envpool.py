"""Environments of EnvPool: written in C++, stepped by native threads in one call."""

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from rl_envs.gym._backend import Backend, Options
from rl_envs.gym._codec import LeafCodec, leaf_codec
from rl_envs.gym._envpool_make import PoolRecipe
from rl_envs.gym._info_plan import InfoPlan, row_of
from rl_envs.gym._space_codec import SpaceCodec
from rl_specs import FlatDict, NestedKey, TensorMap, canonical_key, message

Array = np.ndarray[Any, Any]
_OWN_INFOS = ("info:env_id", "info:players.env_id")
"""What EnvPool keeps its rows apart by."""


@final
class EnvPoolBackend(Backend):
    """Runs a pool of EnvPool.

    A pool starts an episode by itself where it is stepped past the end of one, and ignores the action of that step.
    It never comes to that here: rows that are done are reset by their indices before they are stepped again, so the
    last observation of an episode is that of its last step, and the first of the next that of the reset.

    A pool takes its seeds when it is made, so that a reset of all rows after `seed` makes a new one; a reset of some
    rows leaves the seeds pending. The arrays of a step are new each time and are handed on without a copy. The pool
    is called through the methods `_send`, `_recv` and `_reset` of its binding: around these, EnvPool's `step` and
    `reset` build dicts of all infos, which with small environments takes longer than the step itself.

    Args:
        recipe: which environments, checked.
        options: how to run them.
    """

    def __init__(self, recipe: PoolRecipe, options: Options) -> None:
        super().__init__(recipe.num_envs, name=recipe.name, out_of_reach="the state of EnvPool's native simulators")
        self.batch_size = torch.Size((recipe.num_envs,))
        self._recipe = recipe
        spec = recipe.spec()
        self.observation_space, self.action_space = recipe.spaces()
        self._actions = SpaceCodec(self.action_space, key="action", categorical=options.categorical)
        self._action = _ActionArray(spec.action_array_spec[spec._action_keys[-1]], recipe.num_envs)
        self._names: list[str] = list(spec._state_keys)
        self._observed = _observation_entries(self._names, self.observation_space, options)
        self._reward, self._done, self._truncated, self._elapsed, self._env_id = map(
            self._names.index, ("reward", "done", "trunc", "elapsed_step", "info:env_id")
        )
        self._terminated = self._names.index("info:terminated") if "info:terminated" in self._names else None
        self._info_entries = [
            (index, canonical_key(tuple(name.removeprefix("info:").split("."))))
            for index, name in enumerate(self._names)
            if name.startswith("info:") and name not in _OWN_INFOS
        ]
        self._limit = recipe.own_time_limit(recipe.make_kwargs.get("max_episode_steps"))
        self._all = np.arange(recipe.num_envs, dtype=np.int32)
        self._pool: Any = None

    def reset(self, rows: Array | None) -> FlatDict:
        """See `Backend`. Rows that are not reset come back as zeros."""
        if rows is None or rows.all():
            seeds = self.take_seeds(None)
            if self._pool is None or any(seed is not None for seed in seeds):
                self.close()
                self._pool = self._recipe.pool(seeds)
            self._pool._reset(self._all)
            return self._entries(self._pool._recv())
        pool = self._started()
        pool._reset(np.flatnonzero(rows).astype(np.int32))
        arrays = pool._recv()
        entries: FlatDict = {}
        for index, key, codec in self._observed:
            full = np.zeros((len(rows), *arrays[index].shape[1:]), dtype=codec.dtype)
            full[arrays[self._env_id]] = arrays[index]
            entries[key] = codec.encode(full)
        if self._infos is not None:
            where = torch.from_numpy(arrays[self._env_id].astype(np.int64))
            for key, value in self._infos.read_columns(self._columns(arrays), len(where)).items():
                entries[key] = value.new_zeros((len(rows), *value.shape[1:])).index_copy_(0, where, value)
        return entries

    def step(self, data: TensorMap) -> FlatDict:
        """See `Backend`."""
        pool = self._started()
        pool._send([self._all, self._all, self._action.made_of(self._actions.decode(data))])
        arrays = pool._recv()
        entries = self._entries(arrays)
        done, terminated, truncated = self._flags(arrays)
        entries["reward"] = torch.from_numpy(arrays[self._reward].reshape(-1, 1))
        entries["done"] = torch.from_numpy(done.reshape(-1, 1))
        entries["terminated"] = torch.from_numpy(terminated.reshape(-1, 1))
        entries["truncated"] = torch.from_numpy(truncated.reshape(-1, 1))
        return entries

    def sample_infos(self) -> list[dict[str, Any]]:
        """See `Backend`; of a pool of its own, so that seeds that wait are left to the next reset."""
        pool = self._recipe.pool([None] * len(self._all))
        try:
            pool._reset(self._all)
            first = pool._recv()
            actions = np.stack([self.action_space.sample() for _ in self._all])
            pool._send([self._all, self._all, self._action.made_of(actions)])
            return [row_of(self._columns(arrays), 0) for arrays in (first, pool._recv())]
        finally:
            pool.close()

    def set_infos(self, plan: InfoPlan) -> None:
        """See `Backend`."""
        self._infos = plan

    def frame(self) -> Tensor:
        """See `Backend`; frames are not available over EnvPool."""
        raise ValueError(message(f"GymEnv({self._name})", "EnvPool renders no batch of frames"))

    def envs(self) -> list[Any]:
        """See `Backend`."""
        return []

    def close(self) -> None:
        """See `Backend`."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _entries(self, arrays: list[Array]) -> FlatDict:
        """Observations and infos of all rows."""
        entries: FlatDict = {key: codec.encode(_as(arrays[i], codec)) for i, key, codec in self._observed}
        if self._infos is not None:
            entries.update(self._infos.read_columns(self._columns(arrays), len(self._all)))
        return entries

    def _columns(self, arrays: list[Array]) -> dict[NestedKey, Array]:
        """Infos by name, one array for all rows."""
        return {key: arrays[index] for index, key in self._info_entries}

    def _started(self) -> Any:
        if self._pool is None:
            where = f'GymEnv({self._name}, backend="envpool")'
            raise RuntimeError(message(where, "stepped before the first reset", fix="Call reset() first"))
        return self._pool

    def _flags(self, arrays: list[Array]) -> tuple[Array, Array, Array]:
        """`done`, `terminated`, `truncated` of a step, arrays of their own."""
        done, truncated = arrays[self._done], arrays[self._truncated]
        if self._limit is not None:
            truncated = arrays[self._elapsed] >= self._limit
            return done | truncated, done, truncated
        terminated = done & ~truncated
        if self._terminated is not None:
            terminated |= arrays[self._terminated].astype(np.bool_) & done
        return done, terminated, truncated


class _ActionArray:
    """The array in which EnvPool takes actions.

    Args:
        spec: its dtype, shape and bounds.
        count: number of envs.
    """

    def __init__(self, spec: Any, count: int) -> None:
        self._dtype = np.dtype(spec.dtype)
        self._shape = (count, *tuple(spec.shape)[1:])
        self._bounds: tuple[Array, Array] | None = None
        if self._dtype == np.float64:
            low, high = np.asarray(spec.minimum), np.asarray(spec.maximum)
            if (low.astype(np.float32) < low).any() or (high.astype(np.float32) > high).any():
                self._bounds = low, high

    def made_of(self, actions: Array) -> Array:
        """`actions` in that form, inside the bounds where single precision rounds those outwards."""
        made = np.ascontiguousarray(actions, dtype=self._dtype).reshape(self._shape)
        return made if self._bounds is None else made.clip(*self._bounds)


def _as(values: Array, codec: LeafCodec) -> Array:
    return values if values.dtype == codec.dtype else values.astype(codec.dtype)


def _observation_entries(names: list[str], space: Any, options: Options) -> list[tuple[int, NestedKey, LeafCodec]]:
    """Index among the arrays of a step, key and codec of each observation."""
    found = [(index, name) for index, name in enumerate(names) if name == "obs" or name.startswith("obs:")]
    if len(found) == 1:
        return [(found[0][0], "observation", leaf_codec(space, categorical=options.categorical))]
    entries: list[tuple[int, NestedKey, LeafCodec]] = []
    for index, name in found:
        path = tuple(name.removeprefix("obs:").replace(":", ".").split("."))
        leaf = space
        for part in path:
            leaf = leaf[part]
        key: NestedKey = path[0] if len(path) == 1 else path
        entries.append((index, key, leaf_codec(leaf, categorical=options.categorical)))
    return entries
