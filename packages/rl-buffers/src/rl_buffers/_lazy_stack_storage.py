"""TensorDicts of different shapes, read as a lazy stack."""

from typing import Any, final

import torch
from tensordict import TensorDict, is_tensor_collection

from rl_buffers._base_list_storage import BaseListStorage, copy_row
from rl_buffers._checkpointer import StorageCheckpointerBase
from rl_buffers._lazy_tensor_storage import resolved
from rl_buffers._plain_rows import describe_rows, parse_rows
from rl_buffers._storage import Block
from rl_specs import SpecError, message


@final
class LazyStackStorage(BaseListStorage):
    """TensorDicts that may differ in their shapes, such as trajectories; a batch is a `LazyStackedTensorDict` of them.

    Tensorclasses give a tensorclass around such a stack.

    An entry of a batch is stacked when it is asked for, which works where the rows agree in its shape; `batch[i]` and
    `batch.unbind(0)` give the rows, and `batch.get(key, as_padded_tensor=True)` an entry of several shapes.

    Args:
        max_size: capacity in rows; None for no limit.
        stack_dim: batch dimension of the stack along which rows lie, from 0.
        device: where tensors are kept; None for where they are.
        checkpointer: how rows become files; None for `ListStorageCheckpointer()`.
    """

    def __init__(
        self,
        max_size: int | None = None,
        *,
        stack_dim: int = 0,
        device: torch.device | str | None = None,
        checkpointer: StorageCheckpointerBase | None = None,
    ) -> None:
        super().__init__(max_size, checkpointer)
        if not isinstance(stack_dim, int) or isinstance(stack_dim, bool) or stack_dim < 0:
            problem = message("LazyStackStorage", "stack_dim", expected="an integer >= 0", found=repr(stack_dim))
            raise ValueError(problem)
        self._stack_dim = stack_dim
        self._to = None if device is None else resolved(device)

    @property
    def is_stacked(self) -> bool:
        """True: a batch is one value."""
        return True

    def check(self, data: Any, component: str) -> Block:
        """See `Storage.check`.

        Raises:
            SpecError: rows that are no TensorDicts.
        """
        block = super().check(data, component)
        for row in block.columns:
            self._assert_tensordict(row, component)
        return block

    def check_row(self, row: Any, component: str) -> Block:
        """See `Storage.check_row`; a TensorDict."""
        self._assert_tensordict(row, component)
        return super().check_row(row, component)

    def _assert_tensordict(self, row: Any, component: str) -> None:
        if not is_tensor_collection(row):
            fix = "Nothing was written. Use ListStorage for other rows"
            raise SpecError(message(component, "a row", expected="a TensorDict", found=type(row).__name__, fix=fix))
        if len(row.batch_size) < self._stack_dim:
            expected = f"at least {self._stack_dim}, as stack_dim is {self._stack_dim}"
            raise SpecError(message(component, "batch dimensions of a row", expected=expected, found=row.batch_size))

    def _encode(self, row: Any) -> Any:
        return copy_row(row, self._to)

    def _decode(self, stored: Any) -> Any:
        return copy_row(stored)

    def _peek(self, stored: Any) -> Any:
        return stored

    def _gather(self, rows: list[Any]) -> Any:
        return TensorDict.lazy_stack(rows, self._stack_dim)

    def head(self) -> dict[str, Any]:
        """See `Rows.head`."""
        return {"kind": "lazy stack", "max_size": self._capacity, "length": self._length}

    def state_dict(self) -> dict[str, Any]:
        """Rows, as the leaves of each; rows made alike share one description."""
        return {**self.head(), **describe_rows(self._rows)}

    def differences(self, state: dict[str, Any]) -> list[str]:
        """See `Storage.differences`: kind and capacity."""
        return self._common_differences(state, "lazy stack")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Storage.load_state_dict`."""
        self._rows = [copy_row(row, self._to) for row in parse_rows(state)]
        self._length = len(self._rows)
