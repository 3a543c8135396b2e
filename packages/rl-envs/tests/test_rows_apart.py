"""What holds for every environment of several rows: resets, time limits and actions, row by row."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tensordict import TensorDictBase

from rl_envs import (
    CatTensors,
    DoubleToFloat,
    EnvBase,
    GymEnv,
    GymWrapper,
    ObservationNorm,
    PendulumEnv,
    RewardSum,
    SerialEnv,
    StepCounter,
    Transform,
    TransformedEnv,
    VecNorm,
    check_env_specs,
)

Maker = Callable[..., EnvBase]


def vector(mode: AutoresetMode) -> Maker:
    """Three environments in a `SyncVectorEnv`."""
    return lambda name, **options: GymWrapper(
        SyncVectorEnv([lambda: gymnasium.make(name, **options)] * 3, autoreset_mode=mode)
    )


ADAPTERS: dict[str, Maker] = {
    "loop": lambda name, **options: GymEnv(name, num_envs=3, **options),
    "serial": lambda name, **options: SerialEnv(3, lambda: GymEnv(name, **options)),
    "serial of one row": lambda name, **options: SerialEnv(3, lambda: GymEnv(name, num_envs=1, **options)),
    **{mode.name: vector(mode) for mode in AutoresetMode},
}
ROWS: dict[str, Callable[[], EnvBase]] = {
    **{name: partial(make, "CartPole-v1") for name, make in ADAPTERS.items()},
    "pendulum": lambda: PendulumEnv((3,)),
    "transformed": lambda: TransformedEnv(GymEnv("CartPole-v1", num_envs=3), [StepCounter(), RewardSum()]),
}
every_adapter = pytest.mark.parametrize("make", ADAPTERS.values(), ids=list(ADAPTERS))


def advance(env: EnvBase, root: TensorDictBase, steps: int) -> list[TensorDictBase]:
    """Seeded random steps; the last item is the root after them."""
    torch.manual_seed(7)
    found: list[TensorDictBase] = []
    for _ in range(steps):
        stepped, root = env.step_and_maybe_reset(env.rand_action(root))
        found.append(stepped.clone())
    return [*found, root]


@pytest.mark.parametrize("make", ROWS.values(), ids=list(ROWS))
def test_reset_of_a_row_leaves_the_others_bit_identical(make: Callable[[], EnvBase]) -> None:
    """Rows outside the mask keep their entries, and go on as in a twin in which nothing was reset."""
    env, twin = make(), make()
    env.set_seed(3)
    twin.set_seed(3)
    root = advance(env, env.reset(), 4)[-1]
    other = advance(twin, twin.reset(), 4)[-1]
    mask = torch.zeros((*env.batch_size, 1), dtype=torch.bool)
    mask[1] = True
    after = env.reset(root.clone().set("_reset", mask))
    assert not torch.equal(after["observation"][1], root["observation"][1])
    for key in root.keys(True, True):
        assert torch.equal(after[key][[0, 2]], root[key][[0, 2]]), key
    for found, expected in zip(advance(env, after, 5), advance(twin, other, 5), strict=True):
        assert (found[[0, 2]] == expected[[0, 2]]).all()


FORMS: dict[str, Callable[[], Transform]] = {
    "another name": lambda: CatTensors(in_keys=["observation"], out_key="vector"),
    "another dtype": DoubleToFloat,
    "a second entry": lambda: ObservationNorm(0.0, 2.0, in_keys=["observation"], out_keys=["scaled"]),
    "other numbers": lambda: VecNorm(in_keys=["observation"]),
}


@pytest.mark.parametrize("make", FORMS.values(), ids=list(FORMS))
@pytest.mark.parametrize("rows", [1, 2])
def test_partial_resets_of_a_serial_env_under_transforms(make: Callable[[], Transform], rows: int) -> None:
    """Environments in a row are reset one by one also where the root has another form than theirs."""
    env, checked = (
        TransformedEnv(SerialEnv(2, lambda: GymEnv("CartPole-v1", num_envs=rows)), make()) for _ in range(2)
    )
    check_env_specs(checked)
    env.set_seed(0)
    loop = TransformedEnv(GymEnv("CartPole-v1", num_envs=2 * rows), make())
    loop.set_seed(0)
    torch.manual_seed(0)
    found = env.rollout(50, break_when_any_done=False)
    torch.manual_seed(0)
    expected = loop.rollout(50, break_when_any_done=False)
    assert found["next", "done"].any()
    for key in expected.keys(True, True):
        if key != "action":
            torch.testing.assert_close(found[key].flatten(0, 1), expected[key], msg=str(key))


@every_adapter
def test_a_time_limit_truncates(make: Maker) -> None:
    """A `TimeLimit` inside is `truncated` and never `terminated`, whichever way the rows are stepped."""
    env = make("Pendulum-v1", max_episode_steps=4)
    rolled = env.rollout(9, break_when_any_done=False)
    at_limit = torch.tensor([step % 4 == 3 for step in range(9)])
    expected = at_limit.reshape(9, 1).expand(rolled["next", "done"].shape)
    assert torch.equal(rolled["next", "truncated"], expected)
    assert torch.equal(rolled["next", "done"], expected)
    assert not rolled["next", "terminated"].any()


def test_a_limit_on_top_of_a_limit_truncates() -> None:
    """`StepCounter` over a `TimeLimit`: whichever is first ends the episode, as a truncation."""
    env = TransformedEnv(GymEnv("Pendulum-v1", max_episode_steps=4), StepCounter(max_steps=3))
    rolled = env.rollout(8, break_when_any_done=False)["next"]
    assert rolled["truncated"].squeeze(-1).nonzero().squeeze(-1).tolist() == [2, 5]
    assert not rolled["terminated"].any()


class StrictEnv(gymnasium.Env[Any, Any]):
    """Refuses actions outside its space, or of another dtype."""

    def __init__(self, dtype: str = "float64", **_: Any) -> None:
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.dtype(dtype).type)
        bound = np.array([0.1, 0.3, 2.0 / 3.0], dtype=dtype)
        self.action_space = gymnasium.spaces.Box(-bound, bound, (3,), np.dtype(dtype).type)

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        """Zeros."""
        return np.zeros(2, self.observation_space.dtype), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Check the action."""
        assert action.dtype == self.action_space.dtype
        assert self.action_space.contains(action), action
        return np.zeros(2, self.observation_space.dtype), 0.0, False, False, {}


gymnasium.register("StrictAction-v0", lambda **options: StrictEnv(**options), disable_env_checker=True)


@every_adapter
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_actions_arrive_inside_the_bounds_in_the_envs_dtype(make: Maker, dtype: str) -> None:
    """The extremes of what a spec allows, in float32 outside of `DoubleToFloat`, are inside the env's own bounds."""
    env = TransformedEnv(make("StrictAction-v0", dtype=dtype), DoubleToFloat())
    spec = env.full_action_spec["action"]
    assert spec.dtype is torch.float32
    for action in (spec.space.low, spec.space.high, spec.rand(), spec.space.high * (1 + 1e-7)):
        env.step(env.reset().set("action", action.clone()))


def test_rows_and_seeds_have_streams_of_their_own() -> None:
    """Neither two rows of a seed nor the same row of two seeds start alike."""
    firsts = []
    for seed in (0, 1, 2, 2**31, 2**31 + 1):
        for make in (lambda: GymEnv("Pendulum-v1", num_envs=8), lambda: PendulumEnv((8,))):
            rows = make()
            rows.set_seed(seed)
            firsts.append(rows.reset()["observation"])
    starts = torch.cat(firsts)
    assert len({tuple(row.tolist()) for row in starts}) == len(starts)
