"""Several buffers sampled together."""

from collections.abc import Callable, Sequence
from typing import Any, Never, final

import torch
from tensordict import TensorDict
from torch import Tensor

from rl_buffers._arguments import named_arguments, whole_number
from rl_buffers._buffer import BufferBase
from rl_buffers._composite import CompositeBuffer
from rl_buffers._ensembles import SamplerEnsemble, StorageEnsemble, WriterEnsemble, ensemble_refusal, one_each
from rl_buffers._layout import stack_rows
from rl_buffers.buffers import ReplayBuffer
from rl_specs import message


@final
class ReplayBufferEnsemble(CompositeBuffer):
    """Several buffers, sampled together, data sets of several tasks say.

    A batch is made of `k` parts, each drawn from one buffer by its own sampler, transforms and generator, and stacked:
    `[k, batch_size // k, ...]`. `info["index"]` of `sample(return_info=True)` is a TensorDict `[k]` with `"buffer_ids"`
    `[k]` and `"index"` `[k, batch_size // k]`; other entries of `info` are stacked likewise. `ensemble[i]` is the i-th
    buffer, to which rows are written and priorities are reported; the ensemble itself is not written to.

    Args:
        buffers: the members. In place of them:
        storages, samplers, writers: their parts, as many of each. Members then draw from `generator`.
        transform: callable applied to the whole batch, after the transforms of the members.
        batch_size: rows in a batch, a multiple of `k`.
        collate_fn: makes a batch of the list of parts; None to stack them.
        collate_fns: those of members made of `storages`, one each.
        p: how likely each buffer is; None for all alike.
        sample_from_all: draw from every buffer for every batch.
        num_buffer_sampled: `k`; None for the number of buffers.
        generator: decides which buffers are drawn from; None for torch's global one.
        prefetch: how many batches a thread makes ahead. Batches are those made without it, whatever is written to the
            members meanwhile. The members have none of their own then, and share one lock; give it before other threads
            use them.
        pin_memory: copy batches to page-locked memory; needs a GPU.
    """

    @named_arguments
    def __init__(
        self,
        *buffers: BufferBase,
        storages: StorageEnsemble | None = None,
        samplers: SamplerEnsemble | None = None,
        writers: WriterEnsemble | None = None,
        transform: Callable[[Any], Any] | None = None,
        batch_size: int | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        collate_fns: Sequence[Callable[[Any], Any] | None] | None = None,
        p: Sequence[float] | Tensor | None = None,
        sample_from_all: bool = False,
        num_buffer_sampled: int | None = None,
        generator: torch.Generator | None = None,
        prefetch: int | None = None,
        pin_memory: bool = False,
    ) -> None:
        parts = (storages, samplers, writers)
        if bool(buffers) == any(part is not None for part in parts):
            problem = "give either buffers, or storages=, samplers= and writers="
            raise ValueError(message("ReplayBufferEnsemble", problem, fix="ReplayBufferEnsemble(buffer, another)"))
        members = list(buffers) or _members(storages, samplers, writers, collate_fns, generator)
        others: list[object] = [member for member in members if not isinstance(member, BufferBase)]
        if others:
            raise TypeError(message("ReplayBufferEnsemble", "members", expected="replay buffers", found=others))
        if samplers is None:
            chosen = {"p": p, "sample_from_all": sample_from_all, "num_buffer_sampled": num_buffer_sampled}
            samplers = SamplerEnsemble(*(member.sampler for member in members), **chosen)  # type: ignore[arg-type]  # the values of a dict have one type
        elif p is not None or sample_from_all or num_buffer_sampled is not None:
            problem = "p, sample_from_all and num_buffer_sampled are those of samplers"
            raise ValueError(message("ReplayBufferEnsemble", problem, fix="Give them to SamplerEnsemble(...)"))
        self._samplers = samplers
        self._collate_fn = collate_fn
        super().__init__(
            members, batch_size=batch_size, transform=transform, generator=generator, pin_memory=pin_memory
        )
        depth = whole_number("ReplayBufferEnsemble", "prefetch", prefetch or 0, least=0)
        if depth:
            self._look_ahead(depth)

    @property
    def storages(self) -> StorageEnsemble:
        """The storages of the members."""
        return StorageEnsemble(*(buffer.storage for buffer in self._buffers))

    @property
    def samplers(self) -> SamplerEnsemble:
        """The samplers of the members, and which of the members are drawn from."""
        return self._samplers

    @property
    def writers(self) -> WriterEnsemble:
        """The writers of the members."""
        return WriterEnsemble(*(buffer.writer for buffer in self._buffers))

    def __getitem__(self, number: int) -> BufferBase:
        """One of the buffers."""
        return self._buffers[number]

    def __repr__(self) -> str:
        return f"ReplayBufferEnsemble({', '.join(map(repr, self._buffers))}, batch_size={self._batch_size})"

    def extend(self, data: Any) -> Never:
        """Refused.

        Raises:
            RuntimeError: always; `ensemble[i].extend(data)` writes.
        """
        raise ensemble_refusal("ReplayBufferEnsemble")

    def add(self, row: Any) -> Never:
        """Refused; see `extend`."""
        raise ensemble_refusal("ReplayBufferEnsemble")

    def _draw_now(self, batch_size: int) -> tuple[Any, dict[str, Any]]:
        share = self._share(batch_size)
        with self._lock:
            numbers = self._numbers()
            drawn = [self._buffers[number].sample(share, return_info=True) for number in numbers]
        return self._joined([batch for batch, _ in drawn]), _stacked([info for _, info in drawn], numbers)

    def _share(self, batch_size: int) -> int:
        """Rows of each part of a batch."""
        count = self._samplers.num_buffer_sampled
        if batch_size % count:
            expected = f"a multiple of the {count} buffers that a batch is drawn from"
            raise ValueError(message("ReplayBufferEnsemble", "batch_size", expected=expected, found=batch_size))
        return batch_size // count

    def _numbers(self) -> list[int]:
        """The buffers of the parts of the next batch."""
        return self._samplers.choose([len(buffer) for buffer in self._buffers], self._generator)

    def _joined(self, batches: list[Any]) -> Any:
        """One batch of its parts."""
        batch = stack_rows(batches, "ReplayBufferEnsemble") if self._collate_fn is None else self._collate_fn(batches)
        return self._transformed(batch)

    def _choose(self, batch_size: int) -> tuple[Tensor, dict[str, Any]]:
        """See `Steps.draw`: the buffers of a batch, and the rows chosen in each."""
        share, numbers = self._share(batch_size), self._numbers()
        buffers = [self._buffers[number] for number in numbers]
        return torch.tensor(numbers), {"parts": [(buffer, *buffer._choose(share)) for buffer in buffers]}

    def _finish(self, rows: list[Any], info: dict[str, Any]) -> Any:
        """See `Steps.finish`."""
        parts, numbers = info.pop("parts"), info.pop("numbers")
        infos = [known for _, _, known in parts]
        batch = self._joined([part[0]._finish(row, part[2]) for part, row in zip(parts, rows, strict=True)])
        info.update(_stacked(infos, numbers))
        return batch

    def _settings(self) -> dict[str, Any]:
        return self._samplers.settings()

    def _take_settings(self, settings: dict[str, Any]) -> None:
        """They are the same."""

    def _differences(self, settings: dict[str, Any]) -> list[str]:
        here = self._samplers.settings()
        return [] if here == settings else [f"choice of buffers: expected {here}, found {settings}"]


def _members(
    storages: StorageEnsemble | None,
    samplers: SamplerEnsemble | None,
    writers: WriterEnsemble | None,
    collate_fns: Sequence[Callable[[Any], Any] | None] | None,
    generator: torch.Generator | None,
) -> list[BufferBase]:
    """Buffers made of their parts."""
    if storages is None or samplers is None or writers is None or len({len(storages), len(samplers), len(writers)}) > 1:
        found = ", ".join("none" if part is None else str(len(part)) for part in (storages, samplers, writers))
        expected = "storages, samplers and writers, as many of each"
        raise ValueError(message("ReplayBufferEnsemble", "its parts", expected=expected, found=found))
    collate = one_each("ReplayBufferEnsemble", "collate_fns", collate_fns, len(storages))
    return [
        ReplayBuffer(
            storage=storage, sampler=sampler, writer=writer, collate_fn=fn, transform=transform, generator=generator
        )
        for storage, sampler, writer, fn, transform in zip(
            storages, samplers, writers, collate, storages.transforms, strict=True
        )
    ]


def _stacked(infos: list[dict[str, Any]], numbers: list[int]) -> dict[str, Any]:
    """What is known of the parts of a batch, as far as it is known of each."""
    index = torch.stack([info["index"].cpu() for info in infos])
    known: dict[str, Any] = {"index": TensorDict({"index": index, "buffer_ids": torch.tensor(numbers)}, [len(numbers)])}
    for key in infos[0]:
        values = [info[key] for info in infos if isinstance(info.get(key), Tensor)]
        if key != "index" and len(values) == len(infos) and len({value.shape for value in values}) == 1:
            known[key] = torch.stack(values)
    return known
