"""Parts of several buffers that are read together."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Never, TypeVar, final

import torch
from torch import Tensor

from rl_buffers._sampler import Sampler
from rl_buffers._storage import Storage
from rl_buffers._writer import Writer
from rl_specs import message

_Part = TypeVar("_Part")


class _Ensemble(Generic[_Part]):
    """Several parts of one kind."""

    def __init__(self, parts: Sequence[_Part], kind: type[Any]) -> None:
        if not parts:
            raise ValueError(message(type(self).__name__, "it has no members", expected=f"one {kind.__name__} or more"))
        for part in parts:
            if not isinstance(part, kind):
                expected = f"an instance of {kind.__name__}"
                raise TypeError(message(type(self).__name__, "a member", expected=expected, found=repr(part)))
        self._parts: tuple[_Part, ...] = tuple(parts)

    def __len__(self) -> int:
        """Number of members."""
        return len(self._parts)

    def __getitem__(self, number: int) -> _Part:
        """One member."""
        return self._parts[number]

    def __iter__(self) -> Iterator[_Part]:
        """The members in turn."""
        return iter(self._parts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._parts))})"


@final
class StorageEnsemble(_Ensemble[Storage]):
    """The storages of a `ReplayBufferEnsemble`.

    Args:
        storages: the members.
        transforms: one for each, applied to what is read of it; None for none.
    """

    def __init__(self, *storages: Storage, transforms: Sequence[Callable[[Any], Any] | None] | None = None) -> None:
        super().__init__(storages, Storage)
        self.transforms = one_each("StorageEnsemble", "transforms", transforms, len(storages))

    @property
    def sizes(self) -> list[int]:
        """Rows stored in each."""
        return [len(storage) for storage in self]


@final
class WriterEnsemble(_Ensemble[Writer]):
    """The writers of a `ReplayBufferEnsemble`; the ensemble itself does not write.

    Args:
        writers: the members.
    """

    def __init__(self, *writers: Writer) -> None:
        super().__init__(writers, Writer)

    def extend(self, data: Any) -> Never:
        """Refused.

        Raises:
            RuntimeError: always.
        """
        raise ensemble_refusal("WriterEnsemble")

    def add(self, row: Any) -> Never:
        """Refused; see `extend`."""
        raise ensemble_refusal("WriterEnsemble")


@final
class SamplerEnsemble(_Ensemble[Sampler]):
    """The samplers of a `ReplayBufferEnsemble`, and which of its buffers a batch is drawn from.

    Args:
        samplers: the members.
        p: how likely each is, `[n]`, in any unit; None for all alike.
        sample_from_all: draw from every buffer, in turn, for every batch.
        num_buffer_sampled: from how many buffers a batch is drawn, the same one perhaps more than once; None for as
            many as there are. Of no effect with `sample_from_all`.
    """

    def __init__(
        self,
        *samplers: Sampler,
        p: Sequence[float] | Tensor | None = None,
        sample_from_all: bool = False,
        num_buffer_sampled: int | None = None,
    ) -> None:
        super().__init__(samplers, Sampler)
        if p is not None and sample_from_all:
            fix = "Leave one of them out"
            raise ValueError(message("SamplerEnsemble", "p says nothing where sample_from_all=True", fix=fix))
        if num_buffer_sampled is not None and num_buffer_sampled < 1:
            expected = "an integer >= 1"
            raise ValueError(
                message("SamplerEnsemble", "num_buffer_sampled", expected=expected, found=num_buffer_sampled)
            )
        self._p = None if p is None else _probabilities(p, len(samplers))
        self._sample_from_all = sample_from_all
        self._count = len(samplers) if sample_from_all or num_buffer_sampled is None else num_buffer_sampled

    @property
    def p(self) -> Tensor | None:
        """How likely each buffer is, float64 `[n]` that adds up to 1; None for all alike."""
        return self._p

    @property
    def num_buffer_sampled(self) -> int:
        """From how many buffers a batch is drawn."""
        return self._count

    def choose(self, sizes: Sequence[int], generator: torch.Generator | None) -> list[int]:
        """Numbers of the buffers of the next batch, one for each part of it.

        Args:
            sizes: rows in each buffer.
            generator: source of randomness; None for torch's global one.
        Raises:
            RuntimeError: a buffer that might be drawn from is empty.
        """
        weights = self._p if self._p is not None else torch.ones(len(self), dtype=torch.float64)
        empty = [number for number, size in enumerate(sizes) if size == 0 and weights[number] > 0]
        if empty:
            problem = f"cannot sample: buffers {', '.join(map(str, empty))} are empty"
            fix = "Extend them first, ensemble[0].extend(data) say, or give them probability 0"
            raise RuntimeError(message("SamplerEnsemble", problem, fix=fix))
        if self._sample_from_all:
            return list(range(len(self)))
        if generator is not None:
            weights = weights.to(generator.device)
        numbers: list[int] = torch.multinomial(weights, self._count, replacement=True, generator=generator).tolist()
        return numbers

    def settings(self) -> dict[str, Any]:
        """How buffers are chosen."""
        return {
            "p": None if self._p is None else self._p.tolist(),
            "sample_from_all": self._sample_from_all,
            "num_buffer_sampled": self._count,
        }


def ensemble_refusal(component: str) -> RuntimeError:
    """What an ensemble says to who writes to it."""
    problem = "an ensemble is not written to: which of its buffers would the rows belong to?"
    return RuntimeError(message(component, problem, fix="Write to one of them: ensemble[0].extend(data)"))


def one_each(
    component: str, name: str, values: Sequence[Callable[[Any], Any] | None] | None, count: int
) -> list[Callable[[Any], Any] | None]:
    """A value for each member."""
    if values is None:
        return [None] * count
    if len(values) != count:
        raise ValueError(message(component, f"number of {name}", expected=count, found=len(values)))
    return list(values)


def _probabilities(p: Sequence[float] | Tensor, count: int) -> Tensor:
    weights = torch.as_tensor(p, dtype=torch.float64).cpu()
    is_good = weights.shape == (count,) and bool((weights >= 0).all() and weights.isfinite().all() and weights.any())
    if not is_good:
        expected = f"{count} numbers >= 0, not all 0"
        raise ValueError(message("SamplerEnsemble", "p", expected=expected, found=weights.tolist()))
    return weights / weights.sum()
