"""Episodes that start after some random steps."""

from typing import ClassVar, final

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from rl_envs._action_masks import ActionMasks
from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs._step_mdp import step_mdp
from rl_envs.transforms._carried import no_forward
from rl_envs.transforms._random_stream import RandomStream
from rl_envs.transforms._row_masks import end_keys
from rl_envs.transforms.transform import Transform
from rl_specs import NestedKey, TensorMap, canonical_key, message


@final
class NoopResetEnv(Transform):
    """Takes random actions after each reset, so that episodes start in different states.

    A flag of `InitTracker` stays up: the first step that the user sees is the first of the episode.

    Number and actions come from a random stream of the transform's own, seeded with the environment and part of
    `state_dict`. An episode that ends meanwhile is started anew and the steps go on. Only for an environment of
    one row: the others of a batch would be stepped too.

    Args:
        noops: number of steps, at most.
        random: draw the number uniformly from 1 to `noops`; otherwise take `noops`.
    Raises:
        ValueError: `noops` is negative.
    Source: Mnih et al. 2015, https://doi.org/10.1038/nature14236 (there with actions that do nothing)
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self, noops: int = 30, random: bool = True) -> None:
        super().__init__()
        if noops < 0:
            raise ValueError(message("NoopResetEnv", "noops too small", expected=">= 0", found=noops))
        self.noops = noops
        self.random = random
        self._first_flags: tuple[NestedKey, ...] = ()
        self._stream = RandomStream("NoopResetEnv")

    def set_seed(self, seed: int) -> None:
        """Restart the stream."""
        self._stream.set_seed(seed)

    def _bind(self, specs: EnvSpecs) -> list[str]:
        self._first_flags = specs.first_flags
        batch_size = specs.observation.shape
        if batch_size.numel() == 1:
            return []
        return [
            f"the environment has batch size {tuple(batch_size)}, and steps after a partial reset would move the other "
            "rows. Put NoopResetEnv into each environment of the batch"
        ]

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        parent = self.parent
        if parent is None:
            raise RuntimeError(
                message("NoopResetEnv", "not part of an environment", fix="Append it to a TransformedEnv")
            )
        mask = data.get("_reset", None)
        if mask is not None and not bool(mask.any()):
            return reset_data
        root: TensorDictBase = pack_flat(dict(unpack_flat(reset_data)), parent.batch_size, parent.device)
        specs = parent._env_specs()
        masks = ActionMasks(specs)
        count = self._draw_count()
        for _ in range(count):
            masks.follow(root)
            for key, spec in specs.action.flat_items():
                root.set(key, spec.rand(generator=self._stream.generator))
            root = step_mdp(parent.step(root), reward_keys=parent.reward_keys, action_keys=parent.action_keys)
            if any(bool(root[key].any()) for key in end_keys([canonical_key(key) for key in parent.done_keys])):
                root = parent.reset()
        if count:  # the steps before are none of the user's
            for key in self._first_flags:
                root.set(key, torch.ones_like(root.get(key)))
        return root if isinstance(reset_data, TensorDict) else unpack_flat(root)

    def _draw_count(self) -> int:
        if not self.random or self.noops == 0:
            return self.noops
        return int(self._stream.integers(1, self.noops, torch.Size(()), device=None))

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: there is no environment to step."""
        raise no_forward("NoopResetEnv")

    def get_extra_state(self) -> Tensor:
        """State of the random stream."""
        return self._stream.state()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on with the random stream from `state`."""
        self._stream.load(state)

    def __repr__(self) -> str:
        return f"NoopResetEnv(noops={self.noops}, random={self.random})"
