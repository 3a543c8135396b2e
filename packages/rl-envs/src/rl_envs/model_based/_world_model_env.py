"""Imagined episodes in the latent space of a world model."""

from collections.abc import Callable
from typing import final

import torch
from tensordict.nn import TensorDictModuleBase

from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY
from rl_envs._flat import unpack_flat
from rl_envs._policy_plan import plan_policy
from rl_envs.model_based._base import ModelBasedEnvBase
from rl_specs import Composite, FlatDict, SpecError, TensorMap, canonical_keys, message, missing_key


@final
class WorldModelEnv(ModelBasedEnvBase):
    """Imagined episodes: a world model steps from latent state to latent state, with the actions of a real environment.

    `reset(data)` starts where `data` says, in a batch of any size: at its latent state, or at what the encoder makes of
    its real observations. Then `rollout(..., tensordict=data)` is differentiable in the actions. Where an imagined
    episode ends, `start` begins the next one; without it, imagination goes on from the last state.

    Args:
        world_model: reads the actions and the latent state; writes the next latent state and the rewards (and flags, if
            it predicts any), under their names or under `"next"`.
        base_env: the real environment; its action, reward and done specs, without the batch, are those of this one.
        latent_spec: the latent state of one environment, entry by entry.
        encoder: module from real observations to the latent state; it runs at a reset alone.
        start: called with a batch size, gives latent states to start from without data, and after an end.
        device: device of the tensors; None: that of `base_env`.
    Raises:
        SpecError: `latent_spec` has no entries or is batched.
    """

    accepts_mapping = True

    def __init__(
        self,
        world_model: TensorDictModuleBase,
        base_env: EnvBase,
        *,
        latent_spec: Composite,
        encoder: TensorDictModuleBase | None = None,
        start: Callable[[torch.Size], TensorMap] | None = None,
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__(world_model, device=base_env.device if device is None else device)
        if latent_spec.is_empty() or latent_spec.shape:
            expected, fix = "at least one entry and shape ()", "Give the spec of one environment's latent state"
            raise SpecError(message("WorldModelEnv", "latent_spec", expected=expected, found=latent_spec, fix=fix))
        place = self._device or torch.device("cpu")
        self.observation_spec = latent_spec.clone().to(place)
        self.state_spec = latent_spec.clone().to(place)
        self.action_spec = base_env.full_action_spec_unbatched.to(place)
        self.reward_spec = base_env.full_reward_spec_unbatched.to(place)
        self.done_spec = base_env.full_done_spec_unbatched.to(place)
        self.encoder = encoder
        self._start = start

    def _reset(self, data: TensorMap | None) -> FlatDict:
        names = [key for key, _ in self._specs.observation.flat_items()]
        entries = {} if data is None else dict(unpack_flat(data))
        if RESET_KEY not in entries or self._start is None:
            if all(name in entries for name in names):
                return {name: entries[name] for name in names}
            if self.encoder is not None and all(key in entries for key in canonical_keys(self.encoder.in_keys)):
                plan_policy(self.encoder, batch_size=self._batch_size, device=self._device)(entries)
                return {name: entries[name] for name in names}
        if self._start is None:
            fix = "Reset with a TensorDict that has it (or what the encoder reads), or give the environment a start"
            raise missing_key(f"{self._name}.reset", names[0], entries, fix=fix)
        first = self._start(self._batch_size)
        return {name: first[name] for name in names}

    def _to(self, device: torch.device) -> None:
        super()._to(device)
        if self.encoder is not None:
            self.encoder.to(device)
