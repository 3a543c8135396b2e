"""Arguments that networks are described by, brought to one value per layer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from torch import nn

from rl_specs import message

ModuleFactory = Callable[..., nn.Module]
"""A module class, or a function that builds a module."""

Keywords = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
"""Keyword arguments of a module: the same for each layer, or one mapping per layer."""

_T = TypeVar("_T")


def layer_count(component: str, depth: int | None, described: Mapping[str, object], *, default: int) -> int:
    """Number of layers: as given, else the length of the descriptions that come one per layer, else `default`.

    Args:
        component: the network, for messages.
        depth: the number, where given.
        described: what describes the layers, by name: a sequence with one entry per layer, a single value for all,
            or None.
        default: number where nothing says.
    Raises:
        ValueError: `depth` is negative, the lengths differ, or `num_cells` is one width for an unknown depth.
    """
    lengths = {name: len(v) for name, v in described.items() if isinstance(v, Sequence)}
    if depth is not None:
        lengths["depth"] = depth
    if depth is not None and depth < 0:
        raise ValueError(message(component, "depth is negative", expected="depth >= 0", found=depth))
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name}: {n}" for name, n in lengths.items())
        raise ValueError(
            message(component, "layers are described in different numbers", expected="one entry per layer", found=found)
        )
    if lengths:
        return next(iter(lengths.values()))
    if described.get("num_cells") is not None:
        raise ValueError(
            message(
                component,
                "num_cells is one width, and nothing says how many layers have it",
                fix=f"Give depth=..., or a list: num_cells=[{described['num_cells']}, ...]",
            )
        )
    return default


def check_widths(component: str, name: str, widths: Sequence[object]) -> None:
    """Check that each layer has an output.

    Raises:
        ValueError: a width is no integer of at least 1.
    """
    wrong = [width for width in widths if not isinstance(width, int) or width < 1]
    if wrong:
        fix = f"Give the width of each hidden layer, e.g. {name}=[64, 64]"
        raise ValueError(message(component, name, expected="integers >= 1", found=repr(wrong[0]), fix=fix))


def check_factory(component: str, name: str, factory: object) -> None:
    """Check that something is a class of modules, or a function that builds one.

    Raises:
        TypeError: it is none.
    """
    if not callable(factory) or isinstance(factory, nn.Module):
        fix = "Pass the class, such as torch.nn.Tanh, without calling it"
        expected = "a module class, or a callable that makes a module"
        raise TypeError(message(component, name, expected=expected, found=repr(factory), fix=fix))


def per_layer(value: _T | Sequence[_T], n_layers: int) -> list[_T]:
    """`value` for each of `n_layers`: a sequence, known to be that long, as it is; anything else repeated."""
    return list(value) if isinstance(value, Sequence) else [value] * n_layers


def keywords_per_layer(component: str, name: str, keywords: Keywords, n_layers: int) -> list[Mapping[str, Any]]:
    """Keyword arguments for each of `n_layers` modules.

    Raises:
        ValueError: a sequence of another length.
    """
    if keywords is None or isinstance(keywords, Mapping):
        return [keywords or {}] * n_layers
    if len(keywords) != n_layers:
        raise ValueError(
            message(
                component,
                f"{name} does not have one mapping per module",
                expected=f"{n_layers} mappings, or a single one",
                found=len(keywords),
            )
        )
    return list(keywords)
