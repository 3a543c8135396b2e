"""Entries of the data, each with the moments that it is normalised by."""

from collections.abc import Sequence
from typing import TypeAlias, final

import torch
from torch import Tensor

from rl_envs._env_plan import RESET_KEY, STEP_KEY
from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import unpack_flat
from rl_envs.transforms._row_masks import done_rows, end_keys
from rl_envs.transforms.running_moments import RunningMoments
from rl_specs import NestedKey, TensorMap, missing_key

EntryMoment: TypeAlias = tuple[NestedKey, NestedKey, RunningMoments]
"""Name of an entry, name of the result, and the moments."""


@final
class EntryMoments:
    """Takes entries into their moments and normalises them.

    Args:
        component: class that asks, for messages.
        entries: names and moments.
    """

    def __init__(self, component: str, entries: Sequence[EntryMoment]) -> None:
        self._component = component
        self._entries = [(*entry, False) for entry in entries]
        self._reset_entries = self._entries
        self._batch_size = torch.Size(())
        self._done_keys: list[NestedKey] = []

    def bind(self, specs: EnvSpecs) -> None:
        """Prepare for an environment: rewards are not there at a reset, and observations may be lost at an end."""
        rewards = {key for key, _ in specs.reward.flat_items()}
        observed = {key for key, _ in specs.observation.flat_items()}
        lost = observed if specs.loses_ends else set[NestedKey]()
        self._batch_size = specs.observation.shape
        self._done_keys = end_keys([key for key, _ in specs.done.flat_items()])
        self._entries = [(key, out, moments, key in lost) for key, out, moments, _ in self._entries]
        self._reset_entries = [entry for entry in self._entries if entry[0] not in rewards]

    def step(self, data: TensorMap, next_data: TensorMap, *, is_update: bool) -> TensorMap:
        """Normalise what a step returned; see `Transform._step`.

        Args:
            data: root entries.
            next_data: what the step returned, changed here.
            is_update: take it into the moments first.
        """
        rows = data.get(STEP_KEY, None) if is_update else None
        if rows is not None:  # a later transform has some rows stepped alone
            rows = rows.reshape(self._batch_size)
        for in_key, out_key, moments, is_lost in self._entries:
            value = next_data.get(in_key, None)
            if value is None:
                raise self._missing(in_key, next_data)
            if not is_update:
                next_data[out_key] = moments.normalize(value)
            elif is_lost:
                moments.update_rows(value, self._known_rows(next_data, rows))
                next_data[out_key] = moments.normalize(value)
            elif rows is not None:
                next_data[out_key] = moments.update_and_normalize_rows(value, rows)
            else:
                next_data[out_key] = moments.update_and_normalize(value)
        return next_data

    def _known_rows(self, next_data: TensorMap, rows: Tensor | None) -> Tensor:
        """Of `rows`, bool `[*B]`, those whose observations are not lost with the end of their episodes."""
        known = ~done_rows(next_data, self._done_keys, len(self._batch_size)).reshape(self._batch_size)
        return known if rows is None else known & rows

    def reset(self, data: TensorMap, reset_data: TensorMap, *, is_update: bool) -> TensorMap:
        """Normalise what a reset returned; see `Transform._reset`.

        Args:
            data: root entries with the mask, without one every row counts.
            reset_data: what the reset returned, changed here.
            is_update: take the rows of the mask into the moments first.
        """
        mask = data.get(RESET_KEY, None)
        for in_key, out_key, moments, _ in self._reset_entries:
            value = reset_data.get(in_key, None)
            if value is None:
                raise self._missing(in_key, reset_data)
            if not is_update:
                reset_data[out_key] = moments.normalize(value)
            elif mask is None:
                reset_data[out_key] = moments.update_and_normalize(value)
            else:
                reset_data[out_key] = moments.update_and_normalize_rows(value, mask.reshape(self._batch_size))
        return reset_data

    def normalize(self, data: TensorMap) -> TensorMap:
        """Normalise entries with the moments as they are; returns `data`, changed."""
        for in_key, out_key, moments, _ in self._entries:
            value = data.get(in_key, None)
            if value is None:
                raise self._missing(in_key, data)
            data[out_key] = moments.normalize(value)
        return data

    def _missing(self, key: NestedKey, data: TensorMap) -> Exception:
        fix = "Rename with in_keys=[...], or place this transform after the one that writes the entry"
        return missing_key(self._component, key, unpack_flat(data), fix=fix)
