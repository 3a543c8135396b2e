"""A fixed data set and a ring of new rows, sampled together."""

from collections.abc import Callable
from typing import Any, final

import torch
from tensordict import TensorDictBase, is_tensor_collection
from torch import Tensor

from rl_buffers._arguments import named_arguments, whole_number
from rl_buffers._buffer import BufferBase
from rl_buffers._composite import CompositeBuffer
from rl_buffers._storage import Storage
from rl_buffers.buffers import TensorDictReplayBuffer
from rl_buffers.storages import LazyTensorStorage
from rl_specs import SpecError, key_str, message


@final
class OfflineToOnlineReplayBuffer(CompositeBuffer):
    """A data set that stays as it is, and a ring of new rows; every batch holds rows of both.

    Of a batch of `n` rows exactly `round(fraction * n)` come from the data set, and come first; the others from the
    ring. As long as the ring is empty all come from the data set, and with a fraction of 0 none do. Rows of both have
    the same entries. Batches have the entry `"buffer_ids"` (0 for the data set, 1 for the ring) beside `"index"`.

    Args:
        offline_dataset: a buffer with rows; it is never written to, and drawn from by its own sampler and transforms.
        online_storage: where new rows are kept; None for `LazyTensorStorage(online_capacity)`.
        online_capacity: rows in the ring; None for as many as the data set has.
        offline_fraction: part of a batch that comes from the data set, in [0, 1]; or a function of `write_count`, the
            number of rows written to the ring so far, such as `lambda n: max(0.0, 1 - n / 100_000)`.
        batch_size: rows in a batch.
        transform: callable applied to the whole batch.
        generator: source of randomness of the ring; None for torch's global one.
        prefetch: how many batches a thread makes ahead, of both; see `ReplayBuffer`. The data set then has none of its
            own, and is part of no other buffer with prefetch.
        pin_memory: copy batches to page-locked memory; needs a GPU.
    """

    @named_arguments
    def __init__(
        self,
        offline_dataset: BufferBase,
        *,
        online_storage: Storage | None = None,
        online_capacity: int | None = None,
        offline_fraction: float | Callable[[int], float] = 0.5,
        batch_size: int | None = None,
        transform: Callable[[Any], Any] | None = None,
        generator: torch.Generator | None = None,
        prefetch: int | None = None,
        pin_memory: bool = False,
    ) -> None:
        given: object = offline_dataset
        if not isinstance(given, BufferBase):
            expected = "a replay buffer with rows"
            problem = "offline_dataset"
            raise TypeError(message(self._name, problem, expected=expected, found=repr(given)))
        if online_storage is not None and online_capacity is not None:
            raise ValueError(message(self._name, "online_storage has a capacity", fix="Leave online_capacity out"))
        if online_storage is None:
            capacity = online_capacity if online_capacity is not None else max(1, len(offline_dataset))
            online_storage = LazyTensorStorage(capacity)
        self._offline = offline_dataset
        self._online = TensorDictReplayBuffer(storage=online_storage, generator=generator)
        self._fraction = offline_fraction
        super().__init__(
            (offline_dataset, self._online),
            batch_size=batch_size,
            transform=transform,
            generator=None,
            pin_memory=pin_memory,
        )
        self._checked_fraction()
        depth = whole_number(self._name, "prefetch", prefetch or 0, least=0)
        if depth:
            self._look_ahead(depth)

    @property
    def offline_buffer(self) -> BufferBase:
        """The data set."""
        return self._offline

    @property
    def online_buffer(self) -> TensorDictReplayBuffer:
        """The ring."""
        return self._online

    @property
    def write_count(self) -> int:
        """Rows written to the ring so far."""
        return self._online.write_count

    @property
    def offline_fraction(self) -> float:
        """Part of the next batch that comes from the data set. A number that is set takes the place of a schedule."""
        return self._checked_fraction()

    @offline_fraction.setter
    def offline_fraction(self, fraction: float | Callable[[int], float]) -> None:
        with self._lock:
            self._take_back()
            before, self._fraction = self._fraction, fraction
            try:
                self._checked_fraction()
            except ValueError:
                self._fraction = before
                raise

    def extend(self, data: Any) -> Tensor:
        """Write rows to the ring; see `ReplayBuffer.extend`."""
        return self._online.extend(data)

    def add(self, row: Any) -> int | None:
        """Write a row to the ring; see `ReplayBuffer.add`."""
        return self._online.add(row)

    def empty(self) -> None:
        """Forget the rows of the ring; the data set stays."""
        self._online.empty()

    def __repr__(self) -> str:
        return f"OfflineToOnlineReplayBuffer({self._offline!r}, {self._online!r}, batch_size={self._batch_size})"

    def _draw_now(self, batch_size: int) -> tuple[Any, dict[str, Any]]:
        with self._lock:
            shares = self._shares(batch_size)
            drawn = [(number, *self._buffers[number].sample(share, return_info=True)) for number, share in shares]
        return self._together(drawn)

    def _choose(self, batch_size: int) -> tuple[Tensor, dict[str, Any]]:
        """See `CompositeBuffer._choose`."""
        shares = self._shares(batch_size)
        parts = [(self._buffers[number], *self._buffers[number]._choose(share)) for number, share in shares]
        return torch.tensor([number for number, _ in shares]), {"parts": parts}

    def _finish(self, rows: list[Any], info: dict[str, Any]) -> Any:
        """See `CompositeBuffer._finish`."""
        parts, numbers = info.pop("parts"), info.pop("numbers")
        batches = [part[0]._finish(row, part[2]) for part, row in zip(parts, rows, strict=True)]
        batch, known = self._together(list(zip(numbers, batches, [part[2] for part in parts], strict=True)))
        info.update(known)
        return batch

    def _shares(self, batch_size: int) -> list[tuple[int, int]]:
        """The members of the next batch, and how many of its rows come from each."""
        count = round(self._checked_fraction() * batch_size)
        if len(self._online) == 0:
            count = batch_size
        return [(number, share) for number, share in ((0, count), (1, batch_size - count)) if share]

    def _together(self, drawn: list[tuple[int, Any, dict[str, Any]]]) -> tuple[Any, dict[str, Any]]:
        """One batch of its parts, and what is known of it."""
        buffer_ids = torch.cat([torch.full((len(info["index"]),), number) for number, _, info in drawn])
        info = {"index": torch.cat([info["index"].cpu() for _, _, info in drawn]), "buffer_ids": buffer_ids}
        batch = _joined([_with_index(batch, known) for _, batch, known in drawn])
        if is_tensor_collection(batch):
            batch.set("buffer_ids", buffer_ids.view(-1, *[1] * (batch.ndim - 1)).expand(batch.shape).contiguous())
        return self._transformed(batch), info

    def _checked_fraction(self) -> float:
        fraction = self._fraction if not callable(self._fraction) else self._fraction(self.write_count)
        if not 0 <= fraction <= 1:
            expected = "a number in [0, 1]"
            raise ValueError(message(self._name, "offline_fraction", expected=expected, found=fraction))
        return float(fraction)

    def _settings(self) -> dict[str, Any]:
        return {"offline_fraction": None if callable(self._fraction) else float(self._fraction)}

    def _take_settings(self, settings: dict[str, Any]) -> None:
        if settings["offline_fraction"] is not None:
            self._fraction = settings["offline_fraction"]

    def _differences(self, settings: dict[str, Any]) -> list[str]:
        here, saved = callable(self._fraction), settings["offline_fraction"] is None
        return [] if here == saved else [f"a schedule of offline_fraction: expected {here}, found {saved}"]


def _with_index(batch: Any, info: dict[str, Any]) -> Any:
    """A batch of TensorDicts with its row numbers, and nothing else of what its sampler said of the rows."""
    if not isinstance(batch, TensorDictBase):
        return batch
    index = info["index"].view(-1, *[1] * (batch.ndim - 1)).expand(batch.shape).contiguous()
    return batch.exclude(*(key for key in info if key != "index")).set("index", index)


def _joined(batches: list[Any]) -> Any:
    """One batch of two, with the entries that both have."""
    if len(batches) == 1:
        return batches[0]
    first, second = batches
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat(batches)
    if not isinstance(first, TensorDictBase) or not isinstance(second, TensorDictBase):
        expected = "batches of TensorDicts or of tensors"
        found = f"{type(first).__name__} and {type(second).__name__}"
        raise TypeError(message("OfflineToOnlineReplayBuffer", "the rows", expected=expected, found=found))
    ours, theirs = ({*batch.keys(True, True)} for batch in batches)
    if ours != theirs:
        only = [
            f"only in {name}: {', '.join(sorted(key_str(key) for key in keys))}"
            for name, keys in (("the data set", ours - theirs), ("the ring", theirs - ours))
            if keys
        ]
        problem = "data set and ring have different entries; " + "; ".join(only)
        fix = "Leave entries out with a transform, or before they are stored"
        raise SpecError(message("OfflineToOnlineReplayBuffer", problem, fix=fix))
    return torch.cat(batches)
