"""Steps that some rows of a batch take and others do not, for transforms that step the environment themselves."""

from typing import TYPE_CHECKING, cast, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_plan import RESET_KEY, STEP_KEY, merge_reset
from rl_envs._flat import unpack_flat
from rl_envs.transforms._row_masks import done_rows, end_keys
from rl_specs import FlatDict, NestedKey, TensorMap, message

if TYPE_CHECKING:
    from rl_envs.transforms.transformed_env import TransformedEnv


def copied(data: TensorMap) -> TensorMap:
    """A copy of the mapping, of its kind, that shares its tensors."""
    return dict(data) if isinstance(data, dict) else cast(TensorDictBase, data).copy()


@final
class RowSteps:
    """Steps an environment, in all rows of its batch or in some.

    On an accelerator no mask is looked at where the environment steps the rows of a mask by itself.

    Args:
        component: the transform, for messages.
        env: the environment inside.
    """

    def __init__(self, component: str, env: "TransformedEnv") -> None:
        self._component = component
        self._step, self._reset = env._step, env._reset
        self._dims = len(env.batch_size)
        self._steps_rows = env.steps_rows
        self._looks = not env.steps_rows or env.device is None or env.device.type == "cpu"
        specs = env._env_specs()
        self._rewards = dict(specs.reward.flat_items())
        self._observed = [key for key, _ in specs.observation.flat_items()]
        self._flags = list(specs.done.flat_items())
        self._done_keys = end_keys([key for key, _ in self._flags])

    @property
    def reward_keys(self) -> list[NestedKey]:
        """The rewards of the environment."""
        return list(self._rewards)

    def step(self, data: TensorMap) -> FlatDict:
        """What a step of every row returns, in a dict of its own."""
        return dict(unpack_flat(self._step(data)))

    def step_running(self, data: TensorMap, following: FlatDict, *, keep_rewards: bool = False) -> FlatDict | None:
        """Go on from `following` in the rows that are not done.

        Args:
            data: root entries of this step, see `root_after`.
            following: what the step before returned.
            keep_rewards: a row that is done keeps its rewards, too, where they are zero otherwise.
        Returns:
            What the step returned; a row that was done keeps its entries. None when every row is
            done, as far as one may look.
        """
        running = self._asked(data, ~self.done_rows(following))
        if not self.may_hold(running):
            return None
        if self._looks and bool(running.all()):
            return self.step(data)
        held = following if keep_rewards else self.without_rewards(following)
        if not self._steps_rows:
            return self._step_past(data, running, held)
        return merge_reset(held, self.step(self._with(data, STEP_KEY, running)), running, self._dims)

    @staticmethod
    def _asked(data: TensorMap, rows: Tensor) -> Tensor:
        """Those of `rows` that a transform further out has stepped."""
        given = data.get(STEP_KEY, None)
        return rows if given is None else rows & given

    def step_some(self, data: TensorMap, rows: Tensor, held: FlatDict, *, ended: Tensor | None = None) -> FlatDict:
        """Step the rows of a mask and leave the others where they are.

        Args:
            data: root entries.
            rows: bool `[*B, 1]`.
            held: entries, as a step returns them, of the rows that stay.
            ended: of these, rows that are done, and may be reset and go on unseen, bool `[*B, 1]`.
        Raises:
            RuntimeError: some rows are to be stepped and others not, and the environment steps all or none.
        """
        rows = self._asked(data, rows)
        if not self.may_hold(rows):
            return held
        if self._looks and bool(rows.all()):
            return self.step(data)
        if self._steps_rows:
            return merge_reset(held, self.step(self._with(data, STEP_KEY, rows)), rows, self._dims)
        if ended is not None and bool((rows | ended).all()):
            return self._step_past(data, rows, held)
        raise RuntimeError(
            message(
                self._component,
                "some rows are to be stepped and others not, and this environment steps all of its rows",
                fix=f"Put {self._component} into each environment of a SerialEnv, or around one",
            )
        )

    def may_hold(self, rows: Tensor) -> bool:
        """Whether some row of a mask is True, as far as one may look."""
        return not self._looks or bool(rows.any())

    def without_rewards(self, following: FlatDict) -> FlatDict:
        """`following` with rewards of zero."""
        return {**following, **{key: torch.zeros_like(following[key]) for key in self._rewards}}

    def _step_past(self, data: TensorMap, rows: Tensor, held: FlatDict) -> FlatDict:
        """Step everything, the rows outside a mask after a reset: some cannot be stepped after an end."""
        self._reset(self._with(data, RESET_KEY, ~rows))
        return merge_reset(held, self.step(data), rows, self._dims)

    def standing(self, data: TensorMap) -> FlatDict:
        """What a step that does not move returns: the observations and flags of the root, rewards of zero."""
        found: FlatDict = {}
        for key in self._observed:
            value = data.get(key, None)
            if value is not None:
                found[key] = value
        for key, spec in self._flags:
            value = data.get(key, None)
            found[key] = spec.zero() if value is None else value
        return {**found, **{key: spec.zero() for key, spec in self._rewards.items()}}

    def with_flags(self, fresh: FlatDict) -> FlatDict:
        """What a reset returned, in a dict of its own, with the flags that it left out, False."""
        return {**{key: spec.zero() for key, spec in self._flags}, **fresh}

    def root_after(self, data: TensorMap, following: FlatDict) -> TensorMap:
        """Root entries of the step after one: those of `following` but its rewards, and what else `data` has."""
        root = copied(data)
        for key, value in following.items():
            if key not in self._rewards:
                root[key] = value
        return root

    def done_rows(self, following: TensorMap) -> Tensor:
        """Rows in which an episode has ended, bool `[*B, 1]`."""
        return done_rows(following, self._done_keys, self._dims)

    @staticmethod
    def _with(data: TensorMap, key: str, mask: Tensor) -> TensorMap:
        changed = copied(data)
        changed[key] = mask
        return changed
