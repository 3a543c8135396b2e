"""Entries normalised by their running mean and deviation."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, cast, final

import torch
from tensordict import TensorDictBase
from torch import Size, Tensor, nn

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import open_sizes
from rl_envs.transforms._entry_moments import EntryMoments
from rl_envs.transforms._sharing import Sharing
from rl_envs.transforms.compose import Compose
from rl_envs.transforms.observation_norm import ObservationNorm
from rl_envs.transforms.running_moments import RunningMoments
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import LeafSpec, NestedKey, TensorMap, TensorSpec, Unbounded, canonical_key, key_str, message


@final
class VecNorm(Transform):
    """Normalises entries by mean and deviation over every frame of every row of the batch that it has seen.

        out = (x - mean) / sqrt(max(variance, eps))

    In training mode each step, and each reset of the rows that are reset, updates the statistics first; in evaluation
    mode nothing does. `forward`, for stored data, never updates: data drawn twice would count twice. Statistics are
    float64 and part of `state_dict`, the count included; results have the dtype of the input. What `AutoResetTransform`
    fills lost observations with is not counted.

    `freeze()` stops updates whatever the mode. `share()` makes one set of statistics of those of several environments,
    in this process or in workers:

        norm = VecNorm(in_keys=["observation"], shapes=[(17,)]).share()
        env = ParallelEnv(4, lambda: TransformedEnv(GymEnv("HalfCheetah-v5"), norm.clone()))

    Args:
        in_keys: floating-point entries to normalise, each with statistics of its own; default `"observation"` and
            `"reward"`.
        out_keys: names of the results; `in_keys` when left out.
        decay: weight of the past at each step, in (0, 1]; 1 weighs all frames alike.
        eps: lowest variance divided by.
        shapes: shape of one row of each entry, for use outside an environment; read from the specs inside one.
    Raises:
        ValueError: `decay` or `eps` is out of range, or `shapes` and `in_keys` differ in number.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        *,
        decay: float = 0.9999,
        eps: float = 1e-4,
        shapes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__(["observation", "reward"] if in_keys is None else in_keys, out_keys)
        self._check_lengths()
        if not 0.0 < decay <= 1.0:
            raise ValueError(message("VecNorm", "decay out of range", expected="in (0, 1]", found=decay))
        if not eps > 0.0:
            raise ValueError(message("VecNorm", "eps out of range", expected="> 0", found=eps))
        if shapes is not None and len(shapes) != len(self.in_keys):
            raise ValueError(
                message("VecNorm", "lengths differ", expected=f"{len(self.in_keys)} shapes", found=len(shapes))
            )
        self.decay = decay
        self.eps = eps
        self.stats = nn.ModuleDict()
        self._entries = EntryMoments("VecNorm", [])
        self._sharing = Sharing()
        self.register_load_state_dict_post_hook(_after_load)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if shapes is not None:
            for position, shape in enumerate(shapes):
                self._make(position, Size(shape), None)
            self._list_entries()

    @property
    def count(self) -> Tensor:
        """Weight of what the (first) entry's statistics rest on, in rows; float64 `[]`."""
        self._sharing.refresh()
        return self._moments(0).count

    @property
    def loc(self) -> Tensor:
        """Running mean of the (first) entry, a copy, float64."""
        self._sharing.refresh()
        return self._moments(0).mean.clone()

    @property
    def scale(self) -> Tensor:
        """What the (first) entry is divided by, float64."""
        self._sharing.refresh()
        return self._moments(0).scale()

    def frozen_copy(self, key: NestedKey | None = None) -> ObservationNorm:
        """The present normalisation of one entry as a constant, for deployment; it gives the same numbers.

        Args:
            key: which of `in_keys`; may be left out when there is one.
        Returns:
            An `ObservationNorm` that belongs to no environment.
        Raises:
            ValueError: there are several entries and no `key`, or `key` is not one of them.
            RuntimeError: no statistics exist yet.
        """
        if (key is None and len(self.in_keys) > 1) or (key is not None and canonical_key(key) not in self.in_keys):
            raise ValueError(message("VecNorm.frozen_copy", "key needed", expected=f"one of {self.in_keys}", found=key))
        position = 0 if key is None else self.in_keys.index(canonical_key(key))
        self._sharing.refresh()
        moments = self._moments(position)
        loc, scale = moments.mean.clone(), moments.scale()
        in_key, out_key = self._pairs[position]
        return ObservationNorm(loc, scale, in_keys=[in_key], out_keys=[out_key], standard_normal=True)

    def to_observation_norm(self) -> ObservationNorm | Compose:
        """The present normalisation as a constant, as `frozen_copy`; for several entries, a `Compose` of one for each.

        Raises:
            RuntimeError: no statistics exist yet.
        """
        if len(self.in_keys) == 1:
            return self.frozen_copy()
        return Compose(*(self.frozen_copy(key) for key in self.in_keys))

    # ------------------------------------------------------------------ freezing and sharing

    @property
    def frozen(self) -> bool:
        """Whether `freeze` has stopped the statistics."""
        return self._sharing.is_frozen

    @property
    def is_shared(self) -> bool:
        """Whether `share` has been called, on this object or on the one it was copied from."""
        return self._sharing.is_shared

    def freeze(self) -> Self:
        """Stop the statistics where they are, in training mode too; shared ones are not followed either."""
        self._sharing.freeze()
        return self

    def unfreeze(self) -> Self:
        """Go on updating, from the statistics of the moment; of shared ones, from what the others have made of them."""
        self._sharing.unfreeze()
        return self

    def share(self) -> Self:
        """Put the statistics into memory that clones and pickles of this object have in common from now on.

        Each of them updates the one set, in turns, and normalises by it: environments in worker processes use the
        frames of all. In evaluation mode they follow the updates of the others and make none; a frozen one does
        neither. `state_dict` and `frozen_copy` of any of them are those of all, and so is what `load_state_dict`
        changes. With `decay < 1` the past is weighed down at the step of each. A worker that is killed leaves whole
        statistics behind.

        The memory lasts as long as one of the objects does. Keep this one until the workers have started, and give them
        a clone that is part of no environment. Steps with shared statistics cannot be compiled.

        Returns:
            This object.
        Raises:
            RuntimeError: no statistics exist yet: give `shapes`, or append it to an environment first.
        """
        if not self._sharing.is_shared:
            self._sharing.share([self._moments(position) for position in range(len(self._pairs))])
        return self

    # ------------------------------------------------------------------ data

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        sharing = self._sharing
        if sharing.takes_turns:
            return sharing.turn(self._entries.step, data, next_data, is_update=self.training)
        return self._entries.step(data, next_data, is_update=self.training and not sharing.is_frozen)

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        sharing = self._sharing
        if sharing.takes_turns:
            return sharing.turn(self._entries.reset, data, reset_data, is_update=self.training)
        return self._entries.reset(data, reset_data, is_update=self.training and not sharing.is_frozen)

    def _call(self, data: TensorMap) -> TensorMap:
        if len(self.stats) < len(self._pairs):
            self._moments(len(self.stats))
        self._sharing.refresh()
        return self._entries.normalize(data)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Normalise entries at the root of a TensorDict with the present statistics, which stay as they are."""
        return super().forward(tensordict)

    # ------------------------------------------------------------------ specs and state

    def _bind(self, specs: EnvSpecs) -> list[str]:
        problems = self._check_wiring(specs, reads_root=False)
        opened = open_sizes(self.in_keys, (specs.observation, specs.reward), "statistics are of rows of one shape")
        if opened:
            return problems + opened
        leaves = {**dict(specs.observation.flat_items()), **dict(specs.reward.flat_items())}
        for position, key in enumerate(self.in_keys):
            leaf = leaves.get(key)
            if isinstance(leaf, LeafSpec) and leaf.dtype.is_floating_point:
                problems += self._bind_entry(position, leaf.shape[len(specs.observation.shape) :], leaf.device)
            elif not any(key_str(key) in problem for problem in problems):
                found = leaf.dtype if isinstance(leaf, LeafSpec) else "a flag or state" if leaf is None else "no tensor"
                problems.append(f"in_keys: {key_str(key)} is {found}, not floating-point. Cast it first")
        self._list_entries()
        self._entries.bind(specs)
        return problems

    def _bind_entry(self, position: int, shape: Size, device: torch.device | None) -> list[str]:
        """Make statistics of rows of a shape, or look whether those that are there fit."""
        found = self._find(position)
        if found is None:
            self._make(position, shape, device)
        elif found.mean.shape != shape:
            key, held = key_str(self.in_keys[position]), tuple(found.mean.shape)
            return [f"in_keys: {key} has rows of shape {tuple(shape)}, its statistics {held}"]
        elif device is not None and found.mean.device != device:
            found.to(device)
        return []

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        assert isinstance(spec, LeafSpec)
        return Unbounded(shape=spec.shape, dtype=spec.dtype, device=spec.device)

    def _make(self, position: int, shape: Size, device: torch.device | None) -> None:
        moments = RunningMoments(shape, decay=self.decay, eps=self.eps, device=device)
        self.stats[str(position)] = moments.train(self.training)

    def _find(self, position: int) -> RunningMoments | None:
        name = str(position)
        return cast(RunningMoments, self.stats[name]) if name in self.stats else None

    def _list_entries(self) -> None:
        found = [(*pair, self._find(position)) for position, pair in enumerate(self._pairs)]
        entries = [(key, out, moments) for key, out, moments in found if moments is not None]
        self._entries = EntryMoments("VecNorm", entries)

    def _moments(self, position: int) -> RunningMoments:
        moments = self._find(position)
        if moments is None:
            fix = "Append it to a TransformedEnv, give shapes=[...], or load a state_dict"
            raise RuntimeError(message("VecNorm", "has no statistics yet", fix=fix))
        return moments

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        for position in range(len(self.in_keys)):
            saved = state_dict.get(f"{prefix}stats.{position}.mean")
            if isinstance(saved, Tensor) and self._find(position) is None:
                self._make(position, saved.shape, saved.device)
                self._list_entries()
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _save_to_state_dict(self, *args: Any) -> None:
        self._sharing.refresh()
        super()._save_to_state_dict(*args)

    def __repr__(self) -> str:
        return f"VecNorm(decay={self.decay}, eps={self.eps}, keys={self.in_keys})"


def _after_load(norm: nn.Module, _: object) -> None:
    """What was loaded holds for all who share the statistics."""
    assert isinstance(norm, VecNorm)
    norm._sharing.publish()
