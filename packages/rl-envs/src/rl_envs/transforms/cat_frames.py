"""The last frames as one."""

from collections.abc import Sequence
from typing import ClassVar, Literal, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import (
    already_there,
    beside,
    kept_outside,
    missing_carried,
    not_observations,
    open_sizes,
)
from rl_envs.transforms._feature_map import checked_dim
from rl_envs.transforms._slices import LastOfSlices
from rl_envs.transforms._trajectories import trajectory_windows
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import (
    Bounded,
    Composite,
    LeafSpec,
    NestedKey,
    TensorMap,
    TensorSpec,
    Unbounded,
    canonical_key,
    key_str,
    message,
)

Padding = Literal["same", "constant"]


@final
class CatFrames(Transform):
    """Concatenates the last `N` values of entries along a dimension, the oldest first.

    The frames are carried in the data: a step drops the oldest from the root entry and adds the new one. Where a later
    transform of the environment writes over the result, or removes it, they are carried under a name of their own
    beside it, with `_frames` behind. A transform around a `SerialEnv` or `ParallelEnv` that writes over results of a
    `CatFrames` inside of it is refused: put it inside too, or give it another out key.

    `forward` takes stored single frames, `[*B, T]` with `("next", "done")`: the windows are those that the
    environment would have made, except that those which begin before the batch start with its first frame. Among its
    in keys, one under `"next"` gets the frames of its root entry before its own.

    Args:
        N: number of frames.
        dim: dimension to concatenate along, counted from the end.
        in_keys: single frames, default `"pixels"`.
        out_keys: names of the results; `in_keys` when left out.
        padding: what is there before the first frame: that frame (`"same"`), or `padding_value` (`"constant"`).
        padding_value: see there.
        as_inverse: concatenate what a buffer is to store, in `inv`, and nothing in `forward`; for buffers alone.
        reset_key: mask to read at a reset instead of `"_reset"`; rows outside keep their frames.
        done_key: flag under `"next"` that ends a trajectory, for `forward`.
    Raises:
        ValueError: `N` is not positive, `dim` not negative, or `padding` of another kind.
    Source: Mnih et al. 2013, "Playing Atari with Deep Reinforcement Learning", https://arxiv.org/abs/1312.5602
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        N: int,
        dim: int,
        *,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        padding: Padding = "same",
        padding_value: float = 0.0,
        as_inverse: bool = False,
        reset_key: NestedKey | None = None,
        done_key: NestedKey = "done",
    ) -> None:
        super().__init__("pixels" if in_keys is None else in_keys, out_keys)
        self._check_lengths()
        if N < 1:
            raise ValueError(message("CatFrames", "bad N", expected=">= 1", found=N))
        if padding not in ("same", "constant"):
            expected = "'same' or 'constant'"
            raise ValueError(message("CatFrames", "unknown padding", expected=expected, found=repr(padding)))
        self.N = N
        self.dim = checked_dim("CatFrames", "dim", dim, allow_positive_dim=False)
        self.padding = padding
        self.padding_value = padding_value
        self.as_inverse = as_inverse
        self.reset_key = None if reset_key is None else canonical_key(reset_key)
        self.done_key = canonical_key(done_key)
        self._is_apart = False
        self._carriers: Sequence[NestedKey] = self.out_keys
        self._frame_specs: list[TensorSpec] = []
        self._batch_dims = 0

    # ------------------------------------------------------------------ wiring

    def _bind(self, specs: EnvSpecs) -> list[str]:
        if self.as_inverse:
            return ["as_inverse: an environment has no trajectories to take in. Leave it out"]
        leaves = dict(specs.observation.flat_items())
        self._batch_dims = len(specs.observation.shape)
        flat = [key for key in self.in_keys if key in leaves and len(leaves[key].shape) < self._batch_dims - self.dim]
        if flat:
            shapes = ", ".join(f"{key_str(key)}: {tuple(leaves[key].shape)}" for key in flat)
            return [f"dim: entries of one row have no dimension {self.dim} ({shapes})"]
        opened = open_sizes(self.in_keys, [specs.observation], "its frames are joined to those of earlier steps")
        if opened:
            return opened
        found = [leaves[key] for key in self.in_keys if key in leaves]
        self._frame_specs = [self._frames_spec(leaf) for leaf in found]
        self._carriers = [beside(key, "frames") for key in self.out_keys] if self._is_apart else self.out_keys
        new = [key for key in {*self.out_keys, *self._carriers} if key not in self.in_keys]
        problems = self._check_wiring(specs, reads_root=False) + already_there("out_keys", new, specs)
        return problems or not_observations(self.in_keys, specs)

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return dict.fromkeys(self._carriers, False)

    def _carry_apart(self, is_apart: bool) -> bool:
        self._is_apart = is_apart
        return True

    # ------------------------------------------------------------------ data

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        for (in_key, out_key), carrier in zip(self._pairs, self._carriers, strict=True):
            before = data.get(carrier, None)
            if before is None:
                raise missing_carried("CatFrames", carrier, data)
            frame = next_data.get(in_key, None)
            if frame is None:
                raise self._missing(in_key, next_data)
            width = frame.shape[self.dim]
            frames = torch.cat([before.narrow(self.dim, width, (self.N - 1) * width), frame], self.dim)
            next_data[out_key] = frames
            if self._is_apart:
                next_data[carrier] = frames
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        for (in_key, out_key), carrier in zip(self._pairs, self._carriers, strict=True):
            frame = reset_data.get(in_key, None)
            if frame is None:
                raise self._missing(in_key, reset_data)
            frames = kept_outside(data, self.reset_key, self._first_frames(frame), carrier, self._batch_dims)
            reset_data[out_key] = frames
            if self._is_apart:
                reset_data[carrier] = frames
        return reset_data

    def _first_frames(self, frame: Tensor) -> Tensor:
        filler = frame if self.padding == "same" else torch.full_like(frame, self.padding_value)
        return torch.cat([*[filler] * (self.N - 1), frame], self.dim)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Concatenate stored frames.

        Args:
            tensordict: steps `[*B, T]`, time last, with `("next", done_key)`.
        Returns:
            That TensorDict with the results.
        Raises:
            MissingKeyError: an entry or the flag is missing.
            ShapeError: there is no time dimension.
        """
        return tensordict if self.as_inverse else self._concatenated(tensordict)

    def inv(self, tensordict: TensorDictBase) -> TensorDictBase:
        """What a buffer stores of `tensordict`, which stays as it is; with `as_inverse`, concatenated frames."""
        return self._concatenated(tensordict.copy()) if self.as_inverse else super().inv(tensordict)

    def _concatenated(self, tensordict: TensorDictBase) -> TensorDictBase:
        padding = None if self.padding == "same" else self.padding_value
        windows = trajectory_windows(
            "CatFrames", tensordict, self.in_keys, size=self.N, done_key=self.done_key, padding=padding
        )
        for key, frames in zip(self.out_keys, windows, strict=True):
            beside_dim = frames.movedim(len(tensordict.batch_size), self.dim - 1)
            tensordict.set(key, beside_dim.flatten(self.dim - 1, self.dim))
        return tensordict

    def make_rb_transform(self) -> LastOfSlices:
        """The same for a buffer of single frames whose sampler draws slices of `N` steps.

        Returns:
            A module for `rb.append_transform`: from a batch of slices `[S * N]`, or `[S, N]`, to their last steps
            `[S]`, with the frames of root and `"next"` entries.
        """
        both = {key: out for pair in self._pairs for key, out in (pair, (_under_next(pair[0]), _under_next(pair[1])))}
        whole = CatFrames(
            self.N,
            self.dim,
            in_keys=list(both),
            out_keys=list(both.values()),
            padding="same" if self.padding == "same" else "constant",
            padding_value=self.padding_value,
            done_key=self.done_key,
        )
        return LastOfSlices(whole, self.N)

    # ------------------------------------------------------------------ specs

    def _frames_spec(self, spec: TensorSpec) -> TensorSpec:
        assert isinstance(spec, LeafSpec)
        frames = self._first_frames(spec.zero())
        if not isinstance(spec, Bounded):
            return Unbounded(shape=frames.shape, dtype=frames.dtype, device=frames.device)
        low, high = spec.space.low, spec.space.high
        if self.padding == "constant":
            filler = torch.full_like(low, self.padding_value)
            low, high = torch.minimum(low, filler), torch.maximum(high, filler)
        bounds = torch.cat([low] * self.N, self.dim), torch.cat([high] * self.N, self.dim)
        return Bounded(*bounds, shape=frames.shape, dtype=frames.dtype, device=frames.device)

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """The results have `N` times the size along `dim`; carried apart, they are there twice."""
        for key, carrier, spec in zip(self.out_keys, self._carriers, self._frame_specs, strict=False):
            observation_spec[key] = spec
            observation_spec[carrier] = spec
        return observation_spec

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """Frames carried apart are a state: no other transform may write over them."""
        if self._is_apart:
            for carrier, spec in zip(self._carriers, self._frame_specs, strict=False):
                state_spec[carrier] = spec
        return state_spec

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Unchanged."""
        return reward_spec

    def __repr__(self) -> str:
        return f"CatFrames(N={self.N}, dim={self.dim}, keys={self.in_keys})"


def _under_next(key: NestedKey) -> NestedKey:
    return canonical_key(("next", *((key,) if isinstance(key, str) else key)))
