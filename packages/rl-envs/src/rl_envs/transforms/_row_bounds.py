"""Constants of actions, such as bounds, that may differ between the rows of an environment, for stored actions."""

from torch import Size, Tensor

from rl_specs import ShapeError, message


def first_if_equal(constants: tuple[Tensor, Tensor], batch_dims: int) -> tuple[Tensor, Tensor]:
    """Two constants of one row, `[*A]`, where those of all rows, `[*B, *A]`, are the same; else the constants.

    Args:
        constants: tensors `[*B, *A]`.
        batch_dims: number of dimensions of `B`.
    """
    first, second = constants
    if not first.shape[:batch_dims].numel():
        return constants
    row = (0,) * batch_dims
    is_same = bool((first == first[row]).all() & (second == second[row]).all())
    return (first[row], second[row]) if is_same else constants


def beside_stored(component: str, constant: Tensor, row_dims: int, batch_size: Size) -> Tensor:
    """A constant in a shape that broadcasts to stored actions `[*B', *A]`.

    Args:
        component: class that asks, for messages.
        constant: `[*A]`, or `[*B, *A]` where it differs from row to row.
        row_dims: number of dimensions of `A`.
        batch_size: `B'`; starts with `B` where the constant has it.
    Raises:
        ShapeError: it does not, so that the rows of the data are not known.
    """
    dims = max(constant.ndim - row_dims, 0)
    batch, row = constant.shape[:dims], constant.shape[dims:]
    if batch_size[:dims] != batch:
        problem = "bounds differ from row to row, and the rows of the data are not known"
        fix = "Give data whose batch size starts with that of the environment"
        raise ShapeError(message(component, problem, expected=tuple(batch), found=tuple(batch_size), fix=fix))
    return constant.reshape(*batch, *[1] * (len(batch_size) - dims), *row) if dims else constant
