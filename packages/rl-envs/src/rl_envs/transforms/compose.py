"""A sequence of transforms that acts as one."""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from textwrap import indent
from typing import TYPE_CHECKING, Any, ClassVar, cast, final, overload

from tensordict import TensorDictBase
from torch import nn

from rl_envs._env_specs import EnvSpecs
from rl_envs._seeding import stream_seed
from rl_envs.transforms._callable_transform import CallableTransform, DataFunction
from rl_envs.transforms.transform import ActionMaskPairs, Transform, TransformContainer
from rl_specs import Composite, TensorMap, message

if TYPE_CHECKING:
    from rl_envs.transforms.transformed_env import TransformedEnv

_STREAMS = 1 << 40
"""Numbers of the streams of transforms start here; those below are of environments."""


@final
class Compose(Transform):
    """Transforms applied one after the other; the inverse part runs in the opposite order.

    It works like a list: `compose[0]`, `compose[1:]`, `len`, iteration, `append`, `insert`, `extend`, `pop`,
    `del compose[0]`, `compose[0] = other`. In an environment each change updates the specs of the environment at
    once, and a change that does not fit is refused and leaves everything as it was.

    Args:
        items: the transforms, first the one next to the environment, or one list of them; `Compose` objects can be
            nested. A function, or a module, from a TensorDict to a TensorDict is one too: see `TransformedEnv`.
        transforms: the list, by name.
    Raises:
        TypeError: one is neither a `Transform` nor a callable, or transforms are given in two ways.
        RuntimeError: one is part of another container already.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        *items: Transform | DataFunction | list[Transform | DataFunction],
        transforms: list[Transform | DataFunction] | None = None,
    ) -> None:
        super().__init__()
        self.transforms = nn.ModuleList()
        self._is_view = False
        self._replace(_checked(_listed(items, transforms)))

    @classmethod
    def _view(cls, transforms: Iterable[Transform]) -> "Compose":
        """The same transforms under another roof, which does not own them and cannot be changed."""
        view = cls()
        view.transforms = nn.ModuleList(transforms)
        view._is_view = True
        return view

    # ------------------------------------------------------------------ list

    def clone(self) -> "Compose":
        """A deep copy that belongs to no container; of a slice, one that owns its transforms."""
        return Compose(*(transform.clone() for transform in self)) if self._is_view else super().clone()

    def leaves(self) -> list[Transform]:
        """The transforms, nested `Compose` objects opened."""
        found: list[Transform] = []
        for transform in self:
            found.extend(transform.leaves() if isinstance(transform, Compose) else [transform])
        return found

    def append(self, transform: Transform | DataFunction) -> None:
        """Add `transform` at the end, the place farthest from the environment."""
        self._replace([*self, *_checked([transform])])

    def insert(self, index: int, transform: Transform | DataFunction) -> None:
        """Add `transform` before position `index`; `len(compose)` is the end, negative numbers count from there.

        Raises:
            IndexError: `index` is out of range.
        """
        items = list(self)
        if not -len(items) <= index <= len(items):
            raise self._out_of_range(index, f"{-len(items)} to {len(items)}")
        items.insert(index, *_checked([transform]))
        self._replace(items)

    def extend(self, transforms: Iterable[Transform | DataFunction]) -> None:
        """Add several at the end; all of them or, where one does not fit, none."""
        self._replace([*self, *_checked(transforms)])

    def pop(self, index: int = -1) -> Transform:
        """Remove the transform at `index` and return it, free for another container.

        Raises:
            IndexError: `index` is out of range.
        """
        items = list(self)
        if not -len(items) <= index < len(items):
            raise self._out_of_range(index, f"{-len(items)} to {len(items) - 1}" if items else "none")
        transform = items.pop(index)
        self._replace(items)
        return transform

    def __delitem__(self, index: int | slice) -> None:
        items = list(self)
        del items[index]
        self._replace(items)

    def __setitem__(self, index: int, transform: Transform | DataFunction) -> None:
        items = list(self)
        items[index] = _checked([transform])[0]
        self._replace(items)

    def __len__(self) -> int:
        return len(self.transforms)

    def __iter__(self) -> Iterator[Transform]:
        return iter(cast(Iterable[Transform], self.transforms))

    @overload
    def __getitem__(self, index: int) -> Any: ...  # the caller knows which transform is there
    @overload
    def __getitem__(self, index: slice) -> "Compose": ...
    def __getitem__(self, index: int | slice) -> Any:
        items = list(self)
        return Compose._view(items[index]) if isinstance(index, slice) else items[index]

    def _out_of_range(self, index: int, expected: str) -> IndexError:
        count, problem = len(self), "position out of range"
        found = f"{index}, with {count} transform{'' if count == 1 else 's'}: {[type(each).__name__ for each in self]}"
        return IndexError(message("Compose", problem, expected=expected, found=found, fix="See env.explain()"))

    def _replace(self, items: Sequence[Transform]) -> None:
        if self._is_view:
            fix = "Change env.transform of the environment that owns them"
            raise RuntimeError(message("Compose", "a view of transforms that another Compose owns", fix=fix))
        before = list(self)
        repeated = [item for position, item in enumerate(items) if any(item is other for other in items[:position])]
        if repeated:
            fix = "Use transform.clone() for the second one"
            raise RuntimeError(message("Compose", f"{type(repeated[0]).__name__} is there twice", fix=fix))
        try:
            self._hold(before, items)
            self._changed()
        except Exception:
            self._hold(items, before)
            self._changed()
            raise

    def _hold(self, old: Sequence[Transform], new: Sequence[Transform]) -> None:
        for transform in old:
            if transform.container is self and not any(transform is other for other in new):
                transform._attach(None)
        for transform in new:
            transform._attach(self)
        self.transforms = nn.ModuleList(new)

    def _release(self) -> list[Transform]:
        """Hand the transforms over to another owner; this object stays as a view of them."""
        items = list(self)
        for transform in items:
            transform._attach(None)
        self._is_view = True
        self._attach(None)
        return items

    # ------------------------------------------------------------------ transform

    def _call(self, data: TensorMap) -> TensorMap:
        for transform in self:
            data = transform._call(data)
        return data

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        for transform in self:
            next_data = transform._step(data, next_data)
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        for transform in self:
            reset_data = transform._reset(data, reset_data)
        return reset_data

    def _inv_call(self, data: TensorMap) -> TensorMap:
        for transform in reversed(list(self)):
            data = transform._inv_call(data)
        return data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Apply each transform's `forward` in turn; returns the TensorDict."""
        for transform in self:
            tensordict = transform.forward(tensordict)
        return tensordict

    def inv(self, tensordict: TensorDictBase) -> TensorDictBase:
        """What a replay buffer stores of `tensordict`: the `inv` of each transform, from the last to the first."""
        for transform in reversed(list(self)):
            tensordict = transform.inv(tensordict)
        return tensordict if len(self) else tensordict.copy()

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Observation spec after all of them."""
        for transform in self:
            observation_spec = transform.transform_observation_spec(observation_spec)
        return observation_spec

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Reward spec after all of them."""
        for transform in self:
            reward_spec = transform.transform_reward_spec(reward_spec)
        return reward_spec

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """Done spec after all of them."""
        for transform in self:
            done_spec = transform.transform_done_spec(done_spec)
        return done_spec

    def transform_action_spec(self, action_spec: Composite) -> Composite:
        """Action spec outside all of them."""
        for transform in self:
            action_spec = transform.transform_action_spec(action_spec)
        return action_spec

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """State spec outside all of them."""
        for transform in self:
            state_spec = transform.transform_state_spec(state_spec)
        return state_spec

    def transform_action_masks(self, action_masks: ActionMaskPairs) -> ActionMaskPairs:
        """Masks of actions after all of them."""
        for transform in self:
            action_masks = transform.transform_action_masks(action_masks)
        return action_masks

    def _bind(self, specs: EnvSpecs) -> list[str]:
        problems: list[str] = []
        for transform in self:
            problems += transform._bind(specs)
            if problems:
                break
            specs = transform._transform_specs(specs)
        return problems

    def clear(self) -> None:
        """Have every transform forget what it keeps back."""
        for transform in self:
            transform.clear()

    def set_seed(self, seed: int) -> None:
        """Seed every transform, each with a seed of its own: it depends on the class, and on how many of that class are
        before it, not on what else there is."""
        counts = Counter[str]()
        for transform in self.leaves():
            name = type(transform).__qualname__
            stream = _STREAMS * (1 + counts[name]) + zlib.crc32(name.encode())
            transform.set_seed(stream_seed(seed, stream))
            counts[name] += 1

    # ------------------------------------------------------------------ container

    def _attach(self, owner: TransformContainer | None) -> None:
        if owner is not None and self._is_view:
            fix = "Use .clone() of it, whose transforms are copies"
            raise RuntimeError(message("Compose", "a view of transforms that another Compose owns", fix=fix))
        super()._attach(owner)

    def _transforms_changed(self) -> None:
        self._changed()

    def _parent_env(self, transform: Transform) -> "TransformedEnv | None":
        owner = self.container
        return None if owner is None else owner._parent_env(transform)

    def __repr__(self) -> str:
        inner = ",\n".join(indent(repr(transform), " " * 8) for transform in self)
        return f"Compose(\n{inner})" if inner else "Compose()"


def _listed(items: tuple[object, ...], named: Iterable[object] | None) -> Iterable[object]:
    """The transforms, which may be given one by one, as one list, or as a list by name."""
    if named is not None and items:
        fix = "Give Compose(first, second), Compose([first, second]) or Compose(transforms=[first, second])"
        raise TypeError(message("Compose", "transforms given in two ways", fix=fix))
    if named is not None:
        return named
    return items[0] if len(items) == 1 and isinstance(items[0], list) else items


def _checked(transforms: Iterable[object]) -> list[Transform]:
    """The transforms; functions as such."""
    return [_as_transform(transform) for transform in transforms]


def _as_transform(given: object) -> Transform:
    if isinstance(given, Transform):
        return given
    if callable(given) and not isinstance(given, type):
        return CallableTransform(given)
    fix = "Derive from rl_envs.Transform, or pass a function from a TensorDict to a TensorDict"
    if isinstance(given, type):
        fix = f"Pass an object, {given.__name__}(...), and not the class"
    raise TypeError(message("Compose", "not a transform", expected="Transform", found=_called(given), fix=fix))


def _called(given: object) -> str:
    return f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
