"""Several optimizers as one."""

from collections.abc import Callable
from itertools import chain
from typing import Any

from torch.optim import Optimizer

from rl_specs import message


def group_optimizers(*optimizers: Optimizer) -> Optimizer:
    """One optimizer with the parameter groups of several, hyperparameters and state kept.

    Args:
        optimizers: optimizers of one class, over distinct parameters.
    Returns:
        A new optimizer of that class; the given ones are not to be stepped further.
    Raises:
        TypeError: none was given, or their classes differ.
        ValueError: a parameter is in two of them.
    """
    classes = {type(optimizer) for optimizer in optimizers}
    if len(classes) != 1:
        found = ", ".join(sorted(cls.__name__ for cls in classes)) or "nothing"
        raise TypeError(
            message("group_optimizers", "cannot be grouped", expected="optimizers of one class", found=found)
        )
    groups = list(chain.from_iterable(optimizer.param_groups for optimizer in optimizers))
    parameters = [id(parameter) for group in groups for parameter in group["params"]]
    if len(set(parameters)) != len(parameters):
        fix = "Give shared parameters to one optimizer alone"
        raise ValueError(message("group_optimizers", "a parameter is in more than one optimizer", fix=fix))
    build: Callable[[list[dict[str, Any]]], Optimizer] = classes.pop()
    grouped = build([dict(group) for group in groups])
    for optimizer in optimizers:
        grouped.state.update(optimizer.state)
    return grouped
