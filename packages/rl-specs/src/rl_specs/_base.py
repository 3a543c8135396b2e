"""The interface of every spec."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import torch
from torch import Generator, Size

from rl_specs._placed import Placed
from rl_specs._shape_ops import (
    SizeLike,
    check_dim,
    concatenated,
    front_dim,
    only,
    stacked,
)
from rl_specs._torch_methods import TORCH_METHODS
from rl_specs.difference import Difference, difference_table, fixes
from rl_specs.errors import ShapeError, SpecError, message
from rl_specs.keys import NestedKey


class TensorSpec(Placed):
    """What a value looks like: shape, dtype, device and domain.

    A spec is a value. Operations return new specs; only `Composite` can be changed, through its items.
    A shape operation gives the spec of what the same operation makes of a sample.
    """

    def __init__(self, shape: Size, device: torch.device | None) -> None:
        super().__init__(shape)
        self._device = device

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

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """`torch.stack` and `torch.cat` of specs, and the shape operations of torch's own namespace."""
        if func in _OF_MANY:
            return _OF_MANY[func](*args, **(kwargs or {}))
        run = TORCH_METHODS.get(func)
        return NotImplemented if run is None else run(*args, **(kwargs or {}))

    def _owned(self) -> Self:
        """A spec that nobody else changes: itself, where it cannot be changed."""
        return self

    # -- what a subclass writes ---------------------------------------------------------------------------------

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


_OF_MANY: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.stack: stack_specs,
    torch.cat: cat_specs,
    torch.concat: cat_specs,
    torch.concatenate: cat_specs,
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
