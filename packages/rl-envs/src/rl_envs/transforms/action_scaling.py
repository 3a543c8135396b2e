"""Continuous actions in a range of their own outside the environment."""

from typing import ClassVar, final

from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._affine import as_parameter, follow_entries
from rl_envs.transforms._leaf_specs import monotone_image
from rl_envs.transforms._row_bounds import beside_stored, first_if_equal
from rl_envs.transforms._wiring import absent_keys, leaf_keys
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Bounded, Composite, LeafSpec, NestedKey, TensorMap, TensorSpec, key_str, message


@final
class ActionScaling(Transform):
    """Gives the policy actions in [-1, 1] and the environment those in its own bounds.

        standard_normal:      action = given * scale + loc               -1 is the lowest, 1 the highest
        not standard_normal:  action = given * 2 scale + (loc - scale)    0 is the lowest, 1 the highest

    `loc` and `scale` are the middle and half the width of the bounds in the action spec. Actions never leave these
    bounds by rounding. `forward`, as in a replay buffer, maps stored actions of the environment to those of the policy.

    Args:
        in_keys_inv: the action of the environment, one key, default `"action"`.
        out_keys_inv: its name outside, default the same.
        in_keys: the action that `forward` reads, default `in_keys_inv`; an empty list: none.
        out_keys: its name afterwards, default `in_keys`.
        loc: middle of the range in place of that of the spec; broadcasts to the action.
        scale: half its width, with `loc`; positive.
        standard_normal: -1 to 1, or 0 to 1.
    Raises:
        ValueError: more than one key, one constant without the other, or a scale that is not positive.
    """

    accepts_mapping: ClassVar[bool] = True
    loc: Tensor | None
    scale: Tensor | None

    def __init__(
        self,
        in_keys_inv: Keys | NestedKey | None = None,
        out_keys_inv: Keys | NestedKey | None = None,
        *,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        loc: float | Tensor | None = None,
        scale: float | Tensor | None = None,
        standard_normal: bool = True,
    ) -> None:
        inner: Keys | NestedKey = ["action"] if in_keys_inv is None else in_keys_inv
        super().__init__(inner if in_keys is None else in_keys, out_keys, in_keys_inv=inner, out_keys_inv=out_keys_inv)
        self._check_lengths()
        for name, keys in (("in_keys_inv", self.in_keys_inv), ("in_keys", self.in_keys)):
            if len(keys) > 1:
                fix = "Append one ActionScaling for each action"
                raise ValueError(message("ActionScaling", f"several {name}", expected="one", found=keys, fix=fix))
        if (loc is None) != (scale is None):
            found = "loc alone" if scale is None else "scale alone"
            raise ValueError(message("ActionScaling", "one constant given", expected="both or none", found=found))
        self.standard_normal = standard_normal
        self._takes_bounds = loc is None
        self.register_buffer("loc", None if loc is None else as_parameter(loc), persistent=False)
        self.register_buffer("scale", None if scale is None else as_parameter(scale), persistent=False)
        self._limits: tuple[Tensor, Tensor] | None = None
        self._row_dims: int | None = None  # of the bounds of the spec
        if scale is not None and not bool((as_parameter(scale) > 0).all()):
            raise ValueError(message("ActionScaling", "scale not positive", expected="> 0", found=scale))

    def _bind(self, specs: EnvSpecs) -> list[str]:
        read = [*leaf_keys(specs.action), *leaf_keys(specs.state)]
        problems = absent_keys(self.in_keys_inv, read, "in_keys_inv", "the environment reads")
        if problems:
            return problems
        follow_entries(self, self.in_keys_inv, specs.action, specs.state)
        leaves = {**dict(specs.state.flat_items()), **dict(specs.action.flat_items())}
        for key in self.in_keys_inv:
            bounds = _bounds(leaves[key], len(specs.action.shape))
            if bounds is None and self._takes_bounds:
                problem = f"in_keys_inv: {key_str(key)} has no finite bounds to take loc and scale from"
                return [f"{problem} ({leaves[key]}). Give both"]
            self._limits = bounds
            if bounds is not None and self._takes_bounds:
                low, high = bounds
                self._row_dims = len(leaves[key].shape) - len(specs.action.shape)
                self.loc, self.scale = (high + low) / 2, (high - low) / 2
        return []

    def _constants(self) -> tuple[Tensor, Tensor]:
        """Offset and factor of the map inwards."""
        loc, scale = self.loc, self.scale
        if loc is None or scale is None:
            fix = "Append it to a TransformedEnv (a clone of it keeps the bounds), or give loc and scale"
            raise RuntimeError(message("ActionScaling", "used before loc and scale are known", fix=fix))
        return (loc, scale) if self.standard_normal else (loc - scale, 2 * scale)

    def _apply_transform(self, value: Tensor) -> Tensor:
        offset, factor = self._constants()
        return ((value - offset) / factor).to(value.dtype)

    def _inv_apply_transform(self, value: Tensor) -> Tensor:
        offset, factor = self._constants()
        inner = (value * factor + offset).to(value.dtype)
        return inner if self._limits is None else inner.clamp(*self._limits)

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Map stored actions of the environment to those of the policy; returns the TensorDict.

        Raises:
            ShapeError: the bounds differ between the rows of the environment, and the data do not start with its batch.
        """
        for in_key, out_key in self._pairs:
            value = tensordict.get(in_key, None)
            if value is None:
                raise self._missing(in_key, tensordict)
            offset, factor = self._constants()
            if self._row_dims is not None:
                size = tensordict.batch_size
                offset = beside_stored("ActionScaling", offset, self._row_dims, size)
                factor = beside_stored("ActionScaling", factor, self._row_dims, size)
            tensordict[out_key] = ((value - offset) / factor).to(value.dtype)
        return tensordict

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Unchanged."""
        return observation_spec

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Unchanged."""
        return reward_spec

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        if not self._takes_bounds:
            return monotone_image(self._apply_transform, spec)
        assert isinstance(spec, LeafSpec)
        low = -1.0 if self.standard_normal else 0.0
        return Bounded(low, 1.0, shape=spec.shape, dtype=spec.dtype, device=spec.device)

    def __repr__(self) -> str:
        return f"ActionScaling(in_keys_inv={self.in_keys_inv}, standard_normal={self.standard_normal})"


def _bounds(spec: TensorSpec, batch_dims: int) -> tuple[Tensor, Tensor] | None:
    """Finite bounds of a floating-point spec, of one row, `[*A]`, where all have the same; None: it has none."""
    if not isinstance(spec, Bounded) or not spec.dtype.is_floating_point:
        return None
    low, high = spec.low, spec.high
    if not bool((low.isfinite() & high.isfinite()).all()):
        return None
    return first_if_equal((low, high), batch_dims)
