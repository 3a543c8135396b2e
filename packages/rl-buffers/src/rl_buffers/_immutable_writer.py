"""A writer that writes nothing."""

from typing import Any, Never, final

import torch
from torch import Tensor

from rl_buffers._storage import Block, Storage, Where
from rl_buffers._writer import Writer
from rl_specs import message


@final
class ImmutableDatasetWriter(Writer):
    """Refuses to write, to overwrite and to empty: the rows that the storage holds stay as they are.

    Give it to a buffer around a storage that is full already, `TensorStorage(data)` say.
    """

    def attach(self, storage: Storage) -> None:
        """Any storage is accepted."""

    def prepare(self, storage: Storage, data: Any, *, is_row: bool, where: Where | None = None) -> Never:
        """Refused; see `extend`."""
        raise _refusal("no rows can be added")

    def extend(self, storage: Storage, block: Block) -> Never:
        """Refused.

        Raises:
            RuntimeError: always.
        """
        raise _refusal("no rows can be added")

    def add(self, storage: Storage, block: Block) -> Never:
        """Refused; see `extend`."""
        raise _refusal("no rows can be added")

    def overwrite(self, storage: Storage, where: Where, block: Block) -> None:
        """Refused; see `extend`."""
        raise _refusal("no rows can be replaced")

    def order(self, storage: Storage) -> Tensor:
        """Rows are as old as their number says."""
        return torch.arange(len(storage))

    def clear(self) -> None:
        """Refused; see `extend`."""
        raise _refusal("it cannot be emptied")

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""

    def __repr__(self) -> str:
        return "ImmutableDatasetWriter()"


def _refusal(problem: str) -> RuntimeError:
    fix = "Build the buffer with writer=RoundRobinWriter(), or copy the rows into another one with extend(buffer[:])"
    return RuntimeError(message("ImmutableDatasetWriter", f"the data set is immutable: {problem}", fix=fix))
