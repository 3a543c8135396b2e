"""Environments of other protocols, with the methods of a `gymnasium.Env`."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar


class AdaptedEnv(ABC):
    """An env that `GymWrapper` runs like a `gymnasium.Env`, made from an object of another protocol.

    Args:
        observation_space: a Gymnasium space.
        action_space: a Gymnasium space.
    """

    spec: None = None
    fixed: ClassVar[tuple[str, ...]] = ()
    """Attributes that hold what the env is made of rather than its state."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space = observation_space
        self.action_space = action_space

    @property
    @abstractmethod
    def unwrapped(self) -> Any:
        """The object that was adapted."""

    @abstractmethod
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode: its first observation, and what else is known.

        Args:
            seed: restart the random stream from it; None: the stream goes on.
            options: not used.
        """

    @abstractmethod
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Observation, reward, `terminated`, `truncated`, and what else is known."""

    @abstractmethod
    def render(self) -> Any:
        """The frame, uint8 `[H, W, 3]`."""

    @abstractmethod
    def close(self) -> None:
        """Release what the env holds."""

    def with_state(self) -> list[Any]:
        """Objects besides this one whose attributes are the state of the env."""
        return []
