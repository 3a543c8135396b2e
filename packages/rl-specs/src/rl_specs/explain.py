"""How two specs differ."""

from rl_specs._base import TensorSpec
from rl_specs._lazy_stack import LazyStack, part_key
from rl_specs._leaf import LeafSpec, dtype_str
from rl_specs.composite import Composite
from rl_specs.difference import Difference, difference_table
from rl_specs.keys import NestedKey, join_key


def explain_difference(a: TensorSpec, b: TensorSpec) -> str:
    """All differences between two specs as one table in plain text.

    Args:
        a: what is expected.
        b: what is found.
    Returns:
        One line for each difference under a header; an empty string exactly when `a == b`.
    """
    return difference_table(spec_differences(a, b))


def spec_differences(a: TensorSpec, b: TensorSpec, key: NestedKey | None = None) -> list[Difference]:
    """All differences between two specs; empty exactly when `a == b`."""
    if a == b:
        return []
    if type(a) is not type(b):
        return [Difference(key, "type", repr(a).splitlines()[0], repr(b).splitlines()[0])]
    found = _form_differences(a, b, key)
    if isinstance(a, Composite) and isinstance(b, Composite):
        for name in [*a, *(name for name in b if name not in a)]:
            full = name if key is None else join_key(key, name)
            found += _entry_differences(a.get(name), b.get(name), full)
        return found
    if isinstance(a, LazyStack) and isinstance(b, LazyStack):
        found += _stack_differences(a, b, key)
    return found or [Difference(key, "domain", repr(a), repr(b))]


def _entry_differences(a: TensorSpec | None, b: TensorSpec | None, key: NestedKey) -> list[Difference]:
    if a is None or b is None:
        present = ["missing" if spec is None else repr(spec).splitlines()[0] for spec in (a, b)]
        return [Difference(key, "presence", *present)]
    return spec_differences(a, b, key)


def _stack_differences(a: LazyStack, b: LazyStack, key: NestedKey | None) -> list[Difference]:
    if a.stack_dim != b.stack_dim or len(a.specs) != len(b.specs):
        stacks = [f"{len(spec.specs)} specs along dimension {spec.stack_dim}" for spec in (a, b)]
        return [Difference(key, "shape", *stacks)]
    pairs = enumerate(zip(a.specs, b.specs, strict=True))
    return [found for i, pair in pairs for found in spec_differences(*pair, part_key(key, i))]


def _form_differences(a: TensorSpec, b: TensorSpec, key: NestedKey | None) -> list[Difference]:
    found = []
    if a.shape != b.shape:
        found.append(Difference(key, "shape", str(tuple(a.shape)), str(tuple(b.shape))))
    if a.device != b.device:
        found.append(Difference(key, "device", str(a.device), str(b.device)))
    if isinstance(a, LeafSpec) and isinstance(b, LeafSpec):
        if a.dtype != b.dtype:
            found.append(Difference(key, "dtype", dtype_str(a.dtype), dtype_str(b.dtype)))
        if a._domain_str() != b._domain_str():
            found.append(Difference(key, "domain", a._domain_str(), b._domain_str()))
    return found
