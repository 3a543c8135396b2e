"""What samplers that keep priorities have in common, wherever the priorities live."""

import sys
from abc import abstractmethod
from math import pow as power
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from rl_buffers._arguments import is_exponent, whole_number
from rl_buffers._beta_schedule import LinearAnnealing
from rl_buffers._priority_values import REDUCTIONS, Reduction
from rl_buffers._sampler import Sampler
from rl_buffers._storage import Storage, Where
from rl_specs import message

Normalization: TypeAlias = Literal["buffer", "batch", "none"]


class PrioritizedSamplerBase(Sampler):
    """Settings of draws by priority, the exponent of weights, and which rows a write concerns.

    Args:
        max_capacity: number of rows.
        alpha, beta, eps, dtype, reduction, max_priority_within_buffer, normalization: see `PrioritizedSampler`.
    Raises:
        ValueError: a setting that makes no sense.
    """

    keeps_priorities = True

    def __init__(
        self,
        max_capacity: int,
        alpha: float,
        beta: float | LinearAnnealing,
        *,
        eps: float,
        dtype: torch.dtype,
        reduction: Reduction,
        max_priority_within_buffer: bool,
        normalization: Normalization,
    ) -> None:
        max_capacity = whole_number(type(self).__name__, "max_capacity", max_capacity, least=1)
        for name, value in (("alpha", alpha), ("eps", eps)):
            if not is_exponent(value):
                raise ValueError(self._wrong(name, "a finite number >= 0", value))
        if reduction not in REDUCTIONS:
            raise ValueError(self._wrong("reduction", f"one of {', '.join(REDUCTIONS)}", reduction))
        if normalization not in get_args(Normalization):
            raise ValueError(
                self._wrong("normalization", f"one of {', '.join(get_args(Normalization))}", normalization)
            )
        if not dtype.is_floating_point:
            raise ValueError(self._wrong("dtype", "a floating-point dtype, for weights from 0 to 1", dtype))
        self._capacity = max_capacity
        self._alpha = float(alpha)
        self._eps = float(eps)
        self._dtype = dtype
        self._reduction: Reduction = reduction
        self._within_buffer = max_priority_within_buffer
        self._normalization = normalization
        self._first_leaf = power(1.0 + self._eps, self._alpha)
        self._beta_step = 0
        self.beta = beta

    @property
    def alpha(self) -> float:
        """Exponent of priorities."""
        return self._alpha

    @property
    def eps(self) -> float:
        """What is added to every priority."""
        return self._eps

    @property
    def beta(self) -> float:
        """Exponent of the next batch's weights."""
        return self._beta if self._schedule is None else self._schedule.at(self._beta_step)

    @beta.setter
    def beta(self, beta: float | LinearAnnealing) -> None:
        self._schedule = beta if isinstance(beta, LinearAnnealing) else None
        ends = (beta.start, beta.end) if isinstance(beta, LinearAnnealing) else (beta,)
        if not all(is_exponent(end) for end in ends):
            raise ValueError(self._wrong("beta", "a finite number >= 0, or a schedule of such", beta))
        self._beta = float(ends[0])
        self._set_exponent(self.beta)

    def _set_exponent(self, beta: float) -> None:
        """The exponent of the next weights is `beta`; for those that keep it elsewhere too."""

    def step_beta(self) -> float:
        """Exponent of this batch's weights; a schedule then goes one step."""
        beta = self.beta
        self._beta_step += 1
        return beta

    @property
    @abstractmethod
    def count(self) -> int:
        """Rows `0` to `count - 1` have priorities."""

    @abstractmethod
    def _write_range(self, start: int, stop: int) -> None:
        """Rows `start` to `stop - 1`, where `start <= count`, were written: they enter with the largest priority."""

    @abstractmethod
    def _write_rows(self, index: Tensor) -> None:
        """Rows int64 `[n]`, all there already, were written: they enter with the largest priority."""

    def take_in(self, storage: Storage) -> None:
        """Enter rows that nobody told of, such as those that a storage was made with."""
        if len(storage) > self.count:
            self._enter(storage, self.count, len(storage))

    def extend(self, storage: Storage, index: Tensor) -> None:
        """The rows enter with the largest priority."""
        rows = index.cpu().numpy()
        first, stop = int(rows.min()), int(rows.max()) + 1
        if first > self.count or stop - first == len(rows):
            self._enter(storage, min(first, self.count), stop)
        else:
            self._enter_scattered(storage, index, stop)

    def add(self, storage: Storage, index: int) -> None:
        """The row enters with the largest priority."""
        self._enter(storage, min(index, self.count), index + 1)

    def overwrite(self, storage: Storage, where: Where) -> None:
        """The rows enter with the largest priority."""
        if isinstance(where, int):
            self.add(storage, where)
        elif isinstance(where, slice):
            self._enter(storage, min(where.start, self.count), where.stop)
        else:
            self._enter_scattered(storage, where, int(where.cpu().numpy().max()) + 1)

    def _enter(self, storage: Storage, start: int, stop: int) -> None:
        needed = stop if storage.max_size == sys.maxsize else storage.max_size
        if needed > self._capacity:
            raise ValueError(
                message(
                    type(self).__name__,
                    "max_capacity is smaller than the storage",
                    expected=f"at least {needed}",
                    found=self._capacity,
                    fix="Give max_capacity the storage's max_size",
                )
            )
        self._write_range(start, stop)

    def _enter_scattered(self, storage: Storage, index: Tensor, stop: int) -> None:
        """As `_enter`, for rows int64 `[n]` below `stop` that are no range."""
        if stop > self.count:
            self._enter(storage, self.count, stop)
        self._write_rows(index)

    def mark(self) -> int:
        """How far the schedule of beta has come."""
        return self._beta_step

    def rewind(self, mark: int) -> None:
        """See `Sampler.rewind`."""
        self._beta_step = mark

    def restart(self) -> None:
        """Nothing is remembered between batches."""

    def settings(self) -> dict[str, Any]:
        """All but capacity, dtype and where priorities live."""
        schedule = self._schedule
        return {
            "alpha": self._alpha,
            "eps": self._eps,
            "reduction": self._reduction,
            "max_priority_within_buffer": self._within_buffer,
            "normalization": self._normalization,
            "beta_schedule": None if schedule is None else [schedule.start, schedule.end, schedule.steps],
        }

    def _beta_state(self) -> dict[str, Any]:
        return {"beta": self._beta if self._schedule is None else None, "beta_step": self._beta_step}

    def _load_beta(self, state: dict[str, Any]) -> None:
        if state["beta"] is not None:
            self._beta = state["beta"]
        self._beta_step = state["beta_step"]
        self._set_exponent(self.beta)

    def _check_state(self, state: dict[str, Any]) -> None:
        """Raise if a state has more rows than there is room for; nothing was changed."""
        count = len(state["leaves"])
        if count > self._capacity:
            problem = "the state has more rows than max_capacity"
            fix = f"Give max_capacity at least {count}"
            raise ValueError(
                message(type(self).__name__, problem, expected=f"at most {self._capacity}", found=count, fix=fix)
            )

    def _no_draw(self, total: float) -> RuntimeError:
        problem = "no row can be drawn: all have priority 0" if total == 0.0 else f"the priorities add up to {total}"
        return RuntimeError(message(type(self).__name__, problem, fix="Call update_priority, or give eps > 0"))

    def _wrong(self, name: str, expected: str, found: object) -> str:
        return message(type(self).__name__, name, expected=expected, found=repr(found))

    def __repr__(self) -> str:
        beta: object = self._beta if self._schedule is None else self._schedule
        return f"{type(self).__name__}(max_capacity={self._capacity}, alpha={self._alpha}, beta={beta})"
