"""Several environments in this process, as one batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch

from rl_envs._closing import close_every, closed_on_error
from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY, STEP_KEY, EnvPlan
from rl_envs._flat import unpack_flat
from rl_envs._many_envs import EnvKwargs, check_state_parts, env_makers, make_envs, stacked_resets, stacked_rows
from rl_envs._mixed_envs import joined_resets, stacked_env_specs, zero_steps
from rl_envs._ragged import joined_rows, row_entries
from rl_specs import FlatDict, NestedKey, TensorMap


@final
class SerialEnv(EnvBase):
    """Environments stepped one after the other and stacked, `[N, *B]`; each row is what its env alone would give.

    The environments may differ in their observations, actions and states: then the specs are `StackedComposite`s, and
    what resets, steps and rollouts return are lazy stacks along the first dimension, of entries that not all
    environments have or that have another shape in each. Batch sizes, devices, rewards and flags are the same.

    Args:
        num_workers: number of environments `N`.
        create_env_fn: makes an environment, or a list of `N` such callables.
        create_env_kwargs: keyword arguments for `create_env_fn`: one mapping for all environments, or a list of `N`.
    Raises:
        ValueError: another number of callables than `num_workers`, or callables that give one environment twice.
        TypeError: something that is not a callable, or not one that gives an environment.
        SpecError: the environments differ in batch size, device, rewards or flags, or have entries of one name that
            cannot be stacked.
    """

    accepts_mapping = True

    def __init__(
        self,
        num_workers: int,
        create_env_fn: Callable[..., EnvBase] | Sequence[Callable[..., EnvBase]],
        *,
        create_env_kwargs: EnvKwargs = None,
    ) -> None:
        envs = make_envs("SerialEnv", env_makers("SerialEnv", num_workers, create_env_fn, create_env_kwargs))
        with closed_on_error(envs):
            self._adopt(envs)

    @classmethod
    def _of(cls, envs: list[EnvBase]) -> "SerialEnv":
        """These environments, whoever made them."""
        env = cls.__new__(cls)
        env._adopt(envs)
        return env

    def _adopt(self, envs: list[EnvBase]) -> None:
        self._envs = envs
        first = envs[0]
        super().__init__(device=first.device, batch_size=(len(envs), *first.batch_size))
        self._set_specs()

    def _set_specs(self) -> None:
        self._specs = stacked_env_specs("SerialEnv", [env._env_specs() for env in self._envs])
        self._plans = [EnvPlan(env) for env in self._envs]
        self.resets_members = all(env.resets_members for env in self._envs)
        self._is_mixed = bool(self._specs.rows)
        self._joined = joined_rows if self._is_mixed else stacked_rows

    @property
    def envs(self) -> list[EnvBase]:
        """The environments, one per row of the first dimension."""
        return list(self._envs)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        if data is None:
            return self._joined([plan.reset() for plan in self._plans])
        entries = unpack_flat(data)
        roots = self._rows_of(entries)
        if RESET_KEY not in entries:
            return self._joined([plan.fresh(root) for plan, root in zip(self._plans, roots, strict=True)])
        rows = [
            plan.fresh(root) if bool(root[RESET_KEY].any()) else None
            for plan, root in zip(self._plans, roots, strict=True)
        ]
        return joined_resets(rows, self._specs) if self._is_mixed else stacked_resets(rows, self._specs)

    def _step(self, data: TensorMap) -> FlatDict:
        entries = {key: value for key, value in unpack_flat(data).items() if key[0] != "next"}
        if STEP_KEY in entries:
            return self._step_some(entries)
        return self._joined([plan.step(root) for plan, root in zip(self._plans, self._rows_of(entries), strict=True)])

    def _rows_of(self, entries: FlatDict) -> list[FlatDict]:
        """Entries of each environment."""
        count = range(len(self._envs))
        if self._is_mixed:
            return [row_entries(entries, index) for index in count]
        return [{key: value[index] for key, value in entries.items()} for index in count]

    def _step_some(self, entries: FlatDict) -> FlatDict:
        """Step the rows of the mask; the others of what comes back are zeros."""
        rows: list[FlatDict | None] = []
        for index, (plan, root) in enumerate(zip(self._plans, self._rows_of(entries), strict=True)):
            mask = root[STEP_KEY]
            if not self._envs[index].steps_rows:
                del root[STEP_KEY]
            rows.append(plan.step(root) if bool(mask.any()) else None)
        model = next((row for row in rows if row is not None), None)
        if model is None or self._is_mixed:
            nothing = [zero_steps(env._env_specs()) for env in self._envs]
        else:
            nothing = [{key: torch.zeros_like(value) for key, value in model.items()}] * len(rows)
        return self._joined([none if row is None else row for row, none in zip(rows, nothing, strict=True)])

    def _set_seed(self, seed: int) -> None:
        self._set_stream(seed, 0)

    def _set_stream(self, seed: int, first_index: int) -> None:
        rows = self._envs[0].batch_size.numel()
        for index, env in enumerate(self._envs):
            env._set_stream(seed, first_index + index * rows)

    def _to(self, device: torch.device) -> None:
        for env in self._envs:
            env.to(device)
        self._set_specs()

    def _set_training(self, mode: bool) -> None:
        for env in self._envs:
            env.train(mode)

    def _close(self) -> None:
        close_every(self._envs)

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return {key: fixed for env in self._envs for key, fixed in env._carried_keys().items()}

    def _repr_fields(self) -> dict[str, object]:
        return {"num_workers": len(self._envs), "env": self._envs[0]}

    @property
    def steps_rows(self) -> bool:
        """True where each environment is a single one, or steps rows itself."""
        return all(env.steps_rows or env.batch_size.numel() == 1 for env in self._envs)

    @property
    def has_exact_state(self) -> bool:
        """Whether each environment has an exact state."""
        return all(env.has_exact_state for env in self._envs)

    def get_state(self) -> dict[str, Any]:
        """State of each environment; see `EnvBase.get_state`."""
        return {"envs": [env.get_state() for env in self._envs]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        parts = check_state_parts("SerialEnv.set_state", state, len(self._envs))
        self.drive(None)
        for env, part in zip(self._envs, parts, strict=True):
            env.set_state(part)

    def state_dict(self) -> dict[str, Any]:
        """`state_dict` of each environment."""
        return {"envs": [env.state_dict() for env in self._envs]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        parts = check_state_parts("SerialEnv.load_state_dict", state, len(self._envs))
        self.drive(None)
        for env, part in zip(self._envs, parts, strict=True):
            env.load_state_dict(part)
