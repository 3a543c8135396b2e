"""The base class of transforms: what happens to data between an environment and its user."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, TypeAlias

import torch
from tensordict import TensorDictBase
from torch import Size, Tensor, nn

from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import unpack_flat
from rl_envs.transforms._leaf_specs import dry_run
from rl_envs.transforms._wiring import leaf_keys, misplaced_keys, repeated_key, wiring_problems
from rl_specs import (
    Composite,
    NestedKey,
    TensorMap,
    TensorSpec,
    canonical_keys,
    key_str,
    message,
    missing_key,
)

if TYPE_CHECKING:
    from rl_envs.transforms.transformed_env import TransformedEnv

Keys = Iterable[NestedKey]
_Pairs = list[tuple[NestedKey, NestedKey]]
ActionMaskPairs: TypeAlias = tuple[tuple[NestedKey, NestedKey], ...]
"""Actions, each with the observation entry that holds its mask."""
StepCall: TypeAlias = Callable[[TensorMap], TensorMap]
"""From the root entries with the actions to the entries that a step returns, flags complete."""
ResetCall: TypeAlias = Callable[[TensorMap | None], TensorMap]
"""From root entries with the mask of a reset, or None, to entries for the whole batch."""


class TransformContainer(Protocol):
    """What owns transforms: a `Compose`, or a `TransformedEnv`."""

    def _transforms_changed(self) -> None:
        """Recompute what depends on the transforms."""

    def _parent_env(self, transform: "Transform") -> "TransformedEnv | None":
        """The env that `transform` sees: the base env and the transforms before it."""


class Transform(nn.Module):
    """Maps entries of an environment's data on their way out, and actions on their way in.

    A stateless map overrides `_apply_transform` alone. Others override `_call` (one mapping), or `_step` and `_reset`.
    An out key equal to its in key replaces the entry; another out key adds one.

    `accepts_mapping = True` says that the class reads and writes entries only by `[key]`, `[key] = value` and `get`,
    so that it can be handed flat dicts (see `rl_specs.TensorMap`) instead of TensorDicts.

    Args:
        in_keys: entries read after a reset or a step.
        out_keys: entries written; `in_keys` when left out.
        in_keys_inv: entries that the environment inside reads (actions, states), written before a step.
        out_keys_inv: their names outside; `in_keys_inv` when left out.
    Raises:
        ValueError: in and out keys differ in number, or an out key is there twice.
    """

    accepts_mapping: ClassVar[bool] = False
    _finds_keys: bool = False
    """Whether `_bind` looks for the keys among those of the environment, since none were given."""

    def __init__(
        self,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        *,
        in_keys_inv: Keys | NestedKey | None = None,
        out_keys_inv: Keys | NestedKey | None = None,
    ) -> None:
        super().__init__()
        self.__dict__["_container"] = None
        self._pairs: _Pairs = []
        self._reset_pairs: _Pairs = []
        self._inv_pairs: _Pairs = []
        self._carried_before: dict[NestedKey, bool] = {}
        self._flags: dict[NestedKey, TensorSpec] = {}
        self._set_keys(in_keys, out_keys)
        self._check_names()
        self._set_keys_inv(in_keys_inv, out_keys_inv)
        if self._is_plain_map():
            self._check_lengths()
        if len(self._in_keys_inv) != len(self._out_keys_inv) and type(self)._inv_call is Transform._inv_call:
            raise self._lengths_differ("in_keys_inv", "out_keys_inv", self._in_keys_inv, self._out_keys_inv)

    # ------------------------------------------------------------------ what a subclass overrides

    def _apply_transform(self, value: Tensor) -> Tensor:
        """New value of one entry; never changes `value` itself."""
        raise NotImplementedError(message(type(self).__name__, "has keys to map but no _apply_transform"))

    def _inv_apply_transform(self, value: Tensor) -> Tensor:
        """Value that the environment inside gets for one entry from outside; never changes `value` itself."""
        raise NotImplementedError(message(type(self).__name__, "has inverse keys but no _inv_apply_transform"))

    def _call(self, data: TensorMap) -> TensorMap:
        """Transform the entries of `data` and return it."""
        return self._map_entries(data, self._pairs)

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        """Transform what a step returned.

        Args:
            data: root entries before the step; not to be changed.
            next_data: entries that the step returned, flags complete; may be written to.
        Returns:
            The transformed entries, `next_data` as a rule.
        """
        return self._call(next_data)

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        """Transform what a reset returned; state of rows outside the mask stays as it is.

        Args:
            data: root entries with the mask `"_reset"`, bool `[*B, 1]`; without a mask every row is reset.
            reset_data: entries for the whole batch; the caller keeps the rows of the mask. May be written to.
        Returns:
            The transformed entries, `reset_data` as a rule.
        """
        if type(self)._call is Transform._call:
            return self._map_entries(reset_data, self._reset_pairs)
        return self._call(reset_data)

    def _inv_call(self, data: TensorMap) -> TensorMap:
        """Write the inner entries (`in_keys_inv`) from the outer ones (`out_keys_inv`) into `data` and return it."""
        for inner, outer in self._inv_pairs:
            value = data.get(outer, None)
            if value is None:
                raise self._missing(outer, data)
            data[inner] = self._inv_apply_transform(value)
        return data

    def _wrap(self, env: "TransformedEnv") -> tuple[StepCall, ResetCall]:
        """Step and reset as this transform and those after it see them.

        For transforms that step the env inside not once but several times or not at all, or change the batch size.
        Called when the transforms are connected, where `_is_wrapping` says so. What it returns is part of the
        environment and copied with it: objects of classes or bound methods, no closures.

        Args:
            env: the environment before this transform; `_step`, `_reset` and its attributes are of use.
        Returns:
            What is called in place of `env._step` and `env._reset`, between `_inv_call` and `_step` or `_reset` of this
            transform. The data that it is given must not be changed.
        """
        return env._step, env._reset

    def _is_wrapping(self) -> bool:
        """Whether `_wrap` does anything; where not, the step path is without it."""
        return type(self)._wrap is not Transform._wrap

    def _has_inverse(self) -> bool:
        """Whether `_inv_call` does anything; where not, the step path is without it."""
        return bool(self._in_keys_inv) or type(self)._inv_call is not Transform._inv_call

    def _before_reset(self, data: TensorMap | None) -> TensorMap | None:
        """What the environment inside gets for a reset, as `_inv_call` for a step; called before it resets.

        Args:
            data: root entries with the mask, a copy that may be written to; None where everything is reset.
        """
        return data

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Observation spec after this transform, from a copy of the one before it; what is made of flags is one."""
        mapped = self._map_spec(observation_spec)
        for in_key, out_key in self._pairs:
            if in_key != out_key and in_key in self._flags:
                mapped[out_key] = self._leaf_spec(self._flags[in_key])
        return mapped

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Reward spec after this transform, from a copy of the one before it."""
        return self._map_spec(reward_spec)

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """Done spec after this transform, from a copy of the one before it."""
        return done_spec

    def transform_action_spec(self, action_spec: Composite) -> Composite:
        """Action spec outside this transform, from a copy of the one inside."""
        return self._map_spec_inv(action_spec)

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """State spec outside this transform, from a copy of the one inside."""
        return self._map_spec_inv(state_spec)

    def transform_action_masks(self, action_masks: ActionMaskPairs) -> ActionMaskPairs:
        """`EnvSpecs.action_masks` after this transform; actions are renamed as its inverse keys say, masks as
        `_outer_name` does."""
        if not action_masks:
            return action_masks
        outer = dict(self._inv_pairs)
        return tuple((outer.get(action, action), self._outer_name(entry)) for action, entry in action_masks)

    def _outer_name(self, key: NestedKey) -> NestedKey:
        """Name of the observation `key` after this transform, another one where it is moved."""
        return key

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        """Spec of an out entry from the spec of its in entry; by default found out on an entry of zeros."""
        if type(self)._apply_transform is Transform._apply_transform:
            return spec
        return dry_run(self._apply_transform, spec)

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        """Spec of an outer entry from the spec of the inner one."""
        return spec

    def _bind(self, specs: EnvSpecs) -> list[str]:
        """Prepare for an environment, each time its transforms change.

        Args:
            specs: specs of the environment before this transform.
        Returns:
            What is wrong with the wiring, one sentence each.
        """
        return self._check_wiring(specs)

    def _carried_keys(self) -> dict[NestedKey, bool]:
        """Root entries that `_step` reads back, so that no later transform may write over them, or remove them.

        True where an entry is a number that is counted or summed up, such as the return so far, and no observation:
        transforms of every observation leave it out, and casts may write over it, so `_step` takes other dtypes.
        """
        return {}

    def _carry_apart(self, is_apart: bool) -> bool:
        """Carry entries under names of their own from now on, or no longer, in the next `_bind`.

        Returns:
            Whether the transform can; if not, a later transform that writes over them is a wiring mistake.
        """
        return False

    def _spares(self, key: NestedKey, *, is_number: bool) -> bool:
        """Whether an entry of `_carried_keys` can still be read back after this transform has written over it."""
        return False

    def _learn_carried(self, carried: dict[NestedKey, bool]) -> None:
        """Told, before `_bind`, the `_carried_keys` of the environment inside and of the transforms before."""
        self._carried_before = carried

    def _env_device(self, device: torch.device | None) -> torch.device | None:
        """Device of the environment as seen outside, from that inside; None: undeclared."""
        return device

    def _batch_wanted(self, batch_size: Size) -> Size | None:
        """Batch size to give an environment that has none of its own (see `EnvBase.batch_locked`), for good.

        Args:
            batch_size: that of its specs.
        Returns:
            A shape that ends in it; None: any will do.
        """
        return None

    def clear(self) -> None:
        """Forget what is kept back of data given to `inv`, where that is anything."""

    def set_seed(self, seed: int) -> None:
        """Seed the transform's own random stream, where it has one."""

    def _reads(self) -> list[NestedKey]:
        """Entries that a step or a reset reads, for `TransformedEnv.explain`; `in_keys` and any that are implied."""
        return self._in_keys

    def _writes(self) -> list[NestedKey]:
        """Entries that a step or a reset writes, as `_reads`."""
        return self._out_keys

    # ------------------------------------------------------------------ for users

    @property
    def in_keys(self) -> list[NestedKey]:
        """Entries read; setting them, or `out_keys`, renews the specs of the environment at once, or is refused."""
        return self._in_keys

    @in_keys.setter
    def in_keys(self, keys: Keys | NestedKey) -> None:
        same = self._in_keys == self._out_keys
        self._rename(keys, keys if same else self._out_keys)

    @property
    def out_keys(self) -> list[NestedKey]:
        """Entries written, one for each of `in_keys` as a rule."""
        return self._out_keys

    @out_keys.setter
    def out_keys(self, keys: Keys | NestedKey) -> None:
        self._rename(self._in_keys, keys)

    @property
    def in_keys_inv(self) -> list[NestedKey]:
        """Entries that the environment inside reads."""
        return self._in_keys_inv

    @property
    def out_keys_inv(self) -> list[NestedKey]:
        """Names of `in_keys_inv` outside."""
        return self._out_keys_inv

    @property
    def container(self) -> TransformContainer | None:
        """The `Compose` or `TransformedEnv` that this transform lives in; None when it is free."""
        owner: TransformContainer | None = self.__dict__["_container"]
        return owner

    @property
    def parent(self) -> "TransformedEnv | None":
        """The environment that this transform sees: the base env with the transforms before this one.

        It shares the base env and those transforms. None when the transform is not part of an environment.
        """
        owner = self.container
        return None if owner is None else owner._parent_env(self)

    def clone(self) -> Self:
        """A deep copy that belongs to no container."""
        return copy.deepcopy(self, {id(self.container): None})

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Apply the transform to the root entries of a TensorDict, as a replay buffer does; returns that TensorDict."""
        result = self._call(tensordict)
        if not isinstance(result, TensorDictBase):
            raise TypeError(message(type(self).__name__, "_call returned another type", found=type(result).__name__))
        return result

    def inv(self, tensordict: TensorDictBase) -> TensorDictBase:
        """What a replay buffer stores of `tensordict`: its entries as the inside of the transform has them.

        `tensordict` itself is not changed.
        """
        result = self._inv_call(tensordict.copy())
        if not isinstance(result, TensorDictBase):
            found = type(result).__name__
            raise TypeError(message(type(self).__name__, "_inv_call returned another type", found=found))
        return result

    def __repr__(self) -> str:
        return f"{type(self).__name__}(keys={self.in_keys})"

    # ------------------------------------------------------------------ machinery

    def _attach(self, owner: TransformContainer | None) -> None:
        current = self.container
        if owner is not None and current is not None and current is not owner:
            raise RuntimeError(
                message(
                    type(self).__name__,
                    "already part of another container, and a transform can live in one only",
                    fix="Use transform.clone() for the second one",
                )
            )
        self.__dict__["_container"] = owner

    def _changed(self) -> None:
        """Tell the environment, if there is one, that the specs after this transform may differ."""
        owner = self.container
        if owner is not None:
            owner._transforms_changed()

    def _is_plain_map(self) -> bool:
        """Whether each out key is made of its in key alone: no `_call` or `_step` of the class's own."""
        return type(self)._call is Transform._call and type(self)._step is Transform._step

    def _check_lengths(self) -> None:
        """Refuse keys that do not pair up."""
        if len(self._in_keys) != len(self._out_keys):
            raise self._lengths_differ("in_keys", "out_keys", self._in_keys, self._out_keys)

    def _check_names(self) -> None:
        """Refuse results of one name."""
        twice = repeated_key(self._out_keys)
        if twice is not None:
            fix = "Give each result a name of its own"
            raise ValueError(message(type(self).__name__, f"out key {key_str(twice)} is there twice", fix=fix))

    def _lengths_differ(self, first: str, second: str, one: list[NestedKey], two: list[NestedKey]) -> ValueError:
        problem = f"{first} and {second} differ in number"
        return ValueError(
            message(type(self).__name__, problem, expected=f"{len(one)} as {one}", found=f"{len(two)} {two}")
        )

    def _set_keys(self, in_keys: Keys | NestedKey | None, out_keys: Keys | NestedKey | None) -> None:
        self._in_keys, self._out_keys = _key_lists(in_keys, out_keys)
        self._pairs = list(zip(self._in_keys, self._out_keys, strict=False))
        self._reset_pairs = self._pairs

    def _set_keys_inv(self, in_keys: Keys | NestedKey | None, out_keys: Keys | NestedKey | None) -> None:
        self._in_keys_inv, self._out_keys_inv = _key_lists(in_keys, out_keys)
        self._inv_pairs = list(zip(self._in_keys_inv, self._out_keys_inv, strict=False))

    def _rename(self, in_keys: Keys | NestedKey, out_keys: Keys | NestedKey) -> None:
        before, found = (self._in_keys, self._out_keys), self._finds_keys
        self._set_keys(in_keys, out_keys)
        self._finds_keys = False
        try:
            if self._is_plain_map():
                self._check_lengths()
            self._check_names()
            self._changed()
        except Exception:
            self._set_keys(*before)
            self._finds_keys = found
            self._changed()
            raise

    def _map_entries(self, data: TensorMap, pairs: _Pairs) -> TensorMap:
        for in_key, out_key in pairs:
            value = data.get(in_key, None)
            if value is None:
                raise self._missing(in_key, data)
            data[out_key] = self._apply_transform(value)
        return data

    def _missing(self, key: NestedKey, data: TensorMap) -> Exception:
        fix = "Rename with in_keys=[...], or place this transform after the one that writes the entry"
        return missing_key(type(self).__name__, key, unpack_flat(data), fix=fix)

    def _map_spec(self, spec: Composite) -> Composite:
        present = dict(spec.flat_items())
        for in_key, out_key in self._pairs:
            if in_key in present:
                spec[out_key] = self._leaf_spec(present[in_key])
        return spec

    def _map_spec_inv(self, spec: Composite) -> Composite:
        present = dict(spec.flat_items())
        for inner, outer in self._inv_pairs:
            if inner in present:
                leaf = self._leaf_spec_inv(present[inner])
                if inner != outer:
                    del spec[inner]
                spec[outer] = leaf
        return spec

    def _transform_specs(self, specs: EnvSpecs) -> EnvSpecs:
        observation = self.transform_observation_spec(specs.observation.clone())
        flags = [self._outer_name(key) for key in specs.first_flags]
        return replace(
            specs,
            observation=observation,
            action=self.transform_action_spec(specs.action.clone()),
            reward=self.transform_reward_spec(specs.reward.clone()),
            done=self.transform_done_spec(specs.done.clone()),
            state=self.transform_state_spec(specs.state.clone()),
            action_masks=self.transform_action_masks(specs.action_masks),
            first_flags=tuple(key for key in flags if key in leaf_keys(observation)),
        )

    def _left_alone(self, specs: EnvSpecs) -> set[NestedKey]:
        """Entries that a transform of every observation leaves out: states, and numbers that others carry."""
        numbers = [key for key, is_number in self._carried_before.items() if is_number]
        return {*leaf_keys(specs.state), *numbers}

    def _check_wiring(self, specs: EnvSpecs, *, reads_root: bool | None = None) -> list[str]:
        """Keys that are not there, and states overwritten; `reads_root`: actions may be among the in keys."""
        reads = type(self)._step is not Transform._step if reads_root is None else reads_root
        problems = wiring_problems(self._in_keys, self._out_keys, self._in_keys_inv, specs, reads_root=reads)
        if self._is_plain_map():
            problems += misplaced_keys(self._pairs, specs)
        rewards = leaf_keys(specs.reward)
        self._reset_pairs = [pair for pair in self._pairs if pair[0] not in rewards]
        self._flags = dict(specs.done.flat_items())
        return problems


def _key_lists(
    in_keys: Keys | NestedKey | None, out_keys: Keys | NestedKey | None
) -> tuple[list[NestedKey], list[NestedKey]]:
    first = [] if in_keys is None else canonical_keys(in_keys)
    return first, list(first) if out_keys is None else canonical_keys(out_keys)
