"""Time limits that part the rows of a batch."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_plan import RESET_KEY
from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._affine import adopt_buffers
from rl_envs.transforms._carried import no_forward
from rl_envs.transforms._random_stream import RandomStream
from rl_envs.transforms._row_masks import beside
from rl_envs.transforms._wiring import absent_keys
from rl_envs.transforms.transform import Transform
from rl_specs import Composite, NestedKey, TensorMap, canonical_key, key_str, message


@final
class RandomTruncationTransform(Transform):
    """Truncates episodes at random lengths, so that the rows of a batch do not all end at the same step.

    The first episode of each row ends after a number of steps drawn uniformly from 1 to `max_horizon`. A later one
    ends, with probability `prob`, after a number drawn from `min_horizon` to `max_horizon`, otherwise after
    `max_horizon`. The draws come from a stream of the transform's own, seeded with the environment; it and the limits
    are part of `state_dict`. Put it after a `StepCounter`.

    Args:
        min_horizon: least number of steps of a later episode.
        max_horizon: greatest number of steps of any.
        prob: probability of a random limit.
        first_episode_prob: that of the second episode of a row, the first one after the spread; default `prob`.
        step_count_key: number of steps so far, as `StepCounter` writes it.
    Raises:
        ValueError: not `1 <= min_horizon <= max_horizon`, or a probability outside [0, 1].
    """

    accepts_mapping: ClassVar[bool] = True
    horizon: Tensor | None
    episode: Tensor | None

    def __init__(
        self,
        min_horizon: int,
        max_horizon: int,
        *,
        prob: float = 0.0,
        first_episode_prob: float | None = None,
        step_count_key: NestedKey = "step_count",
    ) -> None:
        super().__init__()
        name = "RandomTruncationTransform"
        if not 1 <= min_horizon <= max_horizon:
            expected, found = "1 <= min_horizon <= max_horizon", f"{min_horizon}, {max_horizon}"
            raise ValueError(message(name, "bad horizons", expected=expected, found=found))
        self.min_horizon = min_horizon
        self.max_horizon = max_horizon
        self.prob = prob
        self.first_episode_prob = prob if first_episode_prob is None else first_episode_prob
        for probability in (self.prob, self.first_episode_prob):
            if not 0.0 <= probability <= 1.0:
                raise ValueError(message(name, "bad probability", expected="0 to 1", found=probability))
        self.step_count_key = canonical_key(step_count_key)
        path = (self.step_count_key,) if isinstance(self.step_count_key, str) else self.step_count_key
        self._done_key = canonical_key((*path[:-1], "done"))
        self._truncated_key = canonical_key((*path[:-1], "truncated"))
        self._stream = RandomStream("RandomTruncationTransform", self.step_count_key)
        self.register_buffer("horizon", None)
        self.register_buffer("episode", None)

    def set_seed(self, seed: int) -> None:
        """Restart the stream, and the count of episodes: the next ones are first ones."""
        self._stream.set_seed(seed)
        if self.episode is not None:
            self.episode = torch.zeros_like(self.episode)

    def _bind(self, specs: EnvSpecs) -> list[str]:
        leaves = dict(specs.observation.flat_items())
        key = self.step_count_key
        problems = absent_keys([key], list(leaves), "step_count_key", "the environment writes")
        if problems:
            return [f"{problem} Put a StepCounter before it" for problem in problems]
        flags = dict(specs.done.flat_items())
        if self._done_key not in flags:
            return [f"step_count_key: no flag {key_str(self._done_key)} beside it"]
        shape, device = leaves[key].shape, flags[self._done_key].device
        if self.horizon is None or self.horizon.shape != shape:
            self.horizon = torch.full(shape, self.max_horizon, dtype=torch.int64, device=device)
            self.episode = torch.zeros(shape, dtype=torch.int64, device=device)
        return []

    def _reads(self) -> list[NestedKey]:
        return [self.step_count_key]

    def _writes(self) -> list[NestedKey]:
        return [self._truncated_key, self._done_key]

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        assert self.horizon is not None
        is_over = next_data[self.step_count_key] >= self.horizon
        truncated = next_data.get(self._truncated_key, None)
        next_data[self._truncated_key] = is_over if truncated is None else truncated | is_over
        next_data[self._done_key] = next_data[self._done_key] | is_over
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        horizon, episode = self.horizon, self.episode
        assert horizon is not None
        assert episode is not None
        spread, later, chance = self._draws(horizon)
        probability = torch.where(episode == 1, self.first_episode_prob, self.prob)
        limit = torch.where(chance < probability, later, self.max_horizon)
        limit = torch.where(episode == 0, spread, limit)
        mask = data.get(RESET_KEY, None)
        if mask is None:
            self.horizon, self.episode = limit, episode + 1
        else:
            rows = beside(mask, limit)
            self.horizon, self.episode = torch.where(rows, limit, horizon), episode + rows
        return reset_data

    def _draws(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A limit for a first episode, one for a later one, and a number in [0, 1), for each row."""
        stream, shape, device = self._stream, like.shape, like.device
        return (
            stream.integers(1, self.max_horizon, shape, device=device),
            stream.integers(self.min_horizon, self.max_horizon, shape, device=device),
            stream.uniform(shape, dtype=torch.float32, device=device),
        )

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: an episode that is stored has ended where it has."""
        raise no_forward("RandomTruncationTransform")

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """Adds the truncation flag where the environment has none of that name."""
        if self._truncated_key not in done_spec:
            done_spec[self._truncated_key] = done_spec[self._done_key].clone()
        return done_spec

    def get_extra_state(self) -> Tensor:
        """State of the random stream."""
        return self._stream.state()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on with the random stream from `state`."""
        self._stream.load(state)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        adopt_buffers(self, state_dict, prefix, ("horizon", "episode"))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __repr__(self) -> str:
        return f"RandomTruncationTransform({self.min_horizon}, {self.max_horizon}, prob={self.prob})"
