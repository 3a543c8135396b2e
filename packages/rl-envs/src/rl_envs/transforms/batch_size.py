"""The batch of an environment in another shape."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, final

import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs.transforms._carried import no_forward
from rl_envs.transforms.transform import ResetCall, StepCall, Transform
from rl_specs import Composite, FlatDict, TensorMap, message

if TYPE_CHECKING:
    from rl_envs.transforms.transformed_env import TransformedEnv


@final
class BatchSizeTransform(Transform):
    """Gives the rows of an environment in another batch shape: `[6]` as `[2, 3]`, `[]` as `[1]`, and so on.

    An environment without a batch size of its own (`batch_locked = False`, such as `StatelessPendulumEnv`) gets the one
    of `batch_size`, so that collectors can run it: `[]` as `[5]` is five of them. Transforms before this one see that
    batch, too, and the result is `batch_locked`.

    In any other environment rows stay in their order, there are as many of them as before, and transforms before this
    one see the shape inside, those after it the new one.

    Args:
        batch_size: the new batch shape; of as many rows or, for an environment that is not `batch_locked`, any that
            ends in its batch shape.
        reshape_fn: the change of the batch in place of `batch_size`: a callable from TensorDict to TensorDict, with
            `reshape`, `flatten`, `unflatten`, `squeeze` or `unsqueeze`.
        reset_func: changes what a reset gives, in the new shape: from the TensorDict given to the reset, or None, and
            what the environment made of it, to what the reset gives.
        env_kwarg: hand `reset_func` the environment before this transform as `env=`.
    Raises:
        ValueError: not exactly one of `batch_size` and `reshape_fn`, or `env_kwarg` without `reset_func`.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        *,
        batch_size: Sequence[int] | None = None,
        reshape_fn: Callable[[TensorDictBase], TensorDictBase] | None = None,
        reset_func: Callable[..., TensorDictBase] | None = None,
        env_kwarg: bool = False,
    ) -> None:
        super().__init__()
        if (batch_size is None) == (reshape_fn is None):
            fix = "Give one of them"
            raise ValueError(message("BatchSizeTransform", "batch_size or reshape_fn", expected="exactly one", fix=fix))
        if env_kwarg and reset_func is None:
            raise ValueError(message("BatchSizeTransform", "env_kwarg without reset_func", fix="Give reset_func, too"))
        self.batch_size = None if batch_size is None else torch.Size(batch_size)
        self.reshape_fn = reshape_fn
        self.reset_func = reset_func
        self.env_kwarg = env_kwarg
        self._inner = self._outer = torch.Size(())

    def _batch_wanted(self, batch_size: torch.Size) -> torch.Size:
        own = self.batch_size
        extends = own is not None and own[len(own) - len(batch_size) :] == batch_size
        return own if own is not None and extends and len(own) >= len(batch_size) else batch_size

    def _bind(self, specs: EnvSpecs) -> list[str]:
        self._inner = specs.observation.shape
        if self.batch_size is not None:
            self._outer = self.batch_size
            if self._outer.numel() == self._inner.numel():
                return []
            return [f"batch_size: {tuple(self._outer)} has not as many rows as the environment, {tuple(self._inner)}"]
        assert self.reshape_fn is not None
        rows = torch.arange(self._inner.numel()).reshape(self._inner)
        moved = self.reshape_fn(TensorDict({"row": rows}, batch_size=self._inner))
        self._outer = moved.batch_size
        if moved["row"].numel() == rows.numel() and bool((moved["row"].reshape(-1) == rows.reshape(-1)).all()):
            return []
        return ["reshape_fn: it drops rows or changes their order. Use reshape, flatten, unflatten, squeeze, unsqueeze"]

    def _is_wrapping(self) -> bool:
        return self._inner != self._outer or self.reset_func is not None

    def _wrap(self, env: "TransformedEnv") -> tuple[StepCall, ResetCall]:
        reshaped = _Reshaped(self, env)
        return reshaped.step, reshaped.reset

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: reshape stored data themselves."""
        raise no_forward("BatchSizeTransform")

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """In the new batch shape."""
        return self._reshaped_spec(observation_spec)

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """In the new batch shape."""
        return self._reshaped_spec(reward_spec)

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """In the new batch shape."""
        return self._reshaped_spec(done_spec)

    def transform_action_spec(self, action_spec: Composite) -> Composite:
        """In the new batch shape."""
        return self._reshaped_spec(action_spec)

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """In the new batch shape."""
        return self._reshaped_spec(state_spec)

    def _reshaped_spec(self, spec: Composite) -> Composite:
        dims = len(self._inner)
        leaves = {key: leaf.reshape(*self._outer, *leaf.shape[dims:]) for key, leaf in spec.flat_items()}
        return Composite(leaves, shape=self._outer, device=spec.device)

    def __repr__(self) -> str:
        return f"BatchSizeTransform(batch_size={None if self.batch_size is None else tuple(self.batch_size)})"


@final
class _Reshaped:
    """Step and reset of an environment, with rows in another shape."""

    def __init__(self, transform: BatchSizeTransform, env: "TransformedEnv") -> None:
        self._env_step, self._env_reset = env._step, env._reset
        self._inner, self._outer, self._device = transform._inner, transform._outer, env.device
        self._reset_func = transform.reset_func
        self._named = {"env": env} if transform.env_kwarg else {}

    def step(self, data: TensorMap) -> FlatDict:
        """One step."""
        return _moved(unpack_flat(self._env_step(self._inwards(data))), self._inner, self._outer)

    def reset(self, data: TensorMap | None) -> FlatDict:
        """A reset."""
        found = self._env_reset(None if data is None else self._inwards(data))
        made = _moved(unpack_flat(found), self._inner, self._outer)
        if self._reset_func is None:
            return made
        given = None if data is None else pack_flat(unpack_flat(data), self._outer, self._device)
        whole = pack_flat(made, self._outer, self._device)
        return dict(unpack_flat(self._reset_func(given, whole, **self._named)))

    def _inwards(self, data: TensorMap) -> TensorMap:
        moved = _moved(unpack_flat(data), self._outer, self._inner)
        return moved if isinstance(data, dict) else pack_flat(moved, self._inner, self._device)


def _moved(entries: FlatDict, old: torch.Size, new: torch.Size) -> FlatDict:
    """Entries `[*old, ...]` as `[*new, ...]`."""
    dims = len(old)
    return {key: value.reshape(new + value.shape[dims:]) for key, value in entries.items()}
