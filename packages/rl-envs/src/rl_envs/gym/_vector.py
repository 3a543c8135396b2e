"""A Gymnasium `VectorEnv`, whichever way it starts its next episodes."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from rl_envs._row_choice import chosen_rows
from rl_envs.gym._backend import Backend, Options, codecs
from rl_envs.gym._info_plan import InfoPlan, split_infos
from rl_envs.gym._vector_kind import VectorKind, vector_kind
from rl_specs import FlatDict, MissingKeyError, TensorMap, message

Rows = np.ndarray[Any, Any]
_OF_FINAL_STEP = ("final_obs", "_final_obs", "final_info", "_final_info")


@final
class VectorBackend(Backend):
    """Runs a `VectorEnv` in any of the three autoreset modes, with the same data from each.

    In mode `SAME_STEP` the last observation of an episode comes from `info["final_obs"]`, what else is known of it from
    `info["final_info"]`, and the first observation of the next is kept until it is asked for. In modes `NEXT_STEP` and
    `DISABLED` the rows that are done are reset by a mask, so that there is no step that ignores its action.

    `SyncVectorEnv` and `AsyncVectorEnv` take a seed for each row. Others take one, which is that of their first row and
    holds from the next reset of all rows on.

    Args:
        env: a `gymnasium.vector.VectorEnv`.
        options: how to run it; frames and frame skipping are not available.
    Raises:
        ValueError: an autoreset mode that is not known, rows that cannot be reset one by one, or an option not
            available.
    """

    def __init__(self, env: Any, options: Options) -> None:
        super().__init__(env.num_envs, out_of_reach="the state of the envs in a VectorEnv")
        self.batch_size = torch.Size((env.num_envs,))
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space
        self._env = env
        self._kind: VectorKind = vector_kind(env)
        if options.frame_skip != 1 or options.from_pixels:
            raise ValueError(
                message(
                    "GymWrapper",
                    "frame_skip and from_pixels are not available over a VectorEnv",
                    fix="Use GymEnv(name, num_envs=..., frame_skip=...), or wrap the envs inside",
                )
            )
        self._observations, self._actions = codecs(self, options)
        self._restarted: Rows = np.zeros(env.num_envs, dtype=np.bool_)
        self._first: FlatDict = {}

    def reset(self, rows: Rows | None) -> FlatDict:
        """See `Backend`."""
        if rows is not None and self._has_first(rows):
            return self._take_first(rows)
        if rows is None or rows.all():
            self._restarted[:] = False
            return self._reset(self.take_seeds(None), None)
        self._kind.check_masked_reset()
        seeds: list[int | None] = self.take_seeds(rows) if self._kind.takes_seeds_of_rows else [None]
        self._restarted[rows] = False
        return self._reset(seeds, {"reset_mask": rows.copy()})

    def step(self, data: TensorMap) -> FlatDict:
        """See `Backend`."""
        count = len(self._restarted)
        observations, reward, terminated, truncated, info = self._env.step(self._actions.decode_batch(data, count))
        done = np.logical_or(terminated, truncated)
        entries = self._entries(observations, info)
        if self._kind.is_same_step:
            self._restarted = done
            if done.any():
                self._first = entries
                entries = self._with_final(entries, info, done)
        entries["reward"] = torch.from_numpy(np.array(reward, dtype=np.float32)).unsqueeze(-1)
        flags = torch.from_numpy(np.stack((done, terminated, truncated)).astype(np.bool_)).unsqueeze(-1)
        entries["done"], entries["terminated"], entries["truncated"] = flags.unbind()
        return entries

    def sample_infos(self) -> list[dict[str, Any]]:
        """See `Backend`."""
        first, second = self._env.reset()[1], self._env.step(self._env.action_space.sample())[-1]
        self._restarted[:] = False
        return [split_infos(_without_final(infos), len(self._restarted))[0] for infos in (first, second)]

    def set_infos(self, plan: InfoPlan) -> None:
        """See `Backend`."""
        self._infos = plan

    def frame(self) -> Tensor:
        """See `Backend`."""
        frames = self._env.render()
        if frames is None or len(frames) != len(self._restarted) or any(frame is None for frame in frames):
            fix = 'Make it with render_mode="rgb_array"'
            raise ValueError(message("GymWrapper", "the VectorEnv renders no frame for each row", fix=fix))
        return torch.from_numpy(np.stack(frames))

    def envs(self) -> list[Any]:
        """See `Backend`."""
        return []

    def close(self) -> None:
        """See `Backend`."""
        self._env.close()

    def _reset(self, seeds: list[int | None], options: dict[str, Any] | None) -> FlatDict:
        has_seed = any(seed is not None for seed in seeds)
        if options is None and not has_seed:
            observations, info = self._env.reset()
        else:
            seed = seeds if self._kind.takes_seeds_of_rows else seeds[0]
            observations, info = self._env.reset(seed=seed, options=options)
        return self._entries(observations, info)

    def _entries(self, observations: Any, info: Mapping[str, Any]) -> FlatDict:
        entries = self._observations.encode_batch(observations)
        if self._infos is not None:
            entries.update(self._infos.read_rows(split_infos(_without_final(info), len(self._restarted))))
        return entries

    def _has_first(self, rows: Rows) -> bool:
        """Whether the env has started the next episode of these rows itself, with no seed waiting for them."""
        if not self._kind.is_same_step or (rows & ~self._restarted).any():
            return False
        waiting = (seed for seed, row in zip(self.pending_seeds(), rows, strict=True) if row and seed is not None)
        if self._kind.takes_seeds_of_rows or rows.all():
            return next(waiting, None) is None
        return True

    def _take_first(self, rows: Rows) -> FlatDict:
        self._restarted = self._restarted & ~rows
        return {key: value.clone() for key, value in self._first.items()}

    def _with_final(self, entries: FlatDict, info: dict[str, Any], done: Rows) -> FlatDict:
        """`entries`, the rows that are done being those of the last step of their episodes."""
        if "final_obs" not in info:
            problem = 'an episode has ended in mode SAME_STEP, and info has no "final_obs"'
            fix = "Make it with autoreset_mode=AutoresetMode.DISABLED, or return the last observations there"
            component = f"GymWrapper({self._kind.name})"
            raise MissingKeyError(message(component, problem, found=f"info with {', '.join(map(str, info))}", fix=fix))
        final_values = [_row(info["final_obs"], row) if is_done else None for row, is_done in enumerate(done)]
        finals = self._observations.encode_rows(final_values)
        if self._infos is not None:
            infos = split_infos(info.get("final_info", {}), len(done))
            finals.update(self._infos.read_rows(infos))
        rows = torch.from_numpy(done)
        merged: FlatDict = {}
        for key, value in entries.items():
            where = rows.reshape(-1, *(1,) * (value.ndim - 1)) if isinstance(value, Tensor) else rows
            merged[key] = chosen_rows(key, where, finals[key], value)
        return merged


def _without_final(info: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in info.items() if name not in _OF_FINAL_STEP}


def _row(value: Any, row: int) -> Any:
    return {name: _row(inner, row) for name, inner in value.items()} if isinstance(value, dict) else value[row]
