"""What an asynchronous pool asks of threads or processes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from rl_envs._env_specs import EnvSpecs
from rl_envs.parallel._env_row import Answer, Request
from rl_envs.parallel._env_task import Description
from rl_specs import FlatDict


class AsyncBackend(ABC):
    """Runs environments that each take one request at a time."""

    restarts: int = 0
    """How many workers have been started anew; what their environments owe is asked for anew, too."""

    @abstractmethod
    def descriptions(self) -> list[Description]:
        """Of all environments, in order; several may be in one description."""

    @abstractmethod
    def connect(self, specs: EnvSpecs, *, has_member_masks: bool) -> None:
        """Make ready for requests.

        Args:
            specs: of all environments, `[N, *B]`; they have been compared.
            has_member_masks: whether resets follow masks of groups.
        """

    @abstractmethod
    def send(self, index: int, request: Request, root: FlatDict | None) -> None:
        """Ask an environment, which owes no answer, for something.

        Args:
            index: which.
            request: what.
            root: its entries `[*B]`; see `EnvRow.answer`.
        """

    @abstractmethod
    def receive(self, wait_s: float | None) -> list[tuple[int, Answer]]:
        """Wait until any environment has answered.

        Args:
            wait_s: how long; None: without limit.
        Returns:
            Environments and their answers; empty when time is up.
        Raises:
            WorkerError: an environment raised, or its process ended; all are closed.
        """

    @abstractmethod
    def call(self, method: str, arguments: Sequence[Any], *, is_lasting: bool = False) -> list[Any]:
        """Call a method of every environment while none owes an answer; see `call_env`.

        Args:
            method: which.
            arguments: one for each environment.
            is_lasting: whether a worker that is started anew is to begin with this call.
        """

    @abstractmethod
    def to(self, device: torch.device) -> None:
        """Move what the environments hold, while none owes an answer."""

    @abstractmethod
    def give_up_on(self, late: Sequence[int]) -> None:
        """Close everything because of environments that do not answer in time, or start their workers anew.

        Raises:
            WorkerTimeoutError: says so; everything is closed.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the environments; a second time does nothing."""
