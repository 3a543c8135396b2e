"""Where an environment keeps its specs and its batch size, and how it takes another one for a while."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, TypeGuard

import torch
from tensordict import TensorDictBase

from rl_envs._env_specs import EnvSpecs, default_done_spec, full_spec
from rl_envs._spec_views import SpecViews
from rl_specs import Composite, Unbounded, message, resolve_device


class SpecHolder(SpecViews):
    """Batch size, device and specs of an environment.

    Args:
        device: device of the specs; None: the CPU, undeclared.
        batch_size: batch shape of the specs.
    """

    batch_locked: bool = True
    """False for an environment that keeps nothing from call to call, so that it works at the batch size of any data.

    Its specs are those of one environment (or of a batch `[*B]`), and `reset`, `step` and `rollout` take TensorDicts of
    any batch size that ends in its own. While they do, `batch_size` and the specs are those of the data, so that
    `_reset` and `_step` are written as those of any other.
    """

    def __init__(self, *, device: torch.device | str | int | None, batch_size: Sequence[int]) -> None:
        if isinstance(batch_size, int):
            component, fix = type(self).__name__, f"Pass batch_size=({batch_size},)"
            raise TypeError(message(component, "batch_size", expected="a sequence of sizes", found=batch_size, fix=fix))
        self._device = None if device is None else resolve_device(device)
        self._batch_size = torch.Size(batch_size)
        empty = Composite({}, shape=self._batch_size, device=self._device)
        reward = Unbounded(shape=torch.Size((*self._batch_size, 1)), device=self._device, dtype=torch.float32)
        self._specs = EnvSpecs(
            observation=empty,
            action=empty,
            reward=full_spec(reward, "reward", self._batch_size),
            done=default_done_spec(self._batch_size, self._device),
            state=empty,
        )
        self._sized: tuple[torch.Size, EnvSpecs, EnvSpecs] | None = None

    @property
    def batch_size(self) -> torch.Size:
        """Batch shape of the env."""
        try:
            return self._batch_size
        except AttributeError:
            fix = "Call super().__init__(device=..., batch_size=...) first in __init__, before setting specs"
            problem = "used before EnvBase was initialised"
            raise RuntimeError(message(f"{type(self).__name__}.__init__", problem, fix=fix)) from None

    @property
    def device(self) -> torch.device | None:
        """Device of every tensor that the env returns; None: the CPU, undeclared."""
        return self._device

    @abstractmethod
    def _simulator(self) -> "SpecHolder":
        """The env that is moved: itself, or the one inside a wrapper."""

    def _env_specs(self) -> EnvSpecs:
        return self._specs

    def _replace_spec(self, **changed: Composite) -> None:
        fields: dict[str, Any] = {name: self._on_device(spec) for name, spec in changed.items()}
        self._specs = replace(self._specs, **fields)

    def _on_device(self, spec: Composite) -> Composite:
        """`spec` with every entry on the device of the env, where that declares one."""
        device = self._device
        if device is None or all(leaf.device in (None, device) for _, leaf in spec.flat_items()):
            return spec
        return spec.to(device)

    def _is_of_other_size(self, tensordict: TensorDictBase | None) -> TypeGuard[TensorDictBase]:
        """Whether a batch-unlocked env is handed data of another batch size than its present one."""
        if self.batch_locked or not isinstance(tensordict, TensorDictBase):
            return False
        return tensordict.batch_size != self._batch_size

    @contextmanager
    def _resized(self, batch_size: torch.Size) -> Iterator[None]:
        """Give a batch-unlocked env, and the one that it wraps, another batch size for a while."""
        inner = self._simulator()
        before = self._batch_size, self._specs
        with nullcontext() if inner is self else inner._resized(batch_size):
            self._specs = self._specs_at(batch_size)
            self._batch_size = batch_size
            try:
                yield
            finally:
                self._batch_size, self._specs = before

    def _specs_at(self, batch_size: torch.Size) -> EnvSpecs:
        known = self._sized
        if known is not None and known[0] == batch_size and known[1] is self._specs:
            return known[2]
        expanded = self._specs.expand(batch_size)
        self._sized = batch_size, self._specs, expanded
        return expanded
