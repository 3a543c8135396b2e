"""Entries that differ from environment to environment: one tensor for each of them, where a tensor stands otherwise.

A batch of environments of different kinds has entries that not all of them have, or not in one shape. In a flat dict
such an entry is a `Ragged`, of which `torch.where` and `torch.stack` make another, row by row; so what runs
environments need not know of it. A TensorDict of such entries is a `LazyStackedTensorDict` along the first dimension.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import methodcaller
from typing import Any, SupportsIndex, TypeAlias, cast, final, overload

import torch
from torch import Tensor

from rl_envs._object_rows import chosen_objects
from rl_specs import FlatDict, NestedKey, ShapeError, canonical_key, message

Row: TypeAlias = Tensor | None
_WHERE = "environments that differ"


@final
class Ragged:
    """One tensor for each environment along the first dimension; None for those that do not have the entry.

    Args:
        rows: the tensors, of any shapes and dtypes.
    """

    requires_grad = False

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = tuple(rows)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> "Ragged": ...

    def __getitem__(self, index: SupportsIndex | slice) -> "Row | Ragged":
        return Ragged(self.rows[index]) if isinstance(index, slice) else self.rows[index]

    @property
    def ndim(self) -> int:
        """Dimensions of the largest row, and one for the rows."""
        return 1 + max((row.ndim for row in self.rows if row is not None), default=0)

    @property
    def shape(self) -> torch.Size:
        """`[N, ...]`, with -1 where the rows differ."""
        shapes = [row.shape for row in self.rows if row is not None and row.ndim == self.ndim - 1]
        sizes = [size[0] if len(set(size)) == 1 else -1 for size in zip(*shapes, strict=True)]
        return torch.Size((len(self.rows), *sizes))

    @property
    def device(self) -> torch.device:
        """Of the first row that there is."""
        return next((row.device for row in self.rows if row is not None), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """There is none for all rows.

        Raises:
            TypeError: always; who asks wants one tensor.
        """
        problem, fix = "one tensor is wanted for an entry that differs", "Step them with env.rollout or env.step"
        raise TypeError(message(_WHERE, problem, fix=f"{fix}, or bring them to one form with transforms inside each"))

    def clone(self) -> "Ragged":
        """A copy."""
        return self._each(methodcaller("clone"))

    def detach(self) -> "Ragged":
        """Outside of the graph."""
        return self._each(methodcaller("detach"))

    def cpu(self) -> "Ragged":
        """On the CPU."""
        return self._each(methodcaller("cpu"))

    def to(self, device: torch.device) -> "Ragged":
        """On another device."""
        return self._each(lambda row: row.to(device))

    def _each(self, function: Callable[[Tensor], Tensor]) -> "Ragged":
        return Ragged([None if row is None else function(row) for row in self.rows])

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if kwargs:
            raise _not_here(function)
        if function is torch.where and len(args) == 3:
            return _where(*args)
        if function is torch.stack:
            return _stack(*args)
        if function in (torch.zeros_like, torch.ones_like):
            return args[0]._each(function)
        raise _not_here(function)

    def __repr__(self) -> str:
        return f"Ragged({', '.join('None' if row is None else str(tuple(row.shape)) for row in self.rows)})"


def _where(mask: Tensor, inside: Any, outside: Any) -> Ragged:
    """Rows of `inside` where `mask`, `[N, *B, ...]`, is True, of `outside` elsewhere."""
    found: list[Row] = []
    for row, (chosen, value, other) in enumerate(zip(mask, inside, outside, strict=True)):
        if value is None or other is None:
            found.append(value if other is None else other)
            continue
        if not isinstance(value, Tensor):
            found.append(chosen_objects(chosen.reshape(value.batch_size), value, other))
            continue
        if value.shape != other.shape:
            fix = "Return the entry in the form of its spec; check_env_specs(env) lists all that differs"
            problem, shapes = f"an entry of env {row} has changed its shape", (tuple(other.shape), tuple(value.shape))
            raise ShapeError(message(_WHERE, problem, expected=shapes[0], found=shapes[1], fix=fix))
        extra = chosen.ndim - value.ndim
        fitted = chosen.reshape(chosen.shape[: chosen.ndim - extra]) if extra > 0 else chosen
        found.append(torch.where(fitted, value, other))
    return Ragged(found)


def _stack(values: Sequence[Any], dim: int) -> Ragged:
    """Stacked behind the dimension of the rows."""
    rows = [list(row) for row in zip(*values, strict=True)]
    return Ragged([None if any(each is None for each in row) else torch.stack(row, dim - 1) for row in rows])


def _not_here(function: Callable[..., Any]) -> TypeError:
    name = getattr(function, "__name__", str(function))
    problem = f"{name} takes one tensor, and this entry is another one in each environment"
    fix = "Take the rows apart, data[i], or bring the environments to one form with transforms inside each"
    return TypeError(message(_WHERE, problem, fix=fix))


def joined_rows(rows: Sequence[FlatDict]) -> FlatDict:
    """Entries of environments `[*B]` as those of their batch `[N, *B]`: stacked where all are alike, else ragged."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: _joined([row.get(key) for row in rows]) for key in keys}


def _joined(values: list[Any]) -> Tensor:
    first = values[0]
    if all(isinstance(each, Tensor) and each.shape == first.shape and each.dtype is first.dtype for each in values):
        return torch.stack(values)
    return cast(Tensor, Ragged(values))  # which stands where a tensor does


def row_entries(entries: FlatDict, row: int) -> FlatDict:
    """Entries of one environment, those that it has."""
    found: dict[NestedKey, Row] = {key: value[row] for key, value in entries.items()}
    return {key: value for key, value in found.items() if value is not None}


def has_ragged(entries: FlatDict) -> bool:
    """Whether an entry is ragged."""
    return Ragged in map(type, entries.values())


def spread(entries: FlatDict) -> FlatDict:
    """Entries with those of each row of a ragged one under a name of its own, `"[0]"`, `"[1]"`, ... behind the key."""
    found: FlatDict = {}
    for key, value in entries.items():
        rows = cast(object, value)
        if isinstance(rows, Ragged):
            path = (key,) if isinstance(key, str) else key
            found.update({canonical_key((*path, f"[{i}]")): row for i, row in enumerate(rows.rows) if row is not None})
        else:
            found[key] = value
    return found
