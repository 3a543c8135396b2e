"""A small environment whose every number is known, for the tests of transforms."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from rl_envs import EnvBase
from rl_specs import Bounded, Categorical, Composite, TensorMap, Unbounded


class ToyEnv(EnvBase):
    """Row `i` counts steps `t` and terminates at `t = horizon + i`.

    `observation` is float64 `t * [1, 2, 3] + i`, `("agents", "x")` float32 `[t / 2, -t]`, `pixels` uint8 of value
    `10 * t`, the reward float32 `t`; the action is float64 in [-0.1, 0.1]. With `is_discrete` it is one of three
    numbers, and `action_mask` allows `t % 3` and the last.
    """

    accepts_mapping = True

    def __init__(
        self,
        batch_size: tuple[int, ...] = (),
        *,
        horizon: int = 3,
        accepts_mapping: bool = True,
        is_discrete: bool = False,
    ) -> None:
        super().__init__(batch_size=batch_size)
        self.accepts_mapping = accepts_mapping
        observation: dict[Any, Any] = {
            "observation": Unbounded(shape=(*batch_size, 3), dtype=torch.float64),
            ("agents", "x"): Unbounded(shape=(*batch_size, 2), dtype=torch.float32),
            "pixels": Bounded(0, 255, shape=(*batch_size, 4, 5, 3), dtype=torch.uint8),
        }
        self.is_discrete = is_discrete
        if is_discrete:
            observation["action_mask"] = Categorical(2, (*batch_size, 3), dtype=torch.bool)
        self.observation_spec = Composite(observation, shape=batch_size)
        numbers = Bounded(-0.1, 0.1, shape=(*batch_size, 2), dtype=torch.float64)
        self.action_spec = Categorical(3, batch_size) if is_discrete else numbers
        self.row = torch.arange(self.batch_size.numel()).reshape(*batch_size, 1)
        self.t = torch.zeros((*batch_size, 1), dtype=torch.int64)
        self.horizon = horizon
        self.actions: list[Tensor] = []
        self.closed_times = 0

    def _observe(self) -> dict[Any, Tensor]:
        time = self.t.double()
        places = torch.arange(3)
        mask = {"action_mask": (places == self.t % 3) | (places == 2)} if self.is_discrete else {}
        return {
            **mask,
            "observation": time * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64) + self.row,
            ("agents", "x"): torch.cat([time / 2, -time], -1).float(),
            "pixels": (10 * self.t)[..., None, None].expand(*self.batch_size, 4, 5, 3).to(torch.uint8),
        }

    def _reset(self, data: TensorMap | None) -> TensorMap:
        mask = None if data is None else data.get("_reset", None)
        self.t = torch.zeros_like(self.t) if mask is None else torch.where(mask, 0, self.t)
        return self._observe()

    def _step(self, data: TensorMap) -> TensorMap:
        self.actions.append(data["action"])
        self.t = self.t + 1
        return {**self._observe(), "reward": self.t.float(), "terminated": self.t >= self.horizon + self.row}

    def _set_seed(self, seed: int) -> None:
        self.seed = seed

    def _close(self) -> None:
        self.closed_times += 1

    @property
    def lives(self) -> Tensor:
        """One less after every second step, int64 `[*B, 1]`."""
        return 3 - self.t // 2

    @property
    def has_exact_state(self) -> bool:
        """True: the step count is all there is."""
        return True

    def get_state(self) -> dict[str, Any]:
        """The step counts."""
        return {"t": self.t.clone()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `get_state`."""
        self.t = state["t"].clone()


class EndlessEnv(EnvBase):
    """Row `i` ends episodes after `2 + i` steps, and starts the next at once, the one number `e` with `100 e`.

    With `final_name`, what an episode ended with is given under that name.
    """

    accepts_mapping = True

    def __init__(
        self, batch_size: tuple[int, ...] = (), *, final_name: str | None = None, mapping: bool = True
    ) -> None:
        super().__init__(batch_size=batch_size)
        self.accepts_mapping = mapping
        shape = (*batch_size, 1)
        entries: dict[Any, Any] = {
            "observation": Unbounded(shape=shape),
            ("n", "level"): Bounded(0, 255, shape=shape, dtype=torch.int16),
            "flag": Categorical(2, shape, dtype=torch.bool),
        }
        if final_name is not None:
            entries[final_name, "observation"] = entries["observation"]
            entries[final_name, "n", "level"] = entries["n", "level"]
        self.final_name = final_name
        self.observation_spec = Composite(entries, shape=batch_size)
        self.action_spec = Bounded(-1.0, 1.0, shape=shape)
        self.limit = 2 + torch.arange(self.batch_size.numel()).reshape(shape)
        self.t, self.episode = torch.zeros(shape), torch.zeros(shape)
        self.resets = 0

    def _observe(self) -> dict[Any, Tensor]:
        observation = 100 * self.episode + self.t
        return {
            "observation": observation,
            ("n", "level"): self.t.to(torch.int16),
            "flag": torch.ones_like(observation, dtype=torch.bool),
        }

    def _reset(self, data: TensorMap | None) -> TensorMap:
        self.resets += 1
        self.episode, self.t = self.episode + 1, torch.zeros_like(self.t)
        return self._with_finals(self._observe(), self._observe())

    def _step(self, data: TensorMap) -> TensorMap:
        self.t = self.t + 1
        last = self._observe()
        done = self.t >= self.limit
        reward = self.t.clone()
        self.episode, self.t = self.episode + done, torch.where(done, 0.0, self.t)
        found = self._with_finals(self._observe(), last)
        return {**found, "reward": reward, "terminated": done}

    def _with_finals(self, entries: dict[Any, Tensor], last: dict[Any, Tensor]) -> dict[Any, Tensor]:
        name = self.final_name
        if name is not None:
            entries |= {(name, "observation"): last["observation"], (name, "n", "level"): last["n", "level"]}
        return entries

    def _set_seed(self, seed: int) -> None:
        self.episode = torch.zeros_like(self.episode)


@pytest.fixture
def toy() -> Callable[..., ToyEnv]:
    """The class of the environment."""
    return ToyEnv


@pytest.fixture
def endless() -> Callable[..., EndlessEnv]:
    """The class of the environment that resets itself."""
    return EndlessEnv
