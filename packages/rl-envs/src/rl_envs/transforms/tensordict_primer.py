"""Entries that a policy needs from the first step on."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_plan import RESET_KEY
from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs.transforms._carried import already_there, kept_outside, missing_carried
from rl_envs.transforms._random_stream import RandomStream
from rl_envs.transforms._row_steps import copied
from rl_envs.transforms.transform import ResetCall, StepCall, Transform
from rl_specs import (
    Composite,
    FlatDict,
    LeafSpec,
    NestedKey,
    ShapeError,
    TensorMap,
    TensorSpec,
    canonical_key,
    key_str,
    message,
    missing_key,
)

if TYPE_CHECKING:
    from rl_envs.transforms.transformed_env import TransformedEnv

Default: TypeAlias = float | Callable[[], Any]
"""A number for every element, or what gives a tensor of the shape of the spec, with or without the batch."""


@final
class TensorDictPrimer(Transform):
    """Writes entries at each reset, and hands them on from step to step unless something writes them anew.

    For hidden states, latent codes, noise and the like. The entries are observations and, since a policy reads them in
    each step, states, so that a step without them is refused. A policy that writes `("next", key)` replaces the value.
    `forward` adds the entries to stored data of any batch size.

    Args:
        primers: specs of the entries by key.
        random: draw the values from the specs (unbounded ones: standard normal), from a stream of the transform's own
            that is seeded with the environment and part of `state_dict`; otherwise take `default_value`.
        default_value: a number, a callable without arguments that gives a tensor, or one of these for each key.
            Default 0.
        reset_key: mask to read at a reset instead of `"_reset"`; rows outside keep their values.
        expand_specs: put the batch dimensions of the environment before the shapes of the specs. False: they are there
            already. None: False for a `Composite` of the environment's batch size, else True.
        single_default_value: `default_value` is one callable that gives all entries, a TensorDict or mapping.
        call_before_env_reset: hand the entries to the reset of the environment, too.
        entries: more specs, by the names of their keys.
    Raises:
        ValueError: no entry; `random` together with `default_value`; `single_default_value` without a callable.
        TypeError: an entry is no spec of a tensor.
        MissingKeyError: a default for a key that is no entry, or none for one that is.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        primers: Mapping[Any, TensorSpec] | Composite | None = None,
        random: bool | None = None,
        *,
        default_value: Default | Mapping[NestedKey, Default] | None = None,
        reset_key: NestedKey | None = None,
        expand_specs: bool | None = None,
        single_default_value: bool = False,
        call_before_env_reset: bool = False,
        **entries: TensorSpec,
    ) -> None:
        self.primers = _as_composite(primers, entries)
        keys = [key for key, _ in self.primers.flat_items()]
        super().__init__([], keys)
        self.random = bool(random)
        self.reset_key = None if reset_key is None else canonical_key(reset_key)
        self.expand_specs = expand_specs
        self.call_before_env_reset = call_before_env_reset
        if self.random and default_value is not None:
            fix = "Give one of them"
            raise ValueError(message("TensorDictPrimer", "random and default_value are both set", fix=fix))
        self._all_at_once: Callable[[], Any] | None = None
        if single_default_value:
            if not callable(default_value):
                raise ValueError(message("TensorDictPrimer", "single_default_value without a callable default_value"))
            self._all_at_once = default_value
        self._defaults = {} if self.random or single_default_value else _defaults(keys, default_value)
        self._specs = dict(self.primers.flat_items())
        self._batch_dims = 0
        self._written: FlatDict | None = None
        self._stream = RandomStream("TensorDictPrimer", keys)

    def set_seed(self, seed: int) -> None:
        """Restart the stream."""
        self._stream.set_seed(seed)

    # ------------------------------------------------------------------ specs

    def _bind(self, specs: EnvSpecs) -> list[str]:
        batch = specs.observation.shape
        self._batch_dims = len(batch)
        problems = already_there("primers", self.out_keys, specs)
        expands = self.primers.shape != batch if self.expand_specs is None else self.expand_specs
        self._specs = {}
        device = next((leaf.device for _, leaf in specs.done.flat_items()), torch.device("cpu"))
        for key, leaf in self.primers.flat_items():
            whole = leaf.expand(*batch, *leaf.shape) if expands else leaf
            if whole.shape[: len(batch)] != batch:
                shape = tuple(leaf.shape)
                problem = f"{key_str(key)} of shape {shape} does not start with the batch size {tuple(batch)}"
                problems.append(f"primers: {problem}. Pass expand_specs=True")
            self._specs[key] = whole if device is None else whole.to(device)
        return problems

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the entries."""
        for key, spec in self._specs.items():
            observation_spec[key] = spec
        return observation_spec

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """Adds the entries."""
        for key, spec in self._specs.items():
            state_spec[key] = spec
        return state_spec

    # ------------------------------------------------------------------ data

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return dict.fromkeys(self.out_keys, True)

    def _is_wrapping(self) -> bool:
        return self.call_before_env_reset

    def _wrap(self, env: "TransformedEnv") -> tuple[StepCall, ResetCall]:
        return env._step, _PrimedReset(self, env)

    def _reads(self) -> list[NestedKey]:
        return self.out_keys

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        for key in self._specs:
            if next_data.get(key, None) is None:
                value = data.get(key, None)
                if value is None:
                    raise missing_carried("TensorDictPrimer", key, data)
                next_data[key] = value
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        values = self._values(self._specs) if self._written is None else self._written
        self._written = None
        for key, value in values.items():
            reset_data[key] = kept_outside(data, self.reset_key, value, key, self._batch_dims)
        return reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the entries, of the batch size of the TensorDict, into it; returns it."""
        batch, device = tensordict.batch_size, tensordict.device
        specs: dict[NestedKey, TensorSpec] = {}
        for key, leaf in self.primers.flat_items():
            is_whole = self.primers.shape == batch and len(batch) > 0
            whole = leaf if is_whole else leaf.expand(*batch, *leaf.shape[len(self.primers.shape) :])
            specs[key] = whole if device is None else whole.to(device)
        for key, value in self._values(specs).items():
            tensordict[key] = value
        return tensordict

    def _values(self, specs: Mapping[NestedKey, TensorSpec]) -> FlatDict:
        """New values for a whole batch."""
        if self.random:
            generator = self._stream.generator
            return {key: spec.to("cpu").rand(generator=generator).to(spec.device) for key, spec in specs.items()}
        if self._all_at_once is not None:
            given = self._all_at_once()
            return {key: _fitting(key, _read(given, key), spec) for key, spec in specs.items()}
        found: FlatDict = {}
        for key, spec in specs.items():
            default = self._defaults[key]
            if callable(default):
                found[key] = _fitting(key, default(), spec)
            else:
                found[key] = torch.full_like(spec.zero(), default)
        return found

    def get_extra_state(self) -> Tensor:
        """State of the random stream."""
        return self._stream.state()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on with the random stream from `state`."""
        self._stream.load(state)

    def __repr__(self) -> str:
        return f"TensorDictPrimer(primers={self.out_keys}, random={self.random})"


@final
class _PrimedReset:
    """The reset of an environment that is given the entries of a primer."""

    def __init__(self, transform: TensorDictPrimer, env: "TransformedEnv") -> None:
        self._transform = transform
        self._env_reset = env._reset
        self._batch_size, self._device = env.batch_size, env.device
        self._takes_mapping = env.accepts_mapping

    def __call__(self, data: TensorMap | None) -> TensorMap:
        transform = self._transform
        transform._written = transform._values(transform._specs)
        root: TensorMap = {} if data is None else copied(data)
        if root.get(RESET_KEY, None) is None:
            root[RESET_KEY] = torch.ones((*self._batch_size, 1), dtype=torch.bool, device=self._device)
        for key, value in transform._written.items():
            root[key] = value
        if not self._takes_mapping:
            root = pack_flat(unpack_flat(root), self._batch_size, self._device)
        return self._env_reset(root)


def _as_composite(primers: Mapping[Any, TensorSpec] | Composite | None, entries: Mapping[str, object]) -> Composite:
    whole = primers.clone() if isinstance(primers, Composite) else Composite({} if primers is None else dict(primers))
    for name, spec in entries.items():
        if not isinstance(spec, TensorSpec):
            fix = "Keywords other than the arguments are entries"
            found = f"{name}={spec!r}"
            raise TypeError(message("TensorDictPrimer", "no spec", expected="a spec", found=found, fix=fix))
        whole[name] = spec
    for key, leaf in whole.flat_items():
        if not isinstance(leaf, LeafSpec):
            problem, found = f"{key_str(key)} is no tensor", type(leaf).__name__
            raise TypeError(message("TensorDictPrimer", problem, expected="a spec of a tensor", found=found))
    if whole.is_empty():
        fix = "Pass primers={key: spec}"
        raise ValueError(message("TensorDictPrimer", "no entries", fix=fix))
    return whole


def _defaults(keys: list[NestedKey], given: Default | Mapping[NestedKey, Default] | None) -> dict[NestedKey, Default]:
    if not isinstance(given, Mapping):
        return dict.fromkeys(keys, 0.0 if given is None else given)
    defaults = {canonical_key(key): value for key, value in given.items()}
    for key in defaults:
        if key not in keys:
            raise missing_key("TensorDictPrimer: default_value", key, keys, fix="Give it a spec in primers, too")
    for key in keys:
        if key not in defaults:
            raise missing_key("TensorDictPrimer: default_value", key, defaults, fix="Give a default for each entry")
    return defaults


def _read(given: Any, key: NestedKey) -> Any:
    value = given.get(key, None)
    if value is None:
        fix = "Let default_value give every entry of primers"
        raise missing_key("TensorDictPrimer: default_value", key, unpack_flat(given), fix=fix)
    return value


def _fitting(key: NestedKey, value: Any, spec: TensorSpec) -> Tensor:
    """What a callable gave, in the form of the spec: whole, or one row for all."""
    zero: Tensor = spec.zero()
    tensor = torch.as_tensor(value, dtype=zero.dtype, device=zero.device)
    if tensor.shape == zero.shape:
        return tensor.clone()
    try:
        return tensor.expand(zero.shape).clone()
    except RuntimeError:
        problem = f"default_value of {key_str(key)} has another shape"
        expected, found = tuple(zero.shape), tuple(tensor.shape)
        raise ShapeError(message("TensorDictPrimer", problem, expected=expected, found=found)) from None
