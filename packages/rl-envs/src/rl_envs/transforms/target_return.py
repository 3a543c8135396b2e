"""The return that is still to be reached."""

from typing import ClassVar, Literal, final, get_args

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
from rl_specs import Composite, NestedKey, TensorMap, Unbounded, canonical_key, canonical_keys, message

TargetMode = Literal["reduce", "constant"]
"""Whether rewards are taken off the target."""


@final
class TargetReturn(Transform):
    """Tells the policy the return that it is to reach.

        reduce:    target_{t+1} = target_t - reward_{t+1}
        constant:  target_{t+1} = target_t

    The target lives in the data, of the shape of its reward and its dtype, but float32 at least, or torch's default
    dtype where rewards are integers. A program may write another one into the root.

    Args:
        target_return: the target at a reset.
        mode: `"reduce"` or `"constant"`.
        in_keys: rewards, default every reward of the environment.
        out_keys: targets, default `"target_return"` beside each reward.
        reset_key: mask to read at a reset instead of `"_reset"`; rows outside keep their targets.
    Raises:
        ValueError: another mode; in and out keys differ in number.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        target_return: float,
        mode: TargetMode = "reduce",
        *,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        reset_key: NestedKey | None = None,
    ) -> None:
        if mode not in get_args(TargetMode):
            raise ValueError(message("TargetReturn", "mode", expected=get_args(TargetMode), found=repr(mode)))
        self._finds_keys = in_keys is None and out_keys is None
        names = ["reward"] if in_keys is None else canonical_keys(in_keys)
        super().__init__(names, [_target_name(key) for key in names] if out_keys is None else out_keys)
        self._check_lengths()
        self.target_return = float(target_return)
        self.mode = mode
        self.reset_key = None if reset_key is None else canonical_key(reset_key)
        self._forms: list[tuple[torch.Size, torch.dtype, torch.device | None]] = []
        self._batch_dims = 0

    def _bind(self, specs: EnvSpecs) -> list[str]:
        if self._finds_keys:
            names = [key for key, _ in specs.reward.flat_items()]
            self._set_keys(names, [_target_name(key) for key in names])
        problems = self._check_wiring(specs, reads_root=False)
        targets = self.out_keys
        if len(set(targets)) < len(targets):
            problems.append(f"out_keys: several rewards have the same target {targets}. Give out_keys=[...]")
        leaves = {**dict(specs.observation.flat_items()), **dict(specs.reward.flat_items())}
        opened = open_sizes(self.in_keys, (specs.observation, specs.reward), "what differs in size is not summed up")
        if opened:
            return opened
        found = [leaves[key].zero() for key in self.in_keys if key in leaves]
        self._forms = [(zero.shape, _target_dtype(zero.dtype), zero.device) for zero in found]
        self._batch_dims = len(specs.observation.shape)
        return problems + already_there("out_keys", targets, specs) + flags_among(self.in_keys, specs)

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return dict.fromkeys(self.out_keys, True)

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        for (reward_key, target_key), (_, dtype, _) in zip(self._pairs, self._forms, strict=True):
            before = data.get(target_key, None)
            if before is None:
                raise missing_carried("TargetReturn", target_key, data)
            if self.mode == "reduce":
                reward = next_data.get(reward_key, None)
                if reward is None:
                    raise self._missing(reward_key, next_data)
                before = before - (reward.to(dtype) if reward.dtype is torch.bool else reward)
            next_data[target_key] = before if before.dtype is dtype else before.to(dtype)  # a later one may cast it
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        for (_, target_key), (shape, dtype, device) in zip(self._pairs, self._forms, strict=True):
            target = torch.full(shape, self.target_return, dtype=dtype, device=device)
            reset_data[target_key] = kept_outside(data, self.reset_key, target, target_key, self._batch_dims)
        return reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: the target needs the steps of an environment in their order."""
        raise no_forward("TargetReturn")

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the targets, unbounded."""
        for (_, target_key), (shape, dtype, device) in zip(self._pairs, self._forms, strict=False):
            observation_spec[target_key] = Unbounded(shape=shape, dtype=dtype, device=device)
        return observation_spec

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Unchanged."""
        return reward_spec

    def __repr__(self) -> str:
        return f"TargetReturn({self.target_return}, mode={self.mode!r}, keys={self.out_keys})"


def _target_name(key: NestedKey) -> NestedKey:
    return "target_return" if isinstance(key, str) else (*key[:-1], "target_return")


def _target_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32) if dtype.is_floating_point else torch.get_default_dtype()
