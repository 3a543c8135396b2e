"""Maps of dimensions of entries, whatever batch is in front."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._leaf_specs import monotone_image
from rl_envs.transforms.transform import Transform
from rl_specs import NestedKey, TensorMap, TensorSpec, key_str, message


class FeatureMap(Transform, ABC):
    """Base of maps that need to know how many dimensions of an entry are a batch.

    These are the batch dimensions of the environment or, in `forward`, those of the TensorDict. A subclass writes
    `_map`, and `_inv_map` where it has an inverse.
    """

    accepts_mapping: ClassVar[bool] = True
    _batch_dims: int = 0

    @abstractmethod
    def _map(self, value: Tensor, batch_dims: int) -> Tensor:
        """New value of one entry, whose first `batch_dims` dimensions are a batch; never changes `value` itself."""

    def _inv_map(self, value: Tensor, batch_dims: int) -> Tensor:
        """What the environment inside gets for one entry; as `_map`."""
        raise NotImplementedError(message(type(self).__name__, "has no inverse"))

    def _apply_transform(self, value: Tensor) -> Tensor:
        return self._map(value, self._batch_dims)

    def _inv_apply_transform(self, value: Tensor) -> Tensor:
        return self._inv_map(value, self._batch_dims)

    def _inv_call(self, data: TensorMap) -> TensorMap:
        for inner, outer in self._inv_pairs:
            value = data.get(outer, None)
            if value is None:
                raise self._missing(outer, data)
            data[inner] = self._inv_map_of(inner, value, self._batch_dims)
        return data

    def _bind(self, specs: EnvSpecs) -> list[str]:
        self._batch_dims = len(specs.observation.shape)
        return self._check_wiring(specs)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Map entries at the root of a TensorDict, whose batch dimensions count; returns that TensorDict."""
        batch_dims = len(tensordict.batch_size)
        for in_key, out_key in self._pairs:
            value = tensordict.get(in_key, None)
            if value is None:
                raise self._missing(in_key, tensordict)
            tensordict.set(out_key, self._map(value, batch_dims))
        return tensordict

    def inv(self, tensordict: TensorDictBase) -> TensorDictBase:
        """What a replay buffer stores of `tensordict`, whose batch dimensions count; it is not changed itself."""
        data, batch_dims = tensordict.copy(), len(tensordict.batch_size)
        for inner, outer in self._inv_pairs:
            value = data.get(outer, None)
            if value is None:
                raise self._missing(outer, data)
            data.set(inner, self._inv_map_of(inner, value, batch_dims))
        return data

    def _moved_spec(self, spec: TensorSpec, move: Callable[[TensorSpec], TensorSpec]) -> TensorSpec:
        """Spec of an entry whose elements come elsewhere: `move` of its own or, with an open size, shape and bounds."""
        return monotone_image(self._apply_transform, spec) if spec.is_dynamic else move(spec)

    def _inv_map_of(self, inner: NestedKey, value: Tensor, batch_dims: int) -> Tensor:
        """`_inv_map`, for the entry `inner`."""
        return self._inv_map(value, batch_dims)


def checked_dim(component: str, name: str, dim: int, allow_positive_dim: bool) -> int:
    """`dim`, where it may be one.

    Args:
        component: class that asks, for messages.
        name: what the class calls the dimension.
        dim: counted from the end when negative, else from the first dimension after the batch.
        allow_positive_dim: whether it may be counted from there.
    Raises:
        ValueError: `dim` is not negative, and that is not allowed.
    """
    if dim >= 0 and not allow_positive_dim:
        fix = "Count from the end, or pass allow_positive_dim=True to count from the first dimension after the batch"
        raise ValueError(message(component, f"{name} is not negative", expected=f"{name} < 0", found=dim, fix=fix))
    return dim


def dims_needed(*dims: int, adds: int = 0) -> int:
    """How many dimensions a row has to have for `dims`, of which `adds` are new ones, to be among them."""
    return max(dim + 1 if dim >= 0 else -dim for dim in dims) - adds


def short_rows(transform: Transform, specs: EnvSpecs, needed: int) -> list[str]:
    """Problems, in words, of entries whose rows have too few dimensions, so that those of the batch would be taken.

    Args:
        transform: has the keys of the entries.
        specs: specs of the environment before it.
        needed: dimensions of a row that it takes, at least.
    """
    outputs, inputs = (specs.observation, specs.reward, specs.done), (specs.action, specs.state)
    named = (("in_keys", transform.in_keys, outputs), ("in_keys_inv", transform.in_keys_inv, inputs))
    batch_dims = len(specs.observation.shape)
    return [
        f"{name}: rows of {key_str(key)} have the shape {tuple(leaf.shape[batch_dims:])}, and not the {needed} "
        f"dimensions that {type(transform).__name__} needs"
        for name, keys, composites in named
        for composite in composites
        for key, leaf in composite.flat_items()
        if key in keys and len(leaf.shape) - batch_dims < needed
    ]


def axis(dim: int, batch_dims: int) -> int:
    """`dim` as torch counts dimensions of a value with `batch_dims` batch dimensions in front."""
    return dim if dim < 0 else dim + batch_dims
