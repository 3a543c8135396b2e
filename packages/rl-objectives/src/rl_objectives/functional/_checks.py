"""Shape checks of the pure functions: tensors of one shape, or a `ShapeError`; nothing broadcasts by accident."""

from torch import Tensor

from rl_specs import ShapeError, message


def check_same_shape(component: str, **tensors: Tensor) -> None:
    """Compare the shapes of `tensors`; the first one sets the expectation.

    Args:
        component: name of the caller, for the message.
        tensors: the tensors, by the name the user knows them by.
    Raises:
        ShapeError: two of them differ.
    """
    name, first = next(iter(tensors.items()))
    expected = first.shape
    for other, tensor in tensors.items():
        if tensor.shape != expected:
            raise ShapeError(
                message(
                    component,
                    f'"{other}" and "{name}" differ in shape, and broadcasting them would mix up rows',
                    expected=f"{list(expected)} as in {name}",
                    found=f"{list(tensor.shape)} in {other}",
                    fix=_fix(expected, tensor.shape, other),
                )
            )


def _fix(expected: tuple[int, ...], found: tuple[int, ...], name: str) -> str:
    if tuple(expected) == (*found, 1):
        return f"Give {name} a trailing dimension of size 1: {name}.unsqueeze(-1)"
    return "Bring both to one shape, time at dimension -2 and a trailing dimension of size 1"


def check_time_dim(component: str, tensor: Tensor, time_dim: int) -> None:
    """Check that `tensor` has dimension `time_dim`, with at least one step.

    Raises:
        ShapeError: it has not.
    """
    if not -tensor.ndim <= time_dim < tensor.ndim:
        raise ShapeError(
            message(
                component,
                f"time dimension {time_dim} does not exist",
                expected="tensors of shape [*B, T, 1]",
                found=list(tensor.shape),
                fix="Unsqueeze the trailing dimension, or pass time_dim",
            )
        )
    if tensor.shape[time_dim] == 0:
        raise ShapeError(message(component, "no steps", expected="T >= 1", found=list(tensor.shape)))
