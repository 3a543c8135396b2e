"""Whose statistics a normaliser uses, and whether it updates them."""

from collections.abc import Sequence
from typing import Protocol, final

from rl_envs.transforms._shared_moments import SharedMoments
from rl_envs.transforms.running_moments import RunningMoments
from rl_specs import TensorMap


class Method(Protocol):
    """What a turn is taken for."""

    def __call__(self, data: TensorMap, result: TensorMap, /, *, is_update: bool) -> TensorMap:
        """Read the moments, or update them where `is_update` is True."""


@final
class Sharing:
    """Freezes the moments of a normaliser, and shares them with those of its copies, which then take turns.

    Copies and pickles share what was shared before, each with moments of its own that follow.
    """

    def __init__(self) -> None:
        self._shared: SharedMoments | None = None
        self.is_frozen = False
        self.takes_turns = False
        """Whether moments are shared, and not frozen."""

    @property
    def is_shared(self) -> bool:
        """Whether `share` has been called, on this object or on the one it was copied from."""
        return self._shared is not None

    def freeze(self) -> None:
        """Leave the moments as they are."""
        self.refresh()
        self.is_frozen, self.takes_turns = True, False

    def unfreeze(self) -> None:
        """Go on; shared moments are what the others have made of them."""
        self.is_frozen, self.takes_turns = False, self._shared is not None
        if self._shared is not None:
            self._shared.forget()

    def share(self, moments: Sequence[RunningMoments]) -> None:
        """Share moments from now on, for good; they are those of the normaliser."""
        self._shared = SharedMoments(moments)
        self.takes_turns = not self.is_frozen

    def turn(
        self,
        method: Method,
        data: TensorMap,
        result: TensorMap,
        *,
        is_update: bool,
    ) -> TensorMap:
        """`method(data, result, is_update=...)` with the moments of the moment, which nobody else changes meanwhile.

        Args:
            method: reads the moments, or updates them.
            data: its first argument.
            result: its second one.
            is_update: whether it updates them.
        """
        shared = self._shared
        assert shared is not None
        with shared:
            if not is_update:
                return method(data, result, is_update=False)
            shared.forget()
            result = method(data, result, is_update=True)
            shared.push()
        return result

    def refresh(self) -> None:
        """Follow the updates of others."""
        if self.takes_turns and self._shared is not None:
            with self._shared:
                pass

    def publish(self) -> None:
        """Make the moments those of all who share them."""
        if self.takes_turns and self._shared is not None:
            self._shared.publish()
