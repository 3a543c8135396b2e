"""Recurrent states made anew from the first steps of stored sequences."""

from collections.abc import Iterable, Sequence
from typing import final

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._stored import (
    Borrowed,
    as_trajectories,
    beside,
    frame_flags,
    read_stored,
    stored_only,
    under_next,
)
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import NestedKey, canonical_key, canonical_keys, message


@final
class BurnInTransform(Transform):
    """Runs recurrent modules over the first steps of stored sequences, and goes on from the states they end with.

    Of a batch `[*B, T]`, time last, the first `burn_in` steps are run without gradient. The result is
    `[*B, T - burn_in]`, with the states that the modules wrote under `("next", key)` at the root of its first step.
    The stored steps stay as they are. Where an episode ends with the last step burnt in, the state stored for the step
    after it is kept: zeros, where none was stored.

    The modules are those of the caller: they run with the weights of the moment, and are no part of `state_dict`.

    Args:
        modules: modules that process sequences, run in this order.
        burn_in: steps to run.
        out_keys: states to carry over, default every entry that a module writes under `"next"`.
    Raises:
        ValueError: `burn_in` is not positive, or no module writes a state.
        TypeError: something that is no TensorDict module.
    """

    def __init__(
        self, modules: Sequence[TensorDictModuleBase], burn_in: int, *, out_keys: Keys | NestedKey | None = None
    ) -> None:
        _check_modules(modules)
        if burn_in < 1:
            raise ValueError(message("BurnInTransform", "burn_in too small", expected=">= 1", found=burn_in))
        states = _states(modules) if out_keys is None else canonical_keys(out_keys)
        super().__init__([under_next(key) for key in states], states)
        if not self.out_keys:
            fix = 'Give out_keys, or modules with out keys such as ("next", "hidden")'
            raise ValueError(message("BurnInTransform", "no module writes a state", fix=fix))
        self.burn_in = burn_in
        self.__dict__["_modules_run"] = Borrowed(modules)  # not registered: they are no part of this module

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The steps after those burnt in; a new TensorDict that shares the stored entries.

        Raises:
            ShapeError: there are no steps after those burnt in.
            MissingKeyError: no module wrote one of the states.
        """
        batch = as_trajectories("BurnInTransform", tensordict, least=self.burn_in + 1)
        first: TensorDictBase = batch[..., : self.burn_in].copy()
        rest: TensorDictBase = batch[..., self.burn_in :].copy()
        with torch.no_grad():
            for module in self.__dict__["_modules_run"]:
                first = module(first)
        last = first[..., -1]
        ended = self._ended(last)
        for next_key, key in self._pairs:
            fix = "Give out_keys among the next entries that the modules write"
            state = read_stored("BurnInTransform", last, next_key, fix)
            rest[key] = _started_with(rest, key, state, ended)
        return rest

    def _ended(self, last: TensorDictBase) -> Tensor | None:
        done = last.get(("next", "done"), None)
        return None if done is None else frame_flags("BurnInTransform", ("next", "done"), done, last.batch_size)

    def _bind(self, specs: EnvSpecs) -> list[str]:
        return stored_only()

    def __repr__(self) -> str:
        return f"BurnInTransform(burn_in={self.burn_in}, out_keys={self.out_keys})"


def _started_with(rest: TensorDictBase, key: NestedKey, state: Tensor, ended: Tensor | None) -> Tensor:
    """Entry `key` of `rest`, `[*B, T, ...]`, a copy with `state`, `[*B, ...]`, in its first step."""
    time = rest.ndim - 1
    stored = rest.get(key, None)
    whole = state.new_zeros((*rest.shape, *state.shape[time:])) if stored is None else stored.clone()
    start = whole.select(time, 0)
    start.copy_(state if ended is None else torch.where(beside(ended, state), start, state))
    return whole


def _check_modules(modules: Iterable[object]) -> None:
    for module in modules:
        if not isinstance(module, TensorDictModuleBase):
            expected, found = "TensorDictModuleBase objects", type(module).__name__
            raise TypeError(message("BurnInTransform", "modules", expected=expected, found=found))


def _states(modules: Sequence[TensorDictModuleBase]) -> list[NestedKey]:
    keys = [canonical_key(key) for module in modules for key in module.out_keys]
    return list(dict.fromkeys(canonical_key(key[1:]) for key in keys if isinstance(key, tuple) and key[0] == "next"))
