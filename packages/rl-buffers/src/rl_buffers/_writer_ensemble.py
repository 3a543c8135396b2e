"""The writers of several buffers that are read together."""

from typing import Any, Never, final

from torch import Tensor

from rl_buffers._storage import Block, Storage, Where
from rl_buffers._writer import Writer
from rl_specs import message


@final
class WriterEnsemble(Writer):
    """The writers of a `ReplayBufferEnsemble`, which are reached through its members: it refuses to write itself.

    Args:
        writers: one for each storage.
    """

    def __init__(self, *writers: Writer) -> None:
        for writer in writers:
            if not isinstance(writer, Writer):
                raise TypeError(message("WriterEnsemble", "a member", expected="a Writer", found=repr(writer)))
        self._writers = writers

    def __len__(self) -> int:
        """Number of writers."""
        return len(self._writers)

    def __getitem__(self, number: int) -> Writer:
        """One writer."""
        return self._writers[number]

    def attach(self, storage: Storage) -> None:
        """Members are attached to storages of their own."""

    def prepare(self, storage: Storage, data: Any, *, is_row: bool, where: Where | None = None) -> Never:
        """Refused; see `extend`."""
        raise ensemble_refusal("WriterEnsemble")

    def extend(self, storage: Storage, block: Block) -> Never:
        """Refused.

        Raises:
            RuntimeError: always.
        """
        raise ensemble_refusal("WriterEnsemble")

    def add(self, storage: Storage, block: Block) -> Never:
        """Refused; see `extend`."""
        raise ensemble_refusal("WriterEnsemble")

    def overwrite(self, storage: Storage, where: Where, block: Block) -> Never:
        """Refused; see `extend`."""
        raise ensemble_refusal("WriterEnsemble")

    def order(self, storage: Storage) -> Tensor:
        """Refused; see `extend`."""
        raise ensemble_refusal("WriterEnsemble")

    def clear(self) -> None:
        """Clear every member."""
        for writer in self._writers:
            writer.clear()

    def settings(self) -> dict[str, Any]:
        """Those of the members, in turn."""
        return {"writers": [[type(writer).__name__, writer.settings()] for writer in self._writers]}

    def state_dict(self) -> dict[str, Any]:
        """The states of the members, in turn."""
        return {"writers": [writer.state_dict() for writer in self._writers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Writer.load_state_dict`."""
        for writer, saved in zip(self._writers, state["writers"], strict=True):
            writer.load_state_dict(saved)

    def __repr__(self) -> str:
        return f"WriterEnsemble({', '.join(map(repr, self._writers))})"


def ensemble_refusal(component: str) -> RuntimeError:
    """What an ensemble says to who writes to it."""
    problem = "an ensemble is not written to: which of its buffers would the rows belong to?"
    return RuntimeError(message(component, problem, fix="Write to one of them: ensemble[0].extend(data)"))
