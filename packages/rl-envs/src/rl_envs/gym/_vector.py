"""A Gymnasium `VectorEnv`, whichever way it starts its next episodes."""

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from rl_envs.gym._backend import Backend, Options, codecs
from rl_specs import FlatDict, TensorMap, message

Rows = np.ndarray[Any, Any]


@final
class VectorBackend(Backend):
    """Runs a `VectorEnv` in any of the three autoreset modes, with the same data from each.

    In mode `SAME_STEP` the last observation of an episode comes from `info["final_obs"]`, and the first of the next is
    kept until it is asked for. In modes `NEXT_STEP` and `DISABLED` the rows that are done are reset by a mask, so that
    there is no step that ignores its action.

    Args:
        env: a `gymnasium.vector.VectorEnv`.
        options: how to run it; frames and frame skipping are not available.
    Raises:
        ValueError: an autoreset mode that is not known, rows that cannot be reset one by one, or an option not
            available.
    """

    def __init__(self, env: Any, options: Options) -> None:
        super().__init__(env.num_envs)
        self.batch_size = torch.Size((env.num_envs,))
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space
        self._env = env
        self._is_same_step = _is_same_step(env)
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
            seeds = self.take_seeds(None)
            observations, _ = self._env.reset(seed=seeds if any(seed is not None for seed in seeds) else None)
            self._restarted[:] = False
            return self._observations.encode(observations)
        observations, _ = self._env.reset(seed=self.take_seeds(rows), options={"reset_mask": rows.copy()})
        self._restarted[rows] = False
        return self._observations.encode(observations)

    def step(self, data: TensorMap) -> FlatDict:
        """See `Backend`."""
        observations, reward, terminated, truncated, info = self._env.step(self._actions.decode(data))
        done = np.logical_or(terminated, truncated)
        entries = self._observations.encode(observations)
        if self._is_same_step:
            self._restarted = done
            if done.any():
                self._first = entries
                entries = self._with_final(entries, info, done)
        entries["reward"] = torch.from_numpy(np.array(reward, dtype=np.float32)).unsqueeze(-1)
        flags = torch.from_numpy(np.stack((done, terminated, truncated)).astype(np.bool_)).unsqueeze(-1)
        entries["done"], entries["terminated"], entries["truncated"] = flags.unbind()
        return entries

    def frame(self) -> Tensor:
        """See `Backend`; frames are not available over a `VectorEnv`."""
        raise ValueError(message("GymWrapper", "a VectorEnv renders no batch of frames"))

    def envs(self) -> list[Any]:
        """See `Backend`."""
        return []

    def close(self) -> None:
        """See `Backend`."""
        self._env.close()

    def _has_first(self, rows: Rows) -> bool:
        """Whether the env has started the next episode of these rows itself, with no seed waiting for them."""
        is_started = self._is_same_step and not (rows & ~self._restarted).any()
        return is_started and all(seed is None for seed, row in zip(self.pending_seeds(), rows, strict=True) if row)

    def _take_first(self, rows: Rows) -> FlatDict:
        self._restarted = self._restarted & ~rows
        return {key: value.clone() for key, value in self._first.items()}

    def _with_final(self, entries: FlatDict, info: dict[str, Any], done: Rows) -> FlatDict:
        final_values = [_row(info["final_obs"], row) if done[row] else None for row in range(len(done))]
        finals = self._observations.encode_rows(final_values)
        rows = torch.from_numpy(done)
        merged: FlatDict = {}
        for key, value in entries.items():
            where = rows.reshape(-1, *(1,) * (value.ndim - 1))
            merged[key] = torch.where(where, finals[key], value)
        return merged


def _is_same_step(env: Any) -> bool:
    """Whether the env starts the next episode within the step; False when its rows are reset by a mask."""
    from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

    mode = (env.metadata or {}).get("autoreset_mode")
    if mode is AutoresetMode.SAME_STEP:
        return True
    if mode is AutoresetMode.DISABLED:
        return False
    if mode is AutoresetMode.NEXT_STEP:
        if isinstance(env.unwrapped, SyncVectorEnv | AsyncVectorEnv):
            return False
        raise ValueError(
            message(
                f"GymWrapper({type(env.unwrapped).__name__})",
                "rows of this NEXT_STEP vector env cannot be reset one by one",
                fix="Make it with autoreset_mode=AutoresetMode.SAME_STEP, or use GymEnv(name, num_envs=...), with "
                'backend="envpool" for EnvPool',
            )
        )
    raise ValueError(
        message(
            f"GymWrapper({type(env.unwrapped).__name__})",
            'unknown metadata["autoreset_mode"]',
            expected="AutoresetMode.SAME_STEP, NEXT_STEP or DISABLED",
            found=mode,
            fix="Set it to what the env does",
        )
    )


def _row(value: Any, row: int) -> Any:
    return {name: _row(inner, row) for name, inner in value.items()} if isinstance(value, dict) else value[row]
