"""Several rewards made one by a weighted sum."""

from collections.abc import Sequence
from typing import ClassVar, final

import torch
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._affine import as_parameter, follow_entries
from rl_envs.transforms._leaf_specs import dry_run
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Bounded, NestedKey, ShapeError, TensorSpec, key_str, message


@final
class LineariseRewards(Transform):
    """Weighted sum over the last dimension of a reward: `[*B, n]` becomes `[*B, 1]`.

        reward' = sum_i weights_i * reward_i

    Args:
        in_keys: rewards with several objectives; each is summed with the same weights.
        out_keys: names of the results; `in_keys` when left out.
        weights: `n` weights of any sign; None: all 1. A buffer, part of `state_dict`.
    """

    accepts_mapping: ClassVar[bool] = True
    weights: Tensor | None

    def __init__(
        self,
        in_keys: Keys | NestedKey,
        out_keys: Keys | NestedKey | None = None,
        *,
        weights: Sequence[float] | Tensor | None = None,
    ) -> None:
        super().__init__(in_keys, out_keys)
        self.register_buffer("weights", None if weights is None else as_parameter(weights).reshape(-1))

    def _bind(self, specs: EnvSpecs) -> list[str]:
        follow_entries(self, self.in_keys, specs.reward, specs.observation)
        problems = self._check_wiring(specs)
        if self.weights is None:
            return problems
        number = len(self.weights)
        return problems + [
            f"in_keys: {key_str(key)} has the shape {tuple(leaf.shape)}, and there are {number} weights"
            for key, leaf in specs.reward.flat_items()
            if key in self.in_keys and leaf.shape[-1:] != (number,)
        ]

    def _apply_transform(self, value: Tensor) -> Tensor:
        dtype = value.dtype if value.is_floating_point() else torch.get_default_dtype()
        weights = self.weights
        if weights is None:
            return value.sum(-1, keepdim=True).to(dtype)
        if value.shape[-1:] != weights.shape:
            problem, expected = "another number of rewards than weights", f"[*B, {len(weights)}]"
            raise ShapeError(message("LineariseRewards", problem, expected=expected, found=tuple(value.shape)))
        return (value * weights).sum(-1, keepdim=True).to(dtype)

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        form = dry_run(self._apply_transform, spec)
        if not isinstance(spec, Bounded) or spec.shape[-1:] == (-1,):  # a sum of any number has no bounds
            return form
        low, high = spec.space.low, spec.space.high
        if self.weights is not None:
            is_falling, is_nothing = self.weights < 0, self.weights == 0
            low, high = torch.where(is_falling, high, low), torch.where(is_falling, low, high)
            low, high = torch.where(is_nothing, 0, low), torch.where(is_nothing, 0, high)  # not 0 * inf
        lowest, highest = self._apply_transform(low), self._apply_transform(high)
        return Bounded(lowest, highest, shape=form.shape, dtype=form.dtype, device=form.device)
