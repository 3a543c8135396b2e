"""The noise of generalised state-dependent exploration."""

from collections.abc import Sequence
from typing import ClassVar, final

from tensordict import TensorDictBase

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms.tensordict_primer import TensorDictPrimer
from rl_envs.transforms.transform import Transform
from rl_specs import Composite, NestedKey, TensorMap, Unbounded, canonical_key, message


@final
class gSDENoise(Transform):  # the name of the method
    """Draws, at each reset, the matrix that turns features of a state into exploration noise for a whole episode.

        noise_t = eps @ features_t, eps standard normal `[*B, action_dim, state_dim]`

    The matrix comes from a stream of the transform's own, seeded with the environment and part of `state_dict`. It is
    an observation and, since a policy reads it, a state.

    Args:
        state_dim: number of features.
        action_dim: number of elements of an action.
        shape: shape of the matrix of one row, in place of the two.
        key: its name.
        reset_key: mask to read at a reset instead of `"_reset"`; rows outside keep their matrices.
    Raises:
        ValueError: neither both dimensions nor a shape, or all of them.
    Source: Raffin, Kober and Stulp 2021, https://arxiv.org/abs/2005.05719
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        state_dim: int | None = None,
        action_dim: int | None = None,
        *,
        shape: Sequence[int] | None = None,
        key: NestedKey = "_eps_gSDE",
        reset_key: NestedKey | None = None,
    ) -> None:
        own = canonical_key(key)
        super().__init__([], [own])
        has_dims = state_dim is not None and action_dim is not None
        if has_dims == (shape is not None) or (shape is not None and (state_dim, action_dim) != (None, None)):
            found = f"state_dim={state_dim}, action_dim={action_dim}, shape={shape}"
            expected = "state_dim and action_dim, or shape"
            raise ValueError(message("gSDENoise", "the shape is not clear", expected=expected, found=found))
        self.shape: tuple[int, ...] = (action_dim or 0, state_dim or 0) if shape is None else tuple(shape)
        self._primer = TensorDictPrimer({own: Unbounded(shape=self.shape)}, random=True, reset_key=reset_key)

    def set_seed(self, seed: int) -> None:
        """Restart the stream."""
        self._primer.set_seed(seed)

    def _bind(self, specs: EnvSpecs) -> list[str]:
        return [problem.replace("primers:", "key:", 1) for problem in self._primer._bind(specs)]

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return self._primer._carried_keys()

    def _reads(self) -> list[NestedKey]:
        return self.out_keys

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return self._primer._step(data, next_data)

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return self._primer._reset(data, reset_data)

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the matrix."""
        return self._primer.transform_observation_spec(observation_spec)

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """Adds the matrix."""
        return self._primer.transform_state_spec(state_spec)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write a matrix for each row of the TensorDict into it; returns it."""
        return self._primer.forward(tensordict)

    def __repr__(self) -> str:
        return f"gSDENoise(shape={self.shape}, key={self.out_keys[0]!r})"
