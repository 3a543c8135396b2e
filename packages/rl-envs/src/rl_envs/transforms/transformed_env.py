"""An environment seen through transforms."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from textwrap import indent
from typing import Any, TypeAlias, cast, final

import torch
from tensordict import TensorDictBase

from rl_envs._action_masks import mask_problems
from rl_envs._env_base import EnvBase
from rl_envs._env_plan import FlagGroup, complete_flags, flag_groups, incomplete_groups
from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs._seeding import stream_seed
from rl_envs.transforms._callable_transform import DataFunction
from rl_envs.transforms._carried_wiring import overwritten_carriers
from rl_envs.transforms._explain import Output, print_explanation
from rl_envs.transforms._sized_base import SizedBase, specs_at, wanted_batch
from rl_envs.transforms.compose import Compose
from rl_envs.transforms.transform import ResetCall, StepCall, Transform
from rl_specs import Composite, NestedKey, SpecError, TensorMap, message

_Call: TypeAlias = Callable[[TensorMap, TensorMap], TensorMap]


@final
class TransformedEnv(EnvBase):
    """An environment whose data pass through transforms.

    Specs are computed when transforms are connected and kept until the transforms change. A wiring mistake, such as an
    in key that nobody writes, is reported then, together with all others.

    Args:
        base_env: the environment inside. Of a `TransformedEnv` the transforms are taken over, so that the result is one
            layer deep; the given object stays usable as a view.
        transform: a `Transform`, a `Compose`, a list of transforms, or None for none yet. A function, or a module, from
            a TensorDict to a TensorDict is a transform too: it is given what each reset returned, which has no reward,
            and what each step returned. The specs are those of what it makes of zeros.
    Raises:
        TypeError: `base_env` is no environment, or `transform` no transform.
        SpecError: the transforms do not fit the environment or each other.
        RuntimeError: a transform is part of another environment already.
    """

    def __init__(
        self, base_env: EnvBase, transform: Transform | DataFunction | Iterable[Transform | DataFunction] | None = None
    ) -> None:
        _check_base(base_env)
        super().__init__(device=base_env.device, batch_size=base_env.batch_size)
        self._training = base_env.training
        self._is_prefix = False  # what a transform of another one sees
        self._base_env: EnvBase = base_env
        if isinstance(base_env, TransformedEnv):
            self._take_over(base_env, _as_list(transform))
        elif isinstance(transform, Compose):
            self._adopt(transform)
        else:
            self._adopt_new(_as_list(transform))

    @classmethod
    def _prefix(cls, owner: "TransformedEnv", count: int) -> "TransformedEnv":
        """The env that the transform at position `count` sees; shares the base env and the transforms."""
        view = cls.__new__(cls)
        EnvBase.__init__(view, device=owner.device, batch_size=owner._stages[count].observation.shape)
        view._base_env = owner.base_env
        view._transform = Compose._view(owner.transform.leaves()[:count])
        view._training = owner.training
        view._is_prefix = True
        view._base_specs = owner._base_specs
        view._install(owner._stages[: count + 1])
        return view

    # ------------------------------------------------------------------ transforms

    @property
    def base_env(self) -> EnvBase:
        """The environment inside."""
        return self._base_env

    def _simulator(self) -> EnvBase:
        return self._base_env

    @property
    def transform(self) -> Compose:
        """The transforms, first the one next to the base env."""
        return self._transform

    def append_transform(self, transform: Transform | DataFunction) -> "TransformedEnv":
        """Add a transform, or a function as the constructor takes it, at the end; returns the environment.

        Raises:
            SpecError: it does not fit; the environment is as it was.
            TypeError: it is neither.
        """
        self._transform.append(transform)
        return self

    def insert_transform(self, index: int, transform: Transform | DataFunction) -> "TransformedEnv":
        """Add a transform, or a function, before position `index`; returns the environment.

        Raises:
            SpecError: it, or one after it, does not fit; the environment is as it was.
            IndexError: `index` is out of range.
        """
        self._transform.insert(index, transform)
        return self

    def remove_transform(self, index: int = -1) -> Transform:
        """Take the transform at `index` out and return it.

        Raises:
            SpecError: one after it needs what it writes; the environment is as it was.
            IndexError: `index` is out of range.
        """
        return self._transform.pop(index)

    def explain(self, file: Output = None) -> None:
        """Print who reads and writes what: for each entry its final form, and the environment and transforms that
        write it, read it and take it away.

        Args:
            file: where to print; None: standard output.
        """
        self._env_specs()
        print_explanation(type(self._base_env).__name__, self._transform.leaves(), self._stages, file)

    def _adopt(self, transform: Compose) -> None:
        transform._attach(self)
        self._transform = transform
        try:
            self._connect()
        except Exception:
            transform._attach(None)
            raise

    def _adopt_new(self, transforms: Sequence[Transform | DataFunction]) -> None:
        whole = Compose(*transforms)
        try:
            self._adopt(whole)
        except Exception:
            whole._release()
            raise

    def _take_over(self, inner: "TransformedEnv", added: Sequence[Transform | DataFunction]) -> None:
        self._base_env = inner.base_env
        if inner._is_prefix and len(inner.transform):
            problem = "base_env is a view: its transforms belong to another environment"
            fix = "Use that one, or TransformedEnv(env.base_env, env.transform.clone())"
            raise RuntimeError(message("TransformedEnv", problem, fix=fix))
        items = inner.transform._release()
        try:
            self._adopt_new([*items, *added])
        except Exception:
            inner._adopt(Compose(*items))
            raise

    def _connect(self) -> None:
        """Bind each transform to the specs before it, and keep the specs and calls of every stage."""
        if not self._training:
            self._transform.eval()
        leaves = self._transform.leaves()
        self._base_specs = self._base_env._env_specs()
        for leaf in leaves:
            leaf._carry_apart(False)
        stages = self._bind_leaves(leaves)
        clashes = overwritten_carriers(self._base_env, leaves, stages)
        changed = [clash.leaf._carry_apart(True) for clash in clashes if clash.leaf is not None]
        if any(changed):
            stages = self._bind_leaves(leaves)
            clashes = overwritten_carriers(self._base_env, leaves, stages)
        if clashes:
            raise _wiring_error([clash.problem for clash in clashes])
        self._install(stages)

    def _bind_leaves(self, leaves: list[Transform]) -> list[EnvSpecs]:
        """Specs of every stage, of the base env first."""
        size = wanted_batch(self._base_env, self._base_specs.observation.shape, leaves)
        stages, problems = [specs_at(self._base_specs, size)], list[str]()
        if stages[0].rows:
            problem, fix = "environments that differ have no specs in common", "Put the transforms inside each of them"
            raise SpecError(message("TransformedEnv", problem, fix=fix))
        carried = self._base_env._carried_keys()
        cause: Exception | None = None
        for position, transform in enumerate(leaves):
            specs = stages[-1]
            transform._learn_carried(dict(carried))
            found = transform._bind(specs)
            carried = carried | transform._carried_keys()
            problems += [f"transform {position}, {type(transform).__name__}: {problem}" for problem in found]
            try:
                specs = transform._transform_specs(specs)
            except Exception as error:
                if not found:
                    cause = error
                    problems.append(f"transform {position}, {type(transform).__name__}: specs do not fit ({error})")
            if specs.action_masks and not found:
                masks = mask_problems(specs)
                problems += [f"transform {position}, {type(transform).__name__}: {problem}" for problem in masks]
            stages.append(specs)
        if problems:
            raise _wiring_error(problems) from cause
        return stages

    def _install(self, stages: list[EnvSpecs]) -> None:
        leaves = self._transform.leaves()
        self._stages = stages
        self._batch_size = stages[-1].observation.shape
        self._device, border = _outer_device(self._base_env.device, leaves)
        size = wanted_batch(self._base_env, self._base_specs.observation.shape, leaves)
        self.batch_locked = self._base_env.batch_locked or size is not None or self._is_sized()
        self.resets_members = self._base_env.resets_members
        self.accepts_mapping = self._base_env.accepts_mapping and all(leaf.accepts_mapping for leaf in leaves)
        self._flag_groups = flag_groups(self._base_env.done_keys)
        self._incomplete_groups: list[FlagGroup] | None = None  # seen at the first step
        base = SizedBase(self._base_env, stages[0].observation.shape) if self._is_sized() else None
        self._base_step: StepCall = self._base_env._step if base is None else base.step
        self._base_reset: ResetCall = self._base_env._reset if base is None else base.reset
        self._inner_device = self._base_env.device
        wrapping = [position for position, leaf in enumerate(leaves) if leaf._is_wrapping()]
        if wrapping:  # what lies before the last of them is an env of its own, which completes its flags
            self._incomplete_groups = []
            inside = TransformedEnv._prefix(self, wrapping[-1])
            leaves = leaves[wrapping[-1] :]
            border = max(border - wrapping[-1], 0)
            self._inner_device = inside.device
            self._base_step, self._base_reset = leaves[0]._wrap(inside)
        flags = stages[wrapping[-1] + 1 if wrapping else 0].done.flat_items()
        self._read_flags = [(key, spec) for key, spec in flags if any(key in leaf.in_keys for leaf in leaves)]
        self._inner_step_calls, self._step_calls = _split([leaf._step for leaf in leaves], border)
        self._inner_reset_calls, self._reset_calls = _split([leaf._reset for leaf in leaves], border)
        before = [leaf for leaf in leaves if type(leaf)._before_reset is not Transform._before_reset]
        self._before_reset_calls = [leaf._before_reset for leaf in reversed(before)]
        self._inverse_calls = [leaf._inv_call for leaf in reversed(leaves) if leaf._has_inverse()]

    def _is_sized(self) -> bool:
        """Whether a transform has given the environment inside a batch size that is not its own."""
        return self._stages[0].observation.shape != self._base_specs.observation.shape

    def _transforms_changed(self) -> None:
        self._connect()

    def _parent_env(self, transform: Transform) -> "TransformedEnv | None":
        for position, leaf in enumerate(self._transform.leaves()):
            if leaf is transform or (isinstance(transform, Compose) and leaf in transform.leaves()):
                return TransformedEnv._prefix(self, position)
        return TransformedEnv._prefix(self, len(self._transform.leaves()))

    # ------------------------------------------------------------------ environment

    def _env_specs(self) -> EnvSpecs:
        if self._base_env._env_specs() is not self._base_specs:
            self._connect()
        return self._stages[-1]

    def _replace_spec(self, **changed: Composite) -> None:
        fix = "Set it on base_env, or append a transform that changes it"
        raise AttributeError(message("TransformedEnv", f"{', '.join(changed)} spec cannot be set here", fix=fix))

    def _step(self, data: TensorMap) -> TensorMap:
        inner = data
        if self._inverse_calls:
            inner = _copied(data)
            for inverse in self._inverse_calls:
                inner = inverse(inner)
        next_data = self._as_accepted(self._base_step(inner))
        if self._incomplete_groups is None:
            declared = self._base_env.done_keys
            self._incomplete_groups = incomplete_groups(self._flag_groups, next_data, declared)
        for done, terminated, truncated in self._incomplete_groups:
            complete_flags(next_data, done, terminated, truncated)
        for step in self._inner_step_calls:
            next_data = step(inner, next_data)
        for step in self._step_calls:
            next_data = step(data, next_data)
        return next_data

    def _reset(self, data: TensorMap | None) -> TensorMap:
        inner = data
        if self._before_reset_calls:
            inner = None if data is None else _copied(data)
            for before_reset in self._before_reset_calls:
                inner = before_reset(inner)
        reset_data = self._as_accepted(self._base_reset(inner))
        for key, spec in self._read_flags:  # a reset may leave out that no episode has ended
            if reset_data.get(key, None) is None:
                reset_data[key] = spec.zero()
        root = self._as_accepted({}) if data is None else data
        for reset in self._inner_reset_calls:
            reset_data = reset(root if inner is None else inner, reset_data)
        for reset in self._reset_calls:
            reset_data = reset(root, reset_data)
        return reset_data

    def _as_accepted(self, data: TensorMap) -> TensorMap:
        """`data` as the transforms take it: a TensorDict, unless each of them accepts mappings."""
        if self.accepts_mapping or isinstance(data, TensorDictBase):
            return data
        return pack_flat(unpack_flat(data), self.batch_size, self._inner_device)

    def _carried_keys(self) -> dict[NestedKey, bool]:
        carried = dict(self._base_env._carried_keys())
        for leaf in self._transform.leaves():
            carried |= leaf._carried_keys()
        return carried

    def _set_seed(self, seed: int) -> None:
        self._set_stream(seed, 0)

    def _set_stream(self, seed: int, first_index: int) -> None:
        self._base_env._set_stream(seed, first_index)
        self._transform.set_seed(stream_seed(seed, first_index))

    def _set_training(self, mode: bool) -> None:
        self._base_env.train(mode)
        self._transform.train(mode)

    def _to(self, device: torch.device) -> None:
        self._base_env.to(device)
        self._transform.to(device)
        self._connect()

    def _close(self) -> None:
        self._base_env.close()

    # ------------------------------------------------------------------ state

    @property
    def steps_rows(self) -> bool:
        """Whether the base env steps the rows of a mask alone."""
        return self._base_env.steps_rows

    @property
    def has_exact_state(self) -> bool:
        """Whether the base env's simulator can be read out and written back."""
        return self._base_env.has_exact_state

    def get_state(self) -> dict[str, Any]:
        """State of the simulator and of the transforms; see `EnvBase.get_state`."""
        return {"base_env": self._base_env.get_state(), "transform": self._transform_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned; a state that does not fit leaves the environment as it was."""
        self.drive(None)
        self._load(state, self._base_env.set_state)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: `base_env` and `transform`, the statistics and random streams of the transforms."""
        return {"base_env": self._base_env.state_dict(), "transform": self._transform_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
            KeyError: the state has other entries than `base_env` and `transform`.
            RuntimeError: the transforms are not those of the state; the environment is as it was.
        """
        if set(state) != {"base_env", "transform"}:
            problem = "not the state of a TransformedEnv"
            fix = "Give what state_dict of a TransformedEnv returned; the env inside is env.base_env"
            expected, found = "base_env, transform", ", ".join(sorted(state)) or "nothing"
            component = "TransformedEnv.load_state_dict"
            raise KeyError(message(component, problem, expected=expected, found=found, fix=fix))
        self.drive(None)
        self._load(state, self._base_env.load_state_dict)
        self._connect()

    def _load(self, state: Mapping[str, Any], load_base: Callable[[Any], object]) -> None:
        """Load a state; where a part of it does not fit, the transforms get back what they had."""
        before = self._transform_state()
        try:
            self._transform.load_state_dict(state["transform"])
            load_base(state["base_env"])
        except Exception:
            self._transform.load_state_dict(before, strict=False)
            raise

    def _transform_state(self) -> dict[str, Any]:
        return copy.deepcopy(dict(self._transform.state_dict()))

    def __repr__(self) -> str:
        inner = f"env={self._base_env},\ntransform={self._transform}"
        return f"TransformedEnv(\n{indent(inner, '    ')})"


def _copied(data: TensorMap) -> TensorMap:
    """The same entries in another mapping, which can be written to."""
    return dict(data) if isinstance(data, dict) else cast(TensorDictBase, data).copy()


def _outer_device(device: torch.device | None, leaves: list[Transform]) -> tuple[torch.device | None, int]:
    """Device outside, and the position of the last transform that changes it, 0 where none does.

    The transforms before it get root entries as the environment inside does, on its device.
    """
    border = 0
    for position, leaf in enumerate(leaves):
        if type(leaf)._env_device is not Transform._env_device:
            device, border = leaf._env_device(device), position
    return device, border


def _split(calls: list[_Call], border: int) -> tuple[list[_Call], list[_Call]]:
    return calls[:border], calls[border:]


def _wiring_error(problems: list[str]) -> SpecError:
    lines = "\n".join(f"  - {problem}" for problem in problems)
    return SpecError(f"TransformedEnv: {len(problems)} wiring mistake(s) in the transforms:\n{lines}")


def _check_base(base_env: object) -> None:
    if not isinstance(base_env, EnvBase):
        fix = "Call TransformedEnv(env, transform), with GymWrapper(env) around a Gymnasium environment"
        expected, found = "an rl_envs.EnvBase", type(base_env).__name__
        raise TypeError(message("TransformedEnv", "base_env", expected=expected, found=found, fix=fix))


def _as_list(transform: object) -> list[Transform | DataFunction]:
    if isinstance(transform, Transform):
        return [transform]
    if transform is None:
        return []
    if callable(transform):
        return [transform]
    if not isinstance(transform, Iterable):
        fix = "Pass an object of a class derived from rl_envs.Transform, or a list of them"
        found = repr(transform)
        raise TypeError(message("TransformedEnv", "transform", expected="a Transform", found=found, fix=fix))
    return list(transform)
