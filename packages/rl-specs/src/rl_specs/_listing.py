"""Lists of all values of a spec."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rl_specs.errors import SpecError, message

MOST_LISTED = 2**27
"""Number of elements up to which `enumerate` lists all values of a spec."""


def check_listable(component: str, count: int | float, numel: int) -> None:
    """Check that `count` values of `numel` elements can be listed.

    Raises:
        SpecError: they cannot be counted, or have more elements than `MOST_LISTED`.
    """
    if count * max(1, numel) > MOST_LISTED:
        fix = "Draw some with rand"
        expected = f"at most {MOST_LISTED:,} elements"
        raise SpecError(message(component, "too many values", expected=expected, found=f"{count} values", fix=fix))


def all_rows(counts: Sequence[int], device: torch.device | None) -> list[Tensor]:
    """Row numbers `[prod(counts)]` of every combination of rows of tables of these lengths, the last changing fastest.

    Args:
        counts: length of each table.
        device: of the result.
    """
    columns = [torch.arange(count, device=device) for count in counts]
    return [row.reshape(math.prod(counts)) for row in torch.meshgrid(*columns, indexing="ij")] if columns else []
