"""Several Gymnasium envs, stepped one after the other, gathered in one batch."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from tensordict import NonTensorStack
from torch import Tensor

from rl_envs._closing import close_every
from rl_envs.gym._backend import Backend, Options, begun, codecs, sampled_infos, skipped_step, stepped
from rl_envs.gym._info_plan import InfoPlan
from rl_envs.gym._render import rendered
from rl_specs import FlatDict, TensorMap


@final
class LoopBackend(Backend):
    """Runs a list of envs with the same spaces.

    Args:
        envs: `gymnasium.Env` objects.
        options: how to run them.
    """

    def __init__(self, envs: list[Any], options: Options) -> None:
        super().__init__(len(envs))
        self.batch_size = torch.Size((len(envs),))
        self.observation_space = envs[0].observation_space
        self.action_space = envs[0].action_space
        self._envs = envs
        self._options = options
        self._observations, self._actions = codecs(self, options)

    def reset(self, rows: np.ndarray[Any, Any] | None) -> FlatDict:
        """See `Backend`. Rows that are not reset come back as zeros."""
        seeds = self.take_seeds(rows)
        concerned = range(len(self._envs)) if rows is None else rows.nonzero()[0].tolist()
        results = [begun(self._envs[row], seeds[row]) for row in concerned]
        entries = self._observed([observation for observation, _ in results], concerned)
        if self._infos is not None:
            entries.update(self._infos.read_rows([info for _, info in results]))
        if rows is None:
            return entries
        return {key: self._spread(value, rows) for key, value in entries.items()}

    def step(self, data: TensorMap) -> FlatDict:
        """See `Backend`."""
        count = len(self._envs)
        actions = self._actions.decode_rows(data, count)
        skip = self._options.frame_skip
        if skip == 1:
            results = [env.step(action) for env, action in zip(self._envs, actions, strict=True)]
        else:
            results = [skipped_step(env, action, skip) for env, action in zip(self._envs, actions, strict=True)]
        try:
            values, rewards, terminated, truncated, infos = zip(*results, strict=True)
        except (TypeError, ValueError):
            for env, result in zip(self._envs, results, strict=True):
                stepped(env, result)  # says which it is
            raise
        flags = np.zeros((3, count, 1), dtype=np.bool_)
        if any(terminated) or any(truncated):
            flags[1:, :, 0] = terminated, truncated
            np.logical_or(flags[1], flags[2], out=flags[0])
        entries = self._observed(values, range(count))
        if self._infos is not None:
            entries.update(self._infos.read_rows(infos))
        entries["reward"] = torch.from_numpy(np.array(rewards, dtype=np.float32).reshape(count, 1))
        entries["done"], entries["terminated"], entries["truncated"] = map(torch.from_numpy, flags)
        return entries

    def sample_infos(self) -> list[dict[str, Any]]:
        """See `Backend`."""
        return sampled_infos(self._envs[0])

    def set_infos(self, plan: InfoPlan) -> None:
        """See `Backend`."""
        self._infos = plan

    def frame(self) -> Tensor:
        """See `Backend`."""
        return torch.from_numpy(np.stack([rendered(env) for env in self._envs]))

    def envs(self) -> list[Any]:
        """See `Backend`."""
        return list(self._envs)

    def close(self) -> None:
        """See `Backend`."""
        close_every(self._envs)

    def _observed(self, values: Sequence[Any], rows: Sequence[int]) -> FlatDict:
        """Entries of the envs in `rows`, which returned `values`."""
        if not self._options.from_pixels:
            return self._observations.encode_rows(values)
        entries: FlatDict = {} if self._options.pixels_only else self._observations.encode_rows(values)
        entries["pixels"] = torch.from_numpy(np.stack([rendered(self._envs[row]) for row in rows]))
        return entries

    def _spread(self, value: Any, rows: np.ndarray[Any, Any]) -> Any:
        """`value` in the `rows` of the whole batch, zeros elsewhere; of text and objects there, any."""
        if not isinstance(value, Tensor):
            places = (np.cumsum(rows) - 1).clip(min=0).tolist()
            return NonTensorStack(*[value[place] for place in places], stack_dim=0)
        values = value.numpy()
        whole = np.zeros((len(self._envs), *values.shape[1:]), dtype=values.dtype)
        whole[rows] = values
        return torch.from_numpy(whole)
