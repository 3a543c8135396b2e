"""Gymnasium spaces as specs: the tensor form of the values of every space.

| space | entries, for values with batch shape `[*B]` |
|---|---|
| `Box` | one, `[*B, *shape]` in the dtype of the space; unsigned integers that torch cannot compute with are widened |
| `Discrete` | one-hot int64 `[*B, n]`, or indices `[*B]` |
| `MultiDiscrete` | one-hot blocks, concatenated, int64 `[*B, nvec.sum()]`, or indices `[*B, nvec.size]` |
| `MultiBinary` | int8 `[*B, *shape]` |
| `Text` | int64 `[*B, max_length]`: 0 ends the text, `i` is the `i`-th character in sorted order, from 1 |
| `Dict`, `Tuple` | those of their parts, under the part's name or number (`"0"`, `"1"`, ...) |
| `Sequence` | `"length"`, int64 `[*B]`, and `"values"`: the entries of an element as `[*B, max_sequence_length, ...]` |
| `Graph` | `"num_nodes"`, int64 `[*B]`, and `"nodes"`, `[*B, max_graph_nodes, ...]` |
| ... with edges | `"num_edges"`, `"edges"`, `[*B, max_graph_edges, ...]`, `"edge_links"`, `[*B, max_graph_edges, 2]` |
| `OneOf` | `"index"`, int64 `[*B]`, and the entries of each alternative under its number |

What pads a `Sequence` or a `Graph`, and the alternatives of a `OneOf` that a value is not of, hold the value of their
space that is nearest to zero, or the first category.

On the way to the env every tensor of these shapes gives a value of its space: a text that is too short is filled up
with the first character, links of a graph are cut to its nodes, and a graph without nodes has no edges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rl_envs.gym._limits import SpaceLimits
from rl_specs import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    MultiCategorical,
    MultiOneHot,
    NestedKey,
    OneHot,
    SpecError,
    TensorSpec,
    Unbounded,
    message,
)

if TYPE_CHECKING:
    import gymnasium

_WIDENED: "dict[np.dtype[Any], np.dtype[Any]]" = {
    np.dtype(np.uint16): np.dtype(np.int32),
    np.dtype(np.uint32): np.dtype(np.int64),
    np.dtype(np.uint64): np.dtype(np.int64),
}


def array_dtype(dtype: Any) -> "np.dtype[Any]":
    """The numpy dtype in which arrays become tensors: `dtype`, or a wider one where torch has no arithmetic."""
    given: np.dtype[Any] = np.dtype(dtype)
    wider = _WIDENED.get(given)
    return given if wider is None else wider


def torch_dtype(dtype: Any) -> torch.dtype:
    """The torch dtype of arrays of the numpy `dtype`."""
    return torch.from_numpy(np.empty(0, dtype=array_dtype(dtype))).dtype


def spec_from_space(
    space: "gymnasium.Space[Any]",
    *,
    batch_size: Sequence[int] = (),
    device: torch.device | str | None = None,
    categorical: bool = False,
    max_sequence_length: int | None = None,
    max_graph_nodes: int | None = None,
    max_graph_edges: int | None = None,
) -> TensorSpec:
    """Spec of the values of a Gymnasium space, in the form that `rl_envs.gym.spaces` tells.

    Args:
        space: any of Gymnasium's spaces.
        batch_size: leading dimensions of the result.
        device: device of the result.
        categorical: discrete values as indices rather than one-hot. A `start` other than 0 is shifted away.
        max_sequence_length: elements that a `Sequence` has at most; needed where there is one.
        max_graph_nodes: nodes that a `Graph` has at most; needed where there is one.
        max_graph_edges: edges that a `Graph` has at most; needed where there is one with an edge space.
    Returns:
        A leaf spec, or a `Composite` for `Dict`, `Tuple`, `Sequence`, `Graph` and `OneOf`.
    Raises:
        SpecError: a space of another kind, or without a bound that it needs.
    """
    limits = SpaceLimits(max_sequence_length, max_graph_nodes, max_graph_edges)
    return SpaceSpecs(device=device, categorical=categorical, limits=limits).of(space, batch_size)


@dataclass(frozen=True)
class SpaceSpecs:
    """Makes specs of spaces.

    Args:
        device: device of the specs.
        categorical: discrete values as indices rather than one-hot.
        limits: how large values without a bound of their own get.
    """

    device: torch.device | str | None
    categorical: bool
    limits: SpaceLimits

    def of(self, space: Any, batch_size: Sequence[int] = ()) -> TensorSpec:
        """Spec of the values of `space`, with leading dimensions `batch_size`."""
        parts = self._parts(space, tuple(batch_size))
        if parts is not None:
            return Composite(parts, shape=torch.Size(batch_size), device=self.device)
        leaf = self._leaf(space)
        return leaf.expand((*batch_size, *leaf.shape)) if batch_size else leaf

    def of_observation(self, space: Any, batch_size: Sequence[int] = ()) -> Composite:
        """Specs of observations: the parts of a `Dict` or `Tuple` at the root, anything else as `"observation"`."""
        from gymnasium import spaces

        spec = self.of(space, batch_size)
        if isinstance(spec, Composite) and isinstance(space, spaces.Dict | spaces.Tuple):
            return spec
        return Composite({"observation": spec}, shape=torch.Size(batch_size), device=self.device)

    def _parts(self, space: Any, batch: tuple[int, ...]) -> dict[NestedKey, TensorSpec] | None:
        """Specs of the entries of a space of several; None: it has one."""
        from gymnasium import spaces

        match space:
            case spaces.Dict() | spaces.Tuple():
                return {name: self.of(inner, batch) for name, inner in space_items(space)}
            case spaces.Sequence():
                length = self.limits.sequence_length(space)
                return {"length": self._count(length, batch), "values": self.of(space.feature_space, (*batch, length))}
            case spaces.Graph():
                return self._graph_parts(space, batch)
            case spaces.OneOf():
                parts: dict[NestedKey, TensorSpec] = {"index": self._count(len(space.spaces) - 1, batch)}
                return parts | {str(index): self.of(inner, batch) for index, inner in enumerate(space.spaces)}
        return None

    def _graph_parts(self, space: Any, batch: tuple[int, ...]) -> dict[NestedKey, TensorSpec]:
        nodes = self.limits.graph_nodes(space)
        parts: dict[NestedKey, TensorSpec] = {
            "num_nodes": self._count(nodes, batch),
            "nodes": self.of(space.node_space, (*batch, nodes)),
        }
        if space.edge_space is not None:
            edges = self.limits.graph_edges(space)
            parts["num_edges"] = self._count(edges, batch)
            parts["edges"] = self.of(space.edge_space, (*batch, edges))
            parts["edge_links"] = self._count(nodes - 1, (*batch, edges, 2))
        return parts

    def _count(self, largest: int, shape: tuple[int, ...]) -> Categorical:
        return Categorical(largest + 1, shape=torch.Size(shape), device=self.device, dtype=torch.int64)

    def _leaf(self, space: Any) -> TensorSpec:
        from gymnasium import spaces

        match space:
            case spaces.Box():
                return _box_spec(space, self.device)
            case spaces.Discrete():
                kind = Categorical if self.categorical else OneHot
                return kind(int(space.n), device=self.device, dtype=torch.int64)
            case spaces.MultiDiscrete():
                nvec = [int(n) for n in np.ravel(space.nvec)]
                if self.categorical:
                    return MultiCategorical(nvec, device=self.device, dtype=torch.int64)
                return MultiOneHot(nvec, device=self.device, dtype=torch.int64)
            case spaces.MultiBinary():
                return Binary(shape=torch.Size(space.shape), device=self.device, dtype=torch.int8)
            case spaces.Text():
                return self._count(len(space.character_set), (space.max_length,))
        raise SpecError(
            message(
                "spec_from_space",
                "a space of a kind that has no spec",
                expected="one of gymnasium.spaces",
                found=f"{type(space).__name__} {space}",
                fix="Wrap the env so that its space is one of these",
            )
        )


def space_items(space: Any) -> list[tuple[str, Any]]:
    """Names of the entries of a `Dict` or `Tuple`, and their spaces.

    Raises:
        SpecError: two keys of a `Dict`, such as 1 and "1", have one name.
    """
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        names = [str(name) for name in space.spaces]
        if len(set(names)) != len(names):
            fix = "Wrap the env so that its keys are different strings"
            problem = "keys of a Dict with one name"
            raise SpecError(message("Gymnasium spaces", problem, found=list(space.spaces), fix=fix))
        return list(zip(names, space.spaces.values(), strict=True))
    return [(str(index), inner) for index, inner in enumerate(space.spaces)]


def _box_spec(space: Any, device: torch.device | str | None) -> TensorSpec:
    dtype = torch_dtype(space.dtype)
    shape = torch.Size(space.shape)
    if dtype.is_floating_point and np.isinf(space.low).all() and np.isinf(space.high).all():
        return Unbounded(shape=shape, device=device, dtype=dtype)
    if space.dtype == np.bool_:
        return Categorical(2, shape=shape, device=device, dtype=torch.bool)
    low, high = map(torch.from_numpy, box_bounds(space))
    return Bounded(low, high, shape=shape, device=device, dtype=dtype)


def box_bounds(space: Any) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """The bounds of a `Box` in the dtype in which its values are gathered, cut to what that holds."""
    kind = array_dtype(space.dtype)
    low, high = np.array(space.low), np.array(space.high)
    if kind == space.dtype:
        return low, high
    top = min(np.iinfo(kind).max, np.iinfo(space.dtype).max)
    return np.asarray(np.minimum(low, top), dtype=kind), np.asarray(np.minimum(high, top), dtype=kind)
