"""Entries mapped by a function of one's own."""

from collections.abc import Callable
from typing import Any, ClassVar, final

from tensordict import NonTensorData, NonTensorStack
from torch import Tensor

from rl_envs.transforms._leaf_specs import dry_run
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import LeafSpec, NestedKey, TensorSpec, Unbounded


@final
class UnaryTransform(Transform):
    """Applies a function to each of some entries, batch and all.

    The spec of a result has the form of what the function makes of zeros (of the example of an entry that is no
    tensor), without bounds. A function that is a module is part of `state_dict`.

    Args:
        in_keys: entries that the function gets, one at a time.
        out_keys: names of the results.
        in_keys_inv: inner entries (actions), results of the inverse function.
        out_keys_inv: their names outside, where they have the form that `fn` makes of the inner ones.
        fn: from a value `[*B, ...]` to a tensor `[*B, ...]`; it changes nothing in the value.
        inv_fn: from an outer value to the inner one; `fn` when left out.
        use_raw_nontensor: hand entries that are no tensors over as TensorDicts hold them; otherwise as nested lists
            of Python objects (the object itself where there is no batch).
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        in_keys: Keys | NestedKey,
        out_keys: Keys | NestedKey,
        *,
        in_keys_inv: Keys | NestedKey | None = None,
        out_keys_inv: Keys | NestedKey | None = None,
        fn: Callable[[Any], Tensor],
        inv_fn: Callable[[Any], Any] | None = None,
        use_raw_nontensor: bool = False,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv=in_keys_inv, out_keys_inv=out_keys_inv)
        self._fn = fn
        self._inv_fn = fn if inv_fn is None else inv_fn
        self._use_raw_nontensor = use_raw_nontensor

    def _apply_transform(self, value: Tensor) -> Tensor:
        return self._fn(self._prepared(value))

    def _inv_apply_transform(self, value: Tensor) -> Tensor:
        result: Tensor = self._inv_fn(self._prepared(value))
        return result

    def _prepared(self, value: Any) -> Any:
        is_wrapped = isinstance(value, (NonTensorData, NonTensorStack)) and not self._use_raw_nontensor
        return value.tolist() if is_wrapped else value

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        if isinstance(spec, LeafSpec):
            return dry_run(self._apply_transform, spec)
        result = self._apply_transform(spec.zero())
        return Unbounded(shape=result.shape, dtype=result.dtype, device=result.device)

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        return self._leaf_spec(spec)
