"""Entries kept between two bounds."""

from typing import ClassVar, final

from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._clamping import as_bound, check_bounds, clamp, clamped_spec, unclamped_spec
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Bounded, NestedKey, TensorSpec, Unbounded, key_str


@final
class ClipTransform(Transform):
    """Clamps entries to `[low, high]`: observations and rewards on their way out, actions on their way in.

    Args:
        in_keys: entries to clamp on their way out.
        out_keys: names of the results; `in_keys` when left out.
        in_keys_inv: actions or states of the environment, clamped before a step. Their specs outside are unbounded
            where values are clamped: a Gaussian policy may give any action.
        out_keys_inv: their names outside; `in_keys_inv` when left out.
        low: lowest value; None: unbounded below.
        high: highest value; None: unbounded above.
    Raises:
        ValueError: no bound is given, one is no single number, or `low` is above `high`.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        *,
        in_keys_inv: Keys | NestedKey | None = None,
        out_keys_inv: Keys | NestedKey | None = None,
        low: float | Tensor | None = None,
        high: float | Tensor | None = None,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv=in_keys_inv, out_keys_inv=out_keys_inv)
        self._low, self._high = as_bound("ClipTransform", "low", low), as_bound("ClipTransform", "high", high)
        check_bounds("ClipTransform", ("low", "high"), self._low, self._high)

    @property
    def low(self) -> float | None:
        """Lowest value."""
        return self._low

    @property
    def high(self) -> float | None:
        """Highest value."""
        return self._high

    def _bind(self, specs: EnvSpecs) -> list[str]:
        problems = self._check_wiring(specs)
        taken = {**dict(specs.state.flat_items()), **dict(specs.action.flat_items())}
        for key in self.in_keys_inv if not problems else []:
            leaf = taken[key]
            if not isinstance(leaf, Bounded | Unbounded):
                problems.append(f"in_keys_inv: {key_str(key)} is of kind {type(leaf).__name__}, and has no bounds")
            elif isinstance(leaf, Bounded) and not self._meets(leaf):
                limits = f"low={self._low} and high={self._high}"
                problems.append(f"in_keys_inv: {key_str(key)} has no values between {limits}, its spec is {leaf}")
        return problems

    def _meets(self, spec: Bounded) -> bool:
        """Whether clamped values of an entry are values of its spec."""
        return bool(
            (clamp(spec.low, self._low, self._high) <= spec.high).all()
            and (clamp(spec.high, self._low, self._high) >= spec.low).all()
        )

    def _apply_transform(self, value: Tensor) -> Tensor:
        return clamp(value, self._low, self._high)

    def _inv_apply_transform(self, value: Tensor) -> Tensor:
        return clamp(value, self._low, self._high)

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        return clamped_spec(spec, self._low, self._high)

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        return unclamped_spec(spec, self._low, self._high)

    def __repr__(self) -> str:
        inverse = f", in_keys_inv={self.in_keys_inv}" if self.in_keys_inv else ""
        return f"ClipTransform(low={self._low}, high={self._high}, keys={self.in_keys}{inverse})"
