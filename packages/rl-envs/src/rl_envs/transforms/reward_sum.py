"""The return of the episode so far."""

from collections.abc import Iterable
from typing import ClassVar, final

import torch
from tensordict import TensorDictBase

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import (
    already_there,
    flags_among,
    kept_outside,
    missing_carried,
    no_forward,
    open_sizes,
)
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Composite, NestedKey, TensorMap, Unbounded, canonical_keys, message


@final
class RewardSum(Transform):
    """Adds up rewards since the last reset.

    At a reset the sum is zero; a step writes `root[out] + next[in]` to `next[out]`. The running sum lives in the data,
    in the dtype of the reward, but float32 at least, or int64 for integers and bools.

    Args:
        in_keys: entries to sum, default every reward of the environment; a cost among the observations works too.
        out_keys: names of the sums, default `"episode_reward"` (`"episode_" + name` for a reward of another name).
        reset_keys: masks to read at a reset instead of `"_reset"`, one per reward; rows outside keep their sums.
    Raises:
        ValueError: in, out and reset keys differ in number.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        *,
        reset_keys: Iterable[NestedKey] | NestedKey | None = None,
    ) -> None:
        self._finds_keys = in_keys is None and out_keys is None and reset_keys is None
        names = ["reward"] if in_keys is None else canonical_keys(in_keys)
        super().__init__(names, [_sum_name(key) for key in names] if out_keys is None else out_keys)
        self._check_lengths()
        self._reset_keys = None if reset_keys is None else canonical_keys(reset_keys)
        if self._reset_keys is not None and len(self._reset_keys) != len(names):
            found = f"{len(self._reset_keys)} reset_keys"
            raise ValueError(message("RewardSum", "lengths differ", expected=f"{len(names)}, as in_keys", found=found))
        self._forms: list[tuple[torch.Size, torch.dtype, torch.device | None]] = []
        self._batch_dims = 0

    def _bind(self, specs: EnvSpecs) -> list[str]:
        if self._finds_keys:
            names = [key for key, _ in specs.reward.flat_items()]
            self._set_keys(names, [_sum_name(key) for key in names])
        leaves = {**dict(specs.observation.flat_items()), **dict(specs.reward.flat_items())}
        opened = open_sizes(self.in_keys, (specs.observation, specs.reward), "what differs in size is not summed up")
        if opened:
            return opened
        found = [leaves[key].zero() for key in self.in_keys if key in leaves]
        self._forms = [(zero.shape, _sum_dtype(zero.dtype), zero.device) for zero in found]
        self._batch_dims = len(specs.observation.shape)
        clashes = already_there("out_keys", self.out_keys, specs) + flags_among(self.in_keys, specs)
        return self._check_wiring(specs, reads_root=False) + clashes

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return dict.fromkeys(self.out_keys, True)

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        for (reward_key, sum_key), (_, dtype, _) in zip(self._pairs, self._forms, strict=True):
            before = data.get(sum_key, None)
            if before is None:
                raise missing_carried("RewardSum", sum_key, data)
            reward = next_data.get(reward_key, None)
            if reward is None:
                raise self._missing(reward_key, next_data)
            total = before + reward
            next_data[sum_key] = total if total.dtype is dtype else total.to(dtype)  # a later transform may cast it
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        for position, (_, sum_key) in enumerate(self._pairs):
            shape, dtype, device = self._forms[position]
            zero = torch.zeros(shape, dtype=dtype, device=device)
            mask_key = None if self._reset_keys is None else self._reset_keys[position]
            reset_data[sum_key] = kept_outside(data, mask_key, zero, sum_key, self._batch_dims)
        return reset_data

    def _reads(self) -> list[NestedKey]:
        return [*self.in_keys, *self.out_keys]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: the sum needs the steps of an environment in their order."""
        raise no_forward("RewardSum")

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the sums, unbounded."""
        for (_, sum_key), (shape, dtype, device) in zip(self._pairs, self._forms, strict=False):
            observation_spec[sum_key] = Unbounded(shape=shape, dtype=dtype, device=device)
        return observation_spec

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Unchanged."""
        return reward_spec


def _sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype in which many numbers can be added up."""
    return torch.promote_types(dtype, torch.float32) if dtype.is_floating_point else torch.int64


def _sum_name(key: NestedKey) -> NestedKey:
    return f"episode_{key}" if isinstance(key, str) else (*key[:-1], f"episode_{key[-1]}")
