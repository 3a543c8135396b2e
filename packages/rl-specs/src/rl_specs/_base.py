"""The interface of every spec, and the one implementation of its shape operations."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import torch
from torch import Generator, Size, Tensor

from rl_specs._shape_ops import (
    ShapeOp,
    SizeLike,
    as_sizes,
    check_dim,
    check_whole,
    concatenated,
    front_dim,
    front_sizes,
    full_index,
    only,
    solve_sizes,
    split_index,
    stacked,
    unflattened,
)
from rl_specs.difference import Difference, difference_table, fixes
from rl_specs.errors import ShapeError, SpecError, message
from rl_specs.keys import NestedKey


class TensorSpec(ABC):
    """What a value looks like: shape, dtype, device and domain.

    A spec is a value. Operations return new specs; only `Composite` can be changed, through its items.
    A shape operation gives the spec of what the same operation makes of a sample.
    """

    def __init__(self, shape: Size, device: torch.device | None) -> None:
        self._shape = shape
        self._device = device

    @property
    def shape(self) -> Size:
        """Shape of a value, batch dimensions included."""
        return self._shape

    @property
    def device(self) -> torch.device | None:
        """Device of a value; `None` leaves it open."""
        return self._device

    @property
    def dtype(self) -> torch.dtype | None:
        """Dtype of a value; `None` where entries differ (`Composite`) or are no tensors."""
        return None

    @property
    def space(self) -> Any:
        """What elements may be (`low` and `high`, `n`, ...); `None` for a `Composite`, whose entries have their own."""
        return None

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self._shape)

    def numel(self) -> int:
        """Number of elements of the shape."""
        return self._shape.numel()

    @property
    def is_dynamic(self) -> bool:
        """Whether a size is open, -1 in the shape of a tensor, so that values of any size there are in the spec."""
        return False

    # -- values -------------------------------------------------------------------------------------------------

    @abstractmethod
    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> Any:
        """A random value of shape `[*shape, *self.shape]` that is in the spec."""

    @abstractmethod
    def zero(self, shape: SizeLike = ()) -> Any:
        """Zeros of shape `[*shape, *self.shape]`: the form of the spec, maybe not its domain."""

    @abstractmethod
    def one(self, shape: SizeLike = ()) -> Any:
        """Ones of shape `[*shape, *self.shape]`: the form of the spec, maybe not its domain."""

    @abstractmethod
    def project(self, value: Any) -> Any:
        """The value of the spec nearest to `value`; `value` itself is not changed."""

    @abstractmethod
    def encode(self, value: Any) -> Any:
        """A value from numpy or Python, as this spec holds it."""

    @abstractmethod
    def to_numpy(self, value: Any) -> Any:
        """The inverse of `encode`: a value of this spec as numpy."""

    @abstractmethod
    def cardinality(self) -> int | float:
        """Number of different values, `math.inf` when they cannot be counted."""

    def enumerate(self, *, use_mask: bool = False) -> Any:
        """Every value of the spec, `[cardinality, *shape]`.

        Args:
            use_mask: leave out what a mask of categories rules out.
        Raises:
            SpecError: the values cannot be counted, or are too many to list.
        """
        problem, fix = "the values cannot be listed", "List those of a spec of finitely many values"
        component = f"{type(self).__name__}.enumerate"
        raise SpecError(message(component, problem, found=f"cardinality {self.cardinality()}", fix=fix))

    def zeros(self, shape: SizeLike = ()) -> Any:
        """Same as `zero`."""
        return self.zero(shape)

    def ones(self, shape: SizeLike = ()) -> Any:
        """Same as `one`."""
        return self.one(shape)

    def sample(self, shape: SizeLike = ()) -> Any:
        """Same as `rand`."""
        return self.rand(shape)

    def contains(self, item: Any) -> bool:
        """Same as `is_in`."""
        return self.is_in(item)

    def is_in(self, value: Any) -> bool:
        """Whether `value` has the form of the spec and lies in its domain.

        Dimensions in front of the spec's own are a batch and welcome. On an accelerator this waits for the value.
        """
        return self._matches(value, None)

    def assert_is_in(self, value: Any, *, name: str = "value") -> None:
        """Check `value` and report all that is wrong with it at once.

        Args:
            value: what `is_in` takes.
            name: what to call the value in the message.
        Raises:
            SpecError: `value` is not in the spec; the message has one line for each difference.
        """
        if self._matches(value, None):
            return
        differences = self._differences(value, None, None)
        problem = f"not in the spec {type(self).__name__}"
        raise SpecError(f"{message(name, problem, fix=fixes(differences))}\n{difference_table(differences)}")

    # -- conversions --------------------------------------------------------------------------------------------

    def cpu(self) -> Self:
        """The spec on the CPU."""
        return self.to("cpu")

    def cuda(self, device: torch.device | str | int = "cuda") -> Self:
        """The spec on an accelerator, the default one or another."""
        return self.to(device)

    def to(self, target: torch.device | str | int | torch.dtype) -> Self:
        """The spec on another device, or with another dtype."""
        if isinstance(target, torch.dtype):
            return self._convert(None, target)
        return self._convert(resolve_device(target), None)

    def clone(self) -> Self:
        """A copy; leaves are values, so they may share the tensors of their bounds."""
        return self._combine((), only)

    # -- shapes -------------------------------------------------------------------------------------------------

    def expand(self, *sizes: SizeLike) -> Self:
        """The spec with dimensions in front, or of size 1, expanded to `sizes`; -1 keeps a size."""
        k = self._front
        size = front_sizes(as_sizes(sizes), self.shape, k, type(self).__name__)
        return self._apply("expand", lambda t: t.expand((*size, *t.shape[k:])))

    def reshape(self, *sizes: SizeLike) -> Self:
        """The spec of a reshaped value; one size can be -1."""
        k, component = self._front, type(self).__name__
        size = solve_sizes(front_sizes(as_sizes(sizes), self.shape, k, component), self.shape[:k], component)
        return self._apply("reshape", lambda t: t.reshape((*size, *t.shape[k:])))

    def view(self, *sizes: SizeLike) -> Self:
        """Same as `reshape`."""
        return self.reshape(*sizes)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Self:
        """The spec with dimensions `start_dim` to `end_dim` made one; of no dimensions, with one of size 1."""
        if self.ndim == 0:
            return self.unsqueeze(0)
        start, end = self._front_dim(start_dim), self._front_dim(end_dim)
        return self._apply("flatten", lambda t: t.flatten(start, end))

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Self:
        """The spec with dimension `dim` split into `sizes`; one size can be -1."""
        at = self._front_dim(dim)
        return self._apply("unflatten", lambda t: unflattened(t, at, sizes))

    def squeeze(self, dim: int | None = None) -> Self:
        """The spec without dimension `dim` where that has size 1, or without any dimension of size 1."""
        if dim is None:
            dims = tuple(i for i, size in enumerate(self.shape[: self._front]) if size == 1)
        else:
            dims = (self._front_dim(dim),)
        return self._apply("squeeze", lambda t: t.squeeze(dims))

    def unsqueeze(self, dim: int) -> Self:
        """The spec with a dimension of size 1 at `dim`."""
        at = front_dim(dim, self.ndim + 1, self._front + 1, type(self).__name__)
        return self._apply("unsqueeze", lambda t: t.unsqueeze(at))

    def permute(self, *dims: SizeLike) -> Self:
        """The spec with its dimensions in another order: dimension `i` of the result is `dims[i]` of this one."""
        order, k, component = as_sizes(dims), self._front, type(self).__name__
        at = [check_dim(dim, self.ndim, component) for dim in order]
        if sorted(at) != list(range(self.ndim)):
            expected = f"each of {self.ndim} dimensions once"
            raise ShapeError(message(component, "no order of the dimensions", expected=expected, found=tuple(order)))
        front = [front_dim(dim, self.ndim, k, component) for dim in at[:k]]
        if at[k:] != list(range(k, self.ndim)):
            front_dim(k, self.ndim, k, component)  # says why not
        return self._apply("permute", lambda t: t.permute(*front, *range(k, t.ndim)))

    def transpose(self, dim0: int, dim1: int) -> Self:
        """The spec with two dimensions in each other's place."""
        first, second = self._front_dim(dim0), self._front_dim(dim1)
        return self._apply("transpose", lambda t: t.transpose(first, second))

    def index_select(self, dim: int, index: Tensor) -> Self:
        """The spec of the places `index`, int `[n]`, along dimension `dim`."""
        at = self._front_dim(dim)
        return self._apply("index_select", lambda t: t.index_select(at, index.to(t.device)))

    def unbind(self, dim: int = 0) -> tuple[Self, ...]:
        """The specs along dimension `dim`."""
        at = self._front_dim(dim)
        return tuple(self.index((slice(None),) * at + (i,)) for i in range(self.shape[at]))

    def index(self, index: Any) -> Self:
        """The spec of `value[index]`: integers, slices, `None`, `...`, bools, masks, index tensors, tuples of these."""
        component = type(self).__name__
        ahead, behind = split_index(full_index(index, self.ndim, component), self._front)
        check_whole(behind, component)
        return self._apply("index", lambda t: t[ahead])

    def __getitem__(self, index: Any) -> Any:
        return self.index(index)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """`torch.stack` and `torch.cat` of specs, and the shape operations of torch's own namespace."""
        run = _TORCH_FUNCTIONS.get(func)
        return NotImplemented if run is None else run(*args, **(kwargs or {}))

    @property
    def _front(self) -> int:
        """Number of leading dimensions of known size, which are those that shape operations reach."""
        return self.shape.index(-1) if -1 in self.shape else self.ndim

    def _front_dim(self, dim: int) -> int:
        return front_dim(dim, self.ndim, self._front, type(self).__name__)

    def _apply(self, name: str, op: Callable[[Tensor], Tensor]) -> Self:
        try:
            return self._combine((), lambda values: op(values[0]))
        except RuntimeError as error:
            problem = f"{name} does not fit the shape {tuple(self.shape)}: {error}"
            raise ShapeError(message(type(self).__name__, problem)) from error

    def _owned(self) -> Self:
        """A spec that nobody else changes: itself, where it cannot be changed."""
        return self

    # -- what a subclass writes ---------------------------------------------------------------------------------

    @abstractmethod
    def _combine(self, others: Sequence[Self], op: ShapeOp) -> Self:
        """The spec of `op([value of self, *values of others])`, where `op` only moves elements.

        Raises:
            SpecError: the specs differ in more than the elements' places can express.
        """

    @abstractmethod
    def _stack_lazily(self, others: Sequence[Any], dim: int) -> "TensorSpec":
        """The spec of a stack of values whose specs `_combine` cannot make one of.

        Raises:
            SpecError: their values do not stack.
        """

    @abstractmethod
    def _convert(self, device: torch.device | None, dtype: torch.dtype | None) -> Self:
        """The spec on another device and with another dtype; `None` keeps what there is."""

    @abstractmethod
    def _matches(self, value: Any, lead: Size | None) -> bool:
        """Whether `value` is in the spec with `lead` dimensions in front (any, when `None`)."""

    @abstractmethod
    def _differences(self, value: Any, key: NestedKey | None, lead: Size | None) -> list[Difference]:
        """Why `_matches` says no; empty when it says yes."""


def stack_specs(specs: Sequence[TensorSpec], dim: int = 0, *, strict: bool = False) -> TensorSpec:
    """Spec of a stack of values, one of each spec.

    Args:
        specs: specs of one kind, dtype and device.
        dim: where the new dimension goes.
        strict: refuse specs that differ in more than bounds and masks.
    Returns:
        One spec of the same kind with one dimension more, where specs differ in bounds and masks alone. Else a
        `Stacked` of tensors whose shapes or domains differ, a `StackedComposite` of specs with other entries.
    Raises:
        SpecError: the specs are not of one kind, their values do not stack, or there is none.
        ShapeError: `strict`, and shapes differ.
    """
    first, others = _of_one_kind("stack", specs)
    at = check_dim(dim, first.ndim + 1, "stack")
    try:
        front_dim(at, first.ndim + 1, first._front + 1, "stack")
        return first._combine(others, lambda values: stacked(values, at))
    except (SpecError, ShapeError):
        if strict:
            raise
    return first._stack_lazily(others, at)


def cat_specs(tensors: Sequence[TensorSpec], dim: int = 0) -> TensorSpec:
    """Spec of the concatenation of values, one of each spec.

    Args:
        tensors: specs of one kind, dtype and device whose shapes differ along `dim` at most; bounds may differ.
        dim: dimension that grows.
    Returns:
        One spec with as many dimensions.
    Raises:
        SpecError: the specs are not of one kind, or there is none.
        ShapeError: they differ in another dimension, or one value goes along `dim`.
    """
    first, others = _of_one_kind("cat", tensors)
    at = front_dim(dim, first.ndim, first._front, "cat")
    return first._combine(others, lambda values: concatenated(values, at))


def _of_one_kind(component: str, specs: Sequence[TensorSpec]) -> tuple[TensorSpec, list[TensorSpec]]:
    """The first of `specs` and the others, which must be of its class."""
    if not specs:
        raise SpecError(f"{component}: no specs given. Give at least one.")
    first, others = specs[0], list(specs[1:])
    for i, other in enumerate(others, start=1):
        if type(other) is not type(first):
            expected, found = type(first).__name__, type(other).__name__
            problem, fix = f"spec {i} differs from spec 0", "Use specs of one kind"
            raise SpecError(message(component, problem, expected=expected, found=found, fix=fix))
    return first, others


def _method(name: str) -> Callable[..., Any]:
    def run(input: TensorSpec, *args: Any, **kwargs: Any) -> Any:  # torch's own name for it
        return getattr(input, name)(*args, **kwargs)

    return run


_TORCH_FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.stack: stack_specs,
    torch.cat: cat_specs,
    torch.concat: cat_specs,
    torch.concatenate: cat_specs,
    torch.flatten: _method("flatten"),
    torch.index_select: _method("index_select"),
    torch.permute: lambda input, dims: input.permute(dims),
    torch.reshape: lambda input, shape: input.reshape(shape),
    torch.squeeze: _method("squeeze"),
    torch.transpose: _method("transpose"),
    torch.unbind: _method("unbind"),
    torch.unflatten: _method("unflatten"),
    torch.unsqueeze: _method("unsqueeze"),
}


def resolve_device(device: torch.device | str | int | None) -> torch.device:
    """`device` as tensors on it report theirs: an accelerator with its index, the CPU without.

    Args:
        device: `"cuda"`, `"cpu:0"`, a number of an accelerator, ...; None: torch's default device.
    """
    found = torch.get_default_device() if device is None else torch.device(device)
    if found.type == "cpu":
        return torch.device("cpu")
    has_index = str(found) != found.type
    return found if has_index else torch.empty(0, device=found).device
