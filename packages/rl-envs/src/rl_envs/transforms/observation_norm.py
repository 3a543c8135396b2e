"""Entries shifted and scaled by constants, which can be estimated from the environment."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._affine import adopt_buffers, affine, as_parameter, check_divisor, follow_entries
from rl_envs.transforms._leaf_specs import monotone_image
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import (
    LeafSpec,
    NestedKey,
    SpecError,
    TensorSpec,
    Unbounded,
    canonical_key,
    join_key,
    key_str,
    message,
    missing_key,
)

_Constant = float | Sequence[float] | Tensor


@final
class ObservationNorm(Transform):
    """Affine map of observations.

        x * scale + loc            by default
        (x - loc) / scale          with standard_normal=True

    Actions, through the inverse keys, are mapped back: the environment gets that of which the map makes what the policy
    gave. `loc` and `scale` are given, or estimated by `init_stats` so that the result has mean 0 and deviation 1 under
    random actions, or loaded with `load_state_dict`. Using the transform before is an error.

    Args:
        loc: shift, broadcasts to the entries.
        scale: factor, broadcasts to the entries. Give both or neither.
        in_keys: entries to map, default every floating-point observation of the environment; sums and counts that
            transforms before this one carry, such as `episode_reward`, are left out.
        out_keys: names of the results; `in_keys` when left out.
        in_keys_inv: floating-point actions or states of the environment, default none.
        out_keys_inv: their names outside; `in_keys_inv` when left out.
        standard_normal: which of the two maps.
        eps: lowest deviation that `init_stats` estimates.
    Raises:
        ValueError: one of `loc` and `scale` is given without the other, or `scale` is zero and divided by.
    """

    accepts_mapping: ClassVar[bool] = True
    loc: Tensor | None
    scale: Tensor | None

    def __init__(
        self,
        loc: _Constant | None = None,
        scale: _Constant | None = None,
        *,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        in_keys_inv: Keys | NestedKey | None = None,
        out_keys_inv: Keys | NestedKey | None = None,
        standard_normal: bool = False,
        eps: float = 1e-6,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv=in_keys_inv, out_keys_inv=out_keys_inv)
        if (loc is None) != (scale is None):
            found = "loc alone" if scale is None else "scale alone"
            raise ValueError(message("ObservationNorm", "one constant given", expected="both or none", found=found))
        self.standard_normal = standard_normal
        self.eps = eps
        self._finds_keys = in_keys is None
        self.register_buffer("loc", None if loc is None else as_parameter(loc))
        self.register_buffer("scale", None if scale is None else as_parameter(scale))
        check_divisor("ObservationNorm", self.scale, divides=standard_normal or bool(self.in_keys_inv))

    @property
    def is_initialized(self) -> bool:
        """Whether `loc` and `scale` are there."""
        return self.loc is not None and self.scale is not None

    def init_stats(
        self,
        num_iter: int,
        reduce_dim: int | Sequence[int] = 0,
        *,
        cat_dim: int | None = None,
        key: NestedKey | None = None,
        keep_dims: Sequence[int] | None = None,
    ) -> None:
        """Estimate `loc` and `scale` from random steps in the environment, seen through the transforms before this one.

        The environment is left in the middle of an episode: reset it afterwards. Entries are `[*B, T, *F]`.

        Args:
            num_iter: steps to take, over as many episodes as that needs.
            reduce_dim: dimension, or dimensions, to take mean and deviation over.
            cat_dim: dimension along which episodes are joined, one of `reduce_dim`; default its only one.
            key: entry to read, default the only one of `in_keys`.
            keep_dims: of `reduce_dim`, those to keep with size 1.
        Raises:
            RuntimeError: the transform is in no environment, or has its constants already.
            ValueError: a dimension or a key does not fit, or a deviation would be that of a single value.
        """
        if self.is_initialized:
            fix = "Make a new ObservationNorm for other statistics"
            raise RuntimeError(message("ObservationNorm.init_stats", "loc and scale are set already", fix=fix))
        dims = (reduce_dim,) if isinstance(reduce_dim, int) else tuple(reduce_dim)
        if cat_dim is None:
            if len(dims) != 1:
                fix = "Give cat_dim, one of reduce_dim"
                raise ValueError(message("ObservationNorm.init_stats", "cat_dim not known with several dims", fix=fix))
            cat_dim = dims[0]
        if cat_dim not in dims:
            expected = f"one of reduce_dim {dims}"
            raise ValueError(message("ObservationNorm.init_stats", "bad cat_dim", expected=expected, found=cat_dim))
        data = torch.cat(self._random_frames(num_iter, self._stats_key(key)), cat_dim)
        mean, deviation = _moments(data, dims, () if keep_dims is None else tuple(keep_dims))
        deviation = deviation.clamp_min(self.eps)
        if not self.standard_normal:
            mean, deviation = -mean / deviation, 1 / deviation
        self.loc, self.scale = mean, deviation
        try:
            self._changed()
        except SpecError:
            self.loc = self.scale = None
            raise

    def _stats_key(self, key: NestedKey | None) -> NestedKey:
        if key is not None:
            return canonical_key(key)
        if len(self.in_keys) != 1:
            fix = "Give key, or one ObservationNorm to each entry"
            raise ValueError(message("ObservationNorm.init_stats", f"which of {self.in_keys} is not known", fix=fix))
        return self.in_keys[0]

    def _random_frames(self, num_iter: int, key: NestedKey) -> list[Tensor]:
        parent = self.parent
        if parent is None:
            fix = "Append the transform to a TransformedEnv first"
            raise RuntimeError(message("ObservationNorm.init_stats", "not part of an environment", fix=fix))
        if num_iter < 1:
            raise ValueError(message("ObservationNorm.init_stats", "bad num_iter", expected=">= 1", found=num_iter))
        frames: list[Tensor] = []
        steps = 0
        with torch.no_grad():
            while steps < num_iter:
                episode = parent.rollout(num_iter - steps)
                steps += episode.shape[-1]
                frame = episode.get(join_key("next", key), None)
                if frame is None:
                    known = episode["next"].keys(include_nested=True, leaves_only=True)
                    raise missing_key("ObservationNorm.init_stats", key, known, fix="Pass one of them as key")
                frames.append(frame)
        return frames

    # ------------------------------------------------------------------ data

    def _constants(self) -> tuple[Tensor, Tensor]:
        loc, scale = self.loc, self.scale
        if loc is None or scale is None:
            fix = "Call init_stats(num_iter=...), load a state_dict, or give loc and scale"
            raise RuntimeError(message("ObservationNorm", "used before loc and scale are set", fix=fix))
        return loc, scale

    def _apply_transform(self, value: Tensor) -> Tensor:
        return affine(value, *self._constants(), standard_normal=self.standard_normal)

    def _inv_apply_transform(self, value: Tensor) -> Tensor:
        return affine(value, *self._constants(), standard_normal=not self.standard_normal)

    def _bind(self, specs: EnvSpecs) -> list[str]:
        if self._finds_keys:
            others, leaves = self._left_alone(specs), specs.observation.flat_items()
            self._set_keys([key for key, leaf in leaves if key not in others and _is_float(leaf)], None)
        written, read = (specs.observation, specs.reward), (specs.action, specs.state)
        follow_entries(self, [*self.in_keys, *self.in_keys_inv], *written, *read)
        taken = [*specs.action.flat_items(), *specs.state.flat_items()]
        return self._check_wiring(specs) + [
            f"in_keys_inv: {key_str(key)} is not floating-point. Leave it out"
            for key, leaf in taken
            if key in self.in_keys_inv and not _is_float(leaf)
        ]

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        if self.is_initialized:
            return monotone_image(self._apply_transform, spec)
        zero = spec.zero()
        dtype = zero.dtype if zero.is_floating_point() else torch.get_default_dtype()
        return Unbounded(shape=spec.shape, dtype=dtype, device=zero.device)

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        return self._leaf_spec(spec)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        adopt_buffers(self, state_dict, prefix, ("loc", "scale"))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Apply it to entries at the root of stored data; returns that TensorDict.

        Raises:
            RuntimeError: no keys are given, and no environment has told which there are.
        """
        if not self.in_keys and self._finds_keys:
            fix = "Give in_keys; without, it has to be in an environment"
            raise RuntimeError(message("ObservationNorm", "in_keys are not known", fix=fix))
        return super().forward(tensordict)

    def __repr__(self) -> str:
        values = ""
        if self.loc is not None and self.scale is not None and self.loc.numel() == self.scale.numel() == 1:
            values = f"loc={self.loc.item():.4f}, scale={self.scale.item():.4f}, "
        inverse = f", in_keys_inv={self.in_keys_inv}" if self.in_keys_inv else ""
        return f"ObservationNorm({values}keys={self.in_keys}{inverse})"


def _is_float(leaf: TensorSpec) -> bool:
    return isinstance(leaf, LeafSpec) and leaf.dtype.is_floating_point


def _moments(data: Tensor, dims: tuple[int, ...], keep: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and deviation over `dims`, summed in float64; of the dimensions, `keep` stay with size 1."""
    axes = sorted(dim % data.ndim for dim in dims)
    kept = {dim % data.ndim for dim in keep}
    if not kept <= set(axes):
        problem = "keep_dims holds others than reduce_dim"
        raise ValueError(message("ObservationNorm.init_stats", problem, expected=axes, found=sorted(kept)))
    number = math.prod(data.shape[axis] for axis in axes)
    if number < 2:
        fix = "Take more steps (num_iter), or reduce over more dimensions (reduce_dim)"
        problem, expected = "a deviation of too few values", "at least 2 values each"
        raise ValueError(message("ObservationNorm.init_stats", problem, expected=expected, found=number, fix=fix))
    dtype = data.dtype if data.dtype in (torch.float32, torch.float64) else torch.get_default_dtype()
    data = data.double()
    drop = [axis for axis in axes if axis not in kept]
    mean, deviation = data.mean(axes, keepdim=True), data.std(axes, keepdim=True)
    return mean.squeeze(drop).to(dtype), deviation.squeeze(drop).to(dtype)
