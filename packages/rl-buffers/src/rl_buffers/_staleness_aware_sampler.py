"""Draws that prefer rows of recent versions of the policy."""

from collections.abc import Callable
from math import inf
from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._sampler import Sampler
from rl_buffers._storage import Storage, Where
from rl_specs import DTypeError, MissingKeyError, NestedKey, ShapeError, message


@final
class StalenessAwareSampler(Sampler):
    """Rows drawn with replacement, the more often the newer the policy that they were collected with.

        P(i) = f(s_i) / sum_k f(s_k),    s_i = max(consumer_version - version_i, 0)

    where f(s) is 0 for s > `max_staleness`. The entry `version_key` of a row, an integer, says which version of the
    policy collected it (of a row with several, the oldest counts). The training loop says which version it is at by
    `sampler.consumer_version = ...`, or `+= 1` after each update of the weights.

    Args:
        max_staleness: versions that a row may lie behind, to be set again with `sampler.max_staleness = ...`; -1 for
            any number.
        staleness_weight_fn: f, from int64 `[m]` to finite, not negative numbers `[m]`; None for `1 / (s + 1)`.
        version_key: the entry with the version; None for `"policy_version"`, or `("collector", "policy_version")`,
            which collectors write, where rows have none of the first name.
    """

    def __init__(
        self,
        max_staleness: int = -1,
        staleness_weight_fn: Callable[[Tensor], Tensor] | None = None,
        *,
        version_key: NestedKey | None = None,
    ) -> None:
        self.max_staleness = max_staleness
        self._weight = staleness_weight_fn if staleness_weight_fn is not None else _freshness
        self._key = version_key
        self.consumer_version = 0
        self._runs: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def max_staleness(self) -> int:
        """Versions that a row may lie behind; -1 for any number."""
        return self._max_staleness

    @max_staleness.setter
    def max_staleness(self, max_staleness: int) -> None:
        if not isinstance(max_staleness, int) or isinstance(max_staleness, bool) or max_staleness < -1:
            expected = "an integer >= -1"
            raise ValueError(message(_NAME, "max_staleness", expected=expected, found=repr(max_staleness)))
        self._max_staleness = max_staleness

    @property
    def consumer_version(self) -> int:
        """The version of the policy that is being trained."""
        return self._consumer_version

    @consumer_version.setter
    def consumer_version(self, version: int) -> None:
        if not isinstance(version, int) or isinstance(version, bool):
            raise TypeError(message(_NAME, "consumer_version", expected="an integer", found=repr(version)))
        self._consumer_version = version

    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Sampler.sample`; `batch_size` may be greater than the number of rows.

        Raises:
            MissingKeyError: the rows have no version.
            RuntimeError: no row is fresh enough.
            ShapeError, ValueError: `staleness_weight_fn` gave something else than weights.
        """
        if self._runs is None:
            self._runs = self._read_runs(storage)
        starts, lengths, versions = self._runs
        staleness = (self._consumer_version - versions).clamp_(min=0)
        weights = self._weights(staleness)
        ends = (weights * lengths).cumsum(0)
        total = float(ends[-1])
        if not total > 0.0:
            raise self._no_draw(versions, staleness)
        device = None if generator is None else generator.device
        targets = torch.rand(batch_size, dtype=torch.float64, generator=generator, device=device).cpu().mul_(total)
        before_end = torch.nextafter(ends[-1], ends.new_zeros(()))
        run = torch.searchsorted(ends, torch.minimum(targets, before_end), right=True)
        weight, length = weights[run], lengths[run]
        place = ((targets - (ends[run] - weight * length)) / weight).long()
        index = starts[run] + torch.minimum(place.clamp_(min=0), length - 1)
        return index.to(storage.device), {}

    def _read_runs(self, storage: Storage) -> tuple[Tensor, Tensor, Tensor]:
        """Ranges of rows of one version: first rows, numbers of rows and versions, each int64 `[m]`."""
        versions = self._read_versions(storage).cpu()
        if versions.is_floating_point() or versions.is_complex():
            expected = f"integers in the entry {self._key if self._key is not None else _KEYS[0]!r}"
            raise DTypeError(message(_NAME, "versions", expected=expected, found=versions.dtype))
        versions = versions.reshape(len(versions), -1).amin(1).long()
        changes = torch.nonzero(versions[1:] != versions[:-1]).reshape(-1) + 1
        starts = torch.cat([changes.new_zeros(1), changes])
        lengths = torch.diff(starts, append=starts.new_tensor([len(versions)]))
        return starts, lengths, versions[starts]

    def _read_versions(self, storage: Storage) -> Tensor:
        """Of all rows, `[n, ...]`."""
        rows = slice(0, len(storage))
        if self._key is not None:
            return storage.read_entry(self._key, rows)
        try:
            return storage.read_entry(_KEYS[0], rows)
        except MissingKeyError as error:
            try:
                return storage.read_entry(_KEYS[1], rows)
            except MissingKeyError:
                raise error from None

    def _weights(self, staleness: Tensor) -> Tensor:
        """f, float64 `[m]`."""
        weights = self._weight(staleness)
        if not isinstance(weights, Tensor) or weights.shape != staleness.shape:
            found = list(weights.shape) if isinstance(weights, Tensor) else repr(weights)
            expected = f"a tensor {list(staleness.shape)}"
            raise ShapeError(message(_NAME, "what staleness_weight_fn returned", expected=expected, found=found))
        weights = weights.detach().to("cpu", torch.float64)
        if not bool(((weights >= 0.0) & (weights < inf)).all()):
            bad = ~((weights >= 0.0) & (weights < inf))
            problem = f"what staleness_weight_fn returned for a staleness of {int(staleness[bad][0])}"
            value = float(weights[bad][0])
            raise ValueError(message(_NAME, problem, expected="a finite number >= 0", found=value))
        if self._max_staleness >= 0:
            weights = torch.where(staleness > self._max_staleness, 0.0, weights)
        return weights

    def _no_draw(self, versions: Tensor, staleness: Tensor) -> RuntimeError:
        return RuntimeError(
            message(
                _NAME,
                "no row can be drawn",
                expected=f"a row that is at most {self._max_staleness} versions behind and has a positive weight",
                found=f"versions up to {int(versions.max())}, {int(staleness.min())} behind {self._consumer_version}",
                fix="Store newer rows, or raise max_staleness",
            )
        )

    def restart(self) -> None:
        """Nothing is remembered between batches."""

    def clear(self) -> None:
        """There are no rows; the consumer's version stays."""
        self._runs = None

    def extend(self, storage: Storage, index: Tensor) -> None:
        """Versions are read again before the next draw."""
        self._runs = None

    def add(self, storage: Storage, index: int) -> None:
        """Versions are read again before the next draw."""
        self._runs = None

    def overwrite(self, storage: Storage, where: Where) -> None:
        """Versions are read again before the next draw."""
        self._runs = None

    def settings(self) -> dict[str, Any]:
        """The entry with the version."""
        return {"version_key": self._key}

    def state_dict(self) -> dict[str, Any]:
        """The consumer's version and the largest staleness; versions of rows are in the storage."""
        return {"consumer_version": self._consumer_version, "max_staleness": self._max_staleness}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        self._consumer_version = state["consumer_version"]
        self._max_staleness = state["max_staleness"]
        self._runs = None

    def __repr__(self) -> str:
        return f"{_NAME}(max_staleness={self._max_staleness}, consumer_version={self._consumer_version})"


_NAME = "StalenessAwareSampler"
_KEYS: tuple[NestedKey, NestedKey] = ("policy_version", ("collector", "policy_version"))


def _freshness(staleness: Tensor) -> Tensor:
    return 1.0 / (staleness + 1.0)
