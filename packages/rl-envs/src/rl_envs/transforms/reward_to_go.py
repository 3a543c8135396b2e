"""Steps stored with the reward of the rest of their episode."""

from typing import final

import torch
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._returns import reward_to_go
from rl_envs.transforms._stored import as_trajectories, beside, frame_flags, read_stored, stored_only, under_next
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import NestedKey, TensorMap, canonical_key, message


@final
class Reward2GoTransform(Transform):
    """Writes the discounted sum of the rewards from each step to the end of its episode into what is to be stored.

        R_t = r_t + gamma * (1 - done_t) * R_{t+1}

    It acts on batches `[*B, T]` of whole episodes, through `inv`: as a transform of a replay buffer, or called by hand.
    An episode ends where `done` or `truncated` says so; the steps after the last end of a row are summed up to the end
    of the data. What an episode would have given after a truncation is not known and counts as nothing.

    Args:
        gamma: discount in [0, 1], per step; a tensor broadcasts to one step of the reward.
        in_keys: rewards, default `("next", "reward")`.
        out_keys: names of the sums; `in_keys` when left out.
        done_key: flag under `"next"`, `[*B, T, 1]` or of the shape of the reward.
        truncated_key: flag under `"next"` that ends an episode too, where there is one.
    Raises:
        ValueError: `gamma` is out of range, or in and out keys differ in number.
    """

    gamma: Tensor | None

    def __init__(
        self,
        gamma: float | Tensor = 1.0,
        in_keys: Keys | NestedKey | None = None,
        *,
        out_keys: Keys | NestedKey | None = None,
        done_key: NestedKey = "done",
        truncated_key: NestedKey = "truncated",
    ) -> None:
        rewards: Keys | NestedKey = ("next", "reward") if in_keys is None else in_keys
        super().__init__(in_keys_inv=rewards, out_keys_inv=out_keys)
        if len(self.in_keys_inv) != len(self.out_keys_inv):
            raise self._lengths_differ("in_keys", "out_keys", self.in_keys_inv, self.out_keys_inv)
        value = torch.as_tensor(gamma)
        if not bool(((value >= 0) & (value <= 1)).all()):
            raise ValueError(message("Reward2GoTransform", "gamma out of range", expected="in [0, 1]", found=gamma))
        self.register_buffer("gamma", value.detach().clone() if isinstance(gamma, Tensor) else None)
        self._discount = 0.0 if isinstance(gamma, Tensor) else float(gamma)
        self.done_key = canonical_key(done_key)
        self.truncated_key = canonical_key(truncated_key)

    def _inv_call(self, data: TensorMap) -> TensorMap:
        batch = as_trajectories("Reward2GoTransform", data, least=1)
        time = batch.ndim - 1
        done = read_stored("Reward2GoTransform", batch, under_next(self.done_key), "Store it, or give done_key")
        truncated = batch.get(under_next(self.truncated_key), None)
        if truncated is not None:
            done = done | truncated
        ended = frame_flags("Reward2GoTransform", self.done_key, done, batch.batch_size).any(-1)
        if not bool(ended.all()):
            problem = f"{int((~ended).sum())} of {ended.numel()} rows hold no end of an episode"
            fix = "Store whole episodes, or longer rows; done_key names the flag that ends them"
            raise RuntimeError(message("Reward2GoTransform", problem, fix=fix))
        gamma = self._discount if self.gamma is None else self.gamma
        for reward_key, sum_key in self._inv_pairs:
            reward = read_stored("Reward2GoTransform", batch, reward_key, "Store it, or rename with in_keys=[...]")
            is_last = done
            if done.shape != reward.shape and done.numel() == batch.numel():
                is_last = beside(done.reshape(batch.batch_size), reward).expand(reward.shape)
            batch[sum_key] = reward_to_go(reward, is_last, gamma, time)
        return batch

    def _bind(self, specs: EnvSpecs) -> list[str]:
        return stored_only("The reward to go is known when an episode has ended: give it to a replay buffer")

    def __repr__(self) -> str:
        gamma = self._discount if self.gamma is None else self.gamma
        return f"Reward2GoTransform(gamma={gamma}, in_keys={self.in_keys_inv}, out_keys={self.out_keys_inv})"
