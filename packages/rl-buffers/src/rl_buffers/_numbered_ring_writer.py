"""A ring whose rows carry their own numbers."""

from typing import Any, final

import torch
from tensordict import TensorDictBase
from torch import Size, Tensor

from rl_buffers._extend_dim import stack_steps
from rl_buffers._ring_writes import ring_fill, ring_order, ring_places, ring_start
from rl_buffers._storage import Block, Storage, Where
from rl_buffers._writer import Writer, write_whole
from rl_specs import message


@final
class TensorDictRoundRobinWriter(Writer):
    """A ring of TensorDicts: each row is stored with its number, under `"index"`.

    The entry is int64 and has the batch dimensions of the data; of data `[*B, T]` each row has its own number. An entry
    `"index"` of the data themselves is replaced. Batches of a `TensorDictReplayBuffer` carry their numbers
    whatever the writer; this one serves buffers whose batches do not, and rows read one by one.
    """

    def __init__(self) -> None:
        self._cursor = 0
        self._free: Tensor | None = None

    def attach(self, storage: Storage) -> None:
        """Go on after the rows that are there."""
        self._cursor = ring_start(storage, self._cursor)

    def offer(self, rows: Tensor) -> None:
        """See `Writer.offer`; the next write takes them before it goes on round the ring."""
        self._free = rows if len(rows) else None

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

    def _next(self) -> int:
        """Where the next row goes."""
        return int(self._free[0]) if self._free is not None else self._cursor

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

    def extend(self, storage: Storage, block: Block) -> Tensor:
        """See `RoundRobinWriter.extend`."""
        index, self._cursor = ring_fill(storage, block, self._cursor, self._free)
        self._free = None
        return index

    def add(self, storage: Storage, block: Block) -> int:
        """See `Writer.add`; every row is kept."""
        index = self._next()
        write_whole(storage, index, block)
        if self._free is None:
            self._cursor = (index + 1) % storage.max_size
        self._free = None
        return index

    def overwrite(self, storage: Storage, where: Where, block: Block) -> None:
        """Allowed: the numbers of the rows stay what they are."""

    def order(self, storage: Storage) -> Tensor:
        """See `Writer.order`."""
        return ring_order(storage, self._cursor)

    def clear(self) -> None:
        """Start at the first row again."""
        self._cursor = 0

    def state_dict(self) -> dict[str, Any]:
        """The next row to write."""
        return {"cursor": self._cursor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Writer.load_state_dict`."""
        self._cursor = state["cursor"]

    def __repr__(self) -> str:
        return f"TensorDictRoundRobinWriter(cursor={self._cursor})"
