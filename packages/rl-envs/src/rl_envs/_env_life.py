"""What an environment has besides its steps: seeds, a state, modes, a device, an end."""

import secrets
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, SupportsIndex

import torch

from rl_envs._errors import ClosedEnvError, StateNotSupportedError
from rl_envs._seeding import next_seed, stream_seed
from rl_envs._spec_holder import SpecHolder
from rl_specs import message, resolve_device


class EnvLife(SpecHolder):
    """Seeds, state and life of an environment; `EnvBase` adds the steps.

    Args:
        device: see `EnvBase`.
        batch_size: see `EnvBase`.
    """

    def __init__(self, *, device: torch.device | str | int | None, batch_size: Sequence[int]) -> None:
        super().__init__(device=device, batch_size=batch_size)
        self._is_closed = False
        self._training = True

    # What an author writes.

    @abstractmethod
    def _set_seed(self, seed: int) -> None:
        """Restart the random stream of the env from `seed`."""

    def _set_stream(self, seed: int, first_index: int) -> None:
        """Seed the envs of this batch as envs `first_index, first_index + 1, ...` of a larger one.

        An env that holds several overrides this, so that env `i` draws from the stream of `(seed, i)`.
        """
        self._set_seed(stream_seed(seed, first_index))

    def _to(self, device: torch.device) -> None:
        """Move what the env holds to `device`; the specs have moved already."""

    def _close(self) -> None:
        """Release what the env holds; called once."""

    def _set_training(self, mode: bool) -> None:
        """Pass the mode on to what the env is made of."""

    def _repr_fields(self) -> dict[str, object]:
        """What `repr` shows before the batch size and the device."""
        return {}

    @property
    def is_closed(self) -> bool:
        """Whether `close` has been called."""
        return self._is_closed

    @property
    def training(self) -> bool:
        """Mode set by `train` and `eval`."""
        return self._training

    @property
    def has_exact_state(self) -> bool:
        """Whether `get_state` and `set_state` exist, so that a run can be resumed in the middle of an episode."""
        return False

    @abstractmethod
    def drive(self, driver: object | None) -> None:
        """Sign as the last one who moved the simulator."""

    def set_seed(self, seed: int | None = None, static_seed: bool = False, *, first_index: int = 0) -> int:
        """Restart the random streams; effective from the next reset.

        Args:
            seed: non-negative; None: a random one.
            static_seed: return `seed` itself.
            first_index: position of the first env of this batch in a larger one: env `i` of that one draws from the
                stream of `(seed, i)` however the envs are spread.
        Returns:
            A seed for what is seeded next.
        Raises:
            TypeError: `seed` is no integer.
            ValueError: it is negative.
        """
        self._check_open("set_seed")
        if seed is not None and not isinstance(seed, SupportsIndex):
            raise TypeError(message(f"{self._name}.set_seed", "seed", expected="an int or None", found=repr(seed)))
        chosen = secrets.randbits(31) if seed is None else int(seed)
        if chosen < 0:
            raise ValueError(message(f"{self._name}.set_seed", "negative seed", expected=">= 0", found=chosen))
        self._set_stream(chosen, first_index)
        return chosen if static_seed else next_seed(chosen)

    def get_state(self) -> dict[str, Any]:
        """Everything that decides how the simulator goes on, random streams included.

        Raises:
            StateNotSupportedError: the simulator cannot be read out; see `has_exact_state`.
        """
        raise StateNotSupportedError(
            message(self._name, "has no exact state", fix="Restart it at an episode boundary with reset()")
        )

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, in this or another object of the same make.

        An environment that has this calls `self.drive(None)` in it: whoever was stepping it is told that it has moved.

        Raises:
            StateNotSupportedError: the simulator cannot be written; see `has_exact_state`.
        """
        raise StateNotSupportedError(
            message(self._name, "has no exact state", fix="Restart it at an episode boundary with reset()")
        )

    @contextmanager
    def with_state(self, state: Mapping[str, Any]) -> Iterator[Self]:
        """The environment at `state` inside a `with` block, and back where it was after it: to look ahead, say.

        Raises:
            StateNotSupportedError: see `get_state`.
        """
        before = self.get_state()
        self.set_state(state)
        try:
            yield self
        finally:
            self.set_state(before)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: `get_state` where the env has one. Loadable with `torch.load(weights_only=True)`."""
        return {"simulator": self.get_state()} if self.has_exact_state else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned; from an empty one, the next episode starts with a reset."""
        unknown = sorted(set(state) - {"simulator"})
        if unknown:
            raise KeyError(f"{self._name}.load_state_dict: unknown entries {unknown}; known: ['simulator'].")
        self.drive(None)
        if "simulator" in state:
            self.set_state(state["simulator"])

    def train(self, mode: bool = True) -> Self:
        """Set training mode."""
        self._training = mode
        self._set_training(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode: transforms stop to update their statistics."""
        return self.train(False)

    def to(self, device: torch.device | str | int) -> Self:
        """Move the env: from the next reset on, its tensors are on `device`."""
        self._device = resolve_device(device)
        self._specs = self._specs.to(self._device)
        self._to(self._device)
        return self

    def close(self) -> None:
        """Release what the env holds. Calling it again does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        fields = {**self._repr_fields(), "batch_size": self.batch_size, "device": self.device}
        return f"{self._name}({', '.join(f'{name}={value}' for name, value in fields.items())})"

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _check_open(self, method: str) -> None:
        if self._is_closed:
            raise ClosedEnvError(message(f"{self._name}.{method}", "the env is closed", fix="Make a new one"))
