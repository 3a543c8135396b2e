"""A ring whose rows carry their own numbers."""

from typing import Any, final

import torch
from tensordict import TensorDictBase
from torch import Size, Tensor

from rl_buffers._extend_dim import stack_steps
from rl_buffers._ring_writer import RingWriter
from rl_buffers._ring_writes import ring_places
from rl_buffers._storage import Storage, Where
from rl_specs import message


@final
class TensorDictRoundRobinWriter(RingWriter):
    """A ring of TensorDicts: each row is stored with its number, under `"index"`.

    The entry is int64 and has the batch dimensions of the data; of data `[*B, T]` each row has its own number. An entry
    `"index"` of the data themselves is replaced. Batches of a `TensorDictReplayBuffer` carry their numbers
    whatever the writer; this one serves buffers whose batches do not, and rows read one by one.
    """

    def prepare(self, storage: Storage, data: Any, *, is_row: bool, where: Where | None = None) -> Any:
        """`data` with the numbers that its rows will have.

        Raises:
            TypeError: the data are no TensorDict.
        """
        if type(data) is list and not is_row:
            data = stack_steps(data, "TensorDictRoundRobinWriter", 0 if where is not None else storage.ndim - 1)
        if not isinstance(data, TensorDictBase):
            raise TypeError(
                message(
                    "TensorDictRoundRobinWriter",
                    "the data",
                    expected="a TensorDict",
                    found=type(data).__name__,
                    fix="Use RoundRobinWriter for other data",
                )
            )
        shape = data.batch_size
        if where is None:
            lead = shape[: storage.ndim - 1] if is_row else shape[: storage.ndim]
            numbers = self._next_numbers(storage, lead, has_time=not is_row)
        elif isinstance(where, slice):
            numbers = torch.arange(where.start, where.stop)
        else:
            numbers = torch.as_tensor(where)
        if numbers.shape != shape[: numbers.ndim]:
            numbers = torch.zeros((), dtype=torch.int64)  # the buffer will refuse that number of rows
        numbers = numbers.to(data.device)
        index = numbers.reshape((*numbers.shape, *[1] * (len(shape) - numbers.ndim))).expand(shape)
        return data.copy().set("index", index)

    def _next_numbers(self, storage: Storage, lead: Size, *, has_time: bool) -> Tensor:
        """Numbers `[*B, T]`, or `[*B]` of one step, of the rows that are written next."""
        if not has_time:
            return self._next_numbers(storage, Size((*lead, 1)), has_time=True).squeeze(-1)
        if self._free is not None and lead.numel() < storage.max_size:  # rows side by side are never given back
            return ring_places(storage.max_size, lead.numel(), self._cursor, self._free)[0]
        lanes = lead[:-1].numel()
        size = storage.max_size - storage.max_size % max(1, lanes)  # before the first data lanes are not decided
        numbers = torch.arange(self._cursor, self._cursor + lead.numel()).remainder_(max(1, size))
        return numbers.view(lead[-1], *lead[:-1]).movedim(0, -1)
