"""An error for entries that are not finite."""

from collections.abc import Iterable
from typing import ClassVar, final

import torch
from torch import Size, Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import unpack_flat
from rl_envs.transforms._row_masks import done_rows, end_keys
from rl_envs.transforms._stored import beside
from rl_envs.transforms._wiring import leaf_keys
from rl_envs.transforms.transform import Transform
from rl_specs import NestedKey, TensorMap, key_str, message


@final
class FiniteTensorDictCheck(Transform):
    """Raises an error where an entry holds NaN or an infinity, and passes the data on otherwise.

    In an environment every observation, reward and flag of a reset or a step is looked at, which waits for an
    accelerator; on stored data every entry is. What `AutoResetTransform` fills lost observations with may be NaN.

    Raises:
        ValueError: entries that are not finite, all of them in one message, each with how many elements and where the
            first is.
        RuntimeError: the same in a compiled graph, for the first such entry, with its name alone.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self._checked: list[NestedKey] = []
        self._lost: set[NestedKey] = set()
        self._done_keys: list[NestedKey] = []
        self._batch_size = Size(())

    def _bind(self, specs: EnvSpecs) -> list[str]:
        self._checked = leaf_keys(specs.observation, specs.reward, specs.done)
        self._lost = set(leaf_keys(specs.observation)) if specs.loses_ends else set()
        self._done_keys = end_keys(leaf_keys(specs.done))
        self._batch_size = specs.observation.shape
        return []

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        if not self._lost:
            return self._check(next_data, self._checked, "a step")
        rows = ~done_rows(next_data, self._done_keys, len(self._batch_size)).reshape(self._batch_size)
        self._check(next_data, self._lost, "a step", rows)
        return self._check(next_data, [key for key in self._checked if key not in self._lost], "a step")

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        mask = data.get("_reset", None)  # rows outside it may hold anything
        return self._check(
            reset_data, self._checked, "a reset", None if mask is None else mask.reshape(self._batch_size)
        )

    def _call(self, data: TensorMap) -> TensorMap:
        return self._check(data, unpack_flat(data), "the data")

    def _check(self, data: TensorMap, keys: Iterable[NestedKey], where: str, rows: Tensor | None = None) -> TensorMap:
        bad = []
        for key in keys:
            value = data.get(key, None)
            if not isinstance(value, Tensor) or not value.dtype.is_floating_point:
                continue
            if torch.compiler.is_compiling():
                is_fine = value.isfinite() if rows is None else value.isfinite() | ~beside(rows, value)
                torch._assert_async(is_fine.all(), f"FiniteTensorDictCheck: {key_str(key)} of {where} is not finite")
            elif not bool(value.isfinite().all()):
                outside = ~value.isfinite() if rows is None else ~value.isfinite() & beside(rows, value)
                bad += [f"{key_str(key)} ({_summary(value, outside)})"] if bool(outside.any()) else []
        if bad:
            problem = f"{where} has values that are not finite: {', '.join(bad)}"
            fix = "Look at what wrote them: the environment, a transform before this one, or the policy"
            raise ValueError(message("FiniteTensorDictCheck", problem, fix=fix))
        return data

    def __repr__(self) -> str:
        return "FiniteTensorDictCheck()"


def _summary(value: Tensor, outside: Tensor) -> str:
    first = torch.nonzero(outside)[0].tolist()
    found = value[tuple(first)].item()
    return f"{int(outside.sum())} of {value.numel()} elements, first {found} at {first}"
