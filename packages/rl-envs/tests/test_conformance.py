"""Every environment of the package against the suite of `rl_envs.testing`, and which of them have an exact state."""

from collections.abc import Callable

import gymnasium
import pytest
import torch
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from rl_envs import (
    AntEnv,
    EnvBase,
    GymEnv,
    GymWrapper,
    HalfCheetahEnv,
    HopperEnv,
    HumanoidEnv,
    InitTracker,
    InvertedDoublePendulumEnv,
    InvertedPendulumEnv,
    ParallelEnv,
    PendulumEnv,
    ReacherEnv,
    RewardSum,
    SerialEnv,
    StatelessPendulumEnv,
    StepCounter,
    SwimmerEnv,
    TicTacToeEnv,
    TransformedEnv,
    Walker2dEnv,
    WorldModelEnv,
)
from rl_envs.testing import (
    CountingEnv,
    DiscreteCountingEnv,
    EnvConformance,
    FailingEnv,
    GrowingEnv,
    HeterogeneousCountingEnv,
    MultiKeyCountingEnv,
    NestedCountingEnv,
    NoiseEnv,
    PixelsCountingEnv,
    ScheduledEnv,
    StatelessCountingEnv,
    TensorDictCountingEnv,
    TextCountingEnv,
)
from rl_specs import Composite, Unbounded


class Drift(nn.Module):
    """A world that moves by its action, with a reward for being at the origin."""

    def forward(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Next latent state and reward."""
        moved = latent + 0.1 * action
        return moved, -moved.square().sum(-1, keepdim=True)


def imagined() -> EnvBase:
    """Imagined episodes that start at the origin."""
    model = TensorDictModule(Drift(), in_keys=["latent", "action"], out_keys=["latent", "reward"])
    latent = Composite({"latent": Unbounded(shape=(3,))})
    start = lambda size: {"latent": torch.zeros((*size, 3))}  # noqa: E731
    return WorldModelEnv(model, CountingEnv(), latent_spec=latent, start=start)


def vector(mode: gymnasium.vector.AutoresetMode) -> EnvBase:
    """Two cart poles in a `VectorEnv`."""
    makers = [lambda: gymnasium.make("CartPole-v1") for _ in range(2)]
    return GymWrapper(gymnasium.vector.SyncVectorEnv(makers, autoreset_mode=mode))


EXACT: dict[str, Callable[[], EnvBase]] = {
    "counting": CountingEnv,
    "text": lambda: TextCountingEnv((2,), max_steps=[2, 3]),
    "observations of any size": lambda: GrowingEnv(max_steps=3),
    "counting, rows of mixed length": lambda: CountingEnv((2, 2), max_steps=[[2, 3], [4, 9]], prefix=("agents",)),
    "agents with flags of their own": lambda: NestedCountingEnv((3,), max_steps=[2, 3, 5]),
    "one row of agents": NestedCountingEnv,
    "several keys": lambda: MultiKeyCountingEnv((2,), max_steps=3),
    "several keys, one row": MultiKeyCountingEnv,
    "heterogeneous": lambda: HeterogeneousCountingEnv((2,)),
    "heterogeneous, one row": HeterogeneousCountingEnv,
    "pixels": lambda: PixelsCountingEnv((2,)),
    "pixels, one row": PixelsCountingEnv,
    "categorical": lambda: DiscreteCountingEnv((2,)),
    "categorical, one row": DiscreteCountingEnv,
    "one-hot": lambda: DiscreteCountingEnv((2,), encoding="one_hot"),
    "one-hot, one row": lambda: DiscreteCountingEnv(encoding="one_hot"),
    "multi-categorical": lambda: DiscreteCountingEnv((2,), encoding="multi_categorical"),
    "multi-categorical, one row": lambda: DiscreteCountingEnv(encoding="multi_categorical"),
    "multi-one-hot": lambda: DiscreteCountingEnv((2,), encoding="multi_one_hot"),
    "multi-one-hot, one row": lambda: DiscreteCountingEnv(encoding="multi_one_hot"),
    "bits": lambda: DiscreteCountingEnv((2,), encoding="binary"),
    "bits, one row": lambda: DiscreteCountingEnv(encoding="binary"),
    "scheduled": lambda: ScheduledEnv([2, 3], ["truncated", "both"], batch_size=(2,)),
    "scheduled, one row": lambda: ScheduledEnv([2, 3]),
    "failing, but not yet": lambda: FailingEnv(fail_at_step=1000),
    "noise": lambda: NoiseEnv((3,), max_steps=[2, 3, 5]),
    "noise, one row": NoiseEnv,
    "pendulum": PendulumEnv,
    "stateless pendulum": StatelessPendulumEnv,
    "stateless pendulums": lambda: StatelessPendulumEnv(batch_size=(3,)),
    "pendulums": lambda: PendulumEnv((2, 3)),
    "noughts and crosses": TicTacToeEnv,
    "noughts and crosses, batch": lambda: TicTacToeEnv(batch_size=(4,)),
    "noughts and crosses against chance": lambda: TicTacToeEnv(single_player=True),
    "noughts and crosses against chance, batch": lambda: TicTacToeEnv(single_player=True, batch_size=(4,)),
    "classic control": lambda: GymEnv("CartPole-v1"),
    "classic control, continuous": lambda: GymEnv("MountainCarContinuous-v0"),
    "classic control, loop": lambda: GymEnv("Acrobot-v1", num_envs=3),
    "toy text": lambda: GymEnv("FrozenLake-v1"),
    "toy text, tuple of observations": lambda: GymEnv("Blackjack-v1"),
    "toy text, loop": lambda: GymEnv("Taxi-v4", num_envs=2, categorical_action_encoding=True),
    "mujoco": lambda: GymEnv("Hopper-v5"),
    "mujoco, loop": lambda: GymEnv("InvertedPendulum-v5", num_envs=2),
    "gymnasium in workers": lambda: ParallelEnv(2, lambda: GymEnv("CartPole-v1"), start_method="fork"),
    "native ant": lambda: AntEnv(2, num_threads=1),
    "native humanoid": lambda: HumanoidEnv(2, num_threads=1),
    "native half cheetah": lambda: HalfCheetahEnv(2, num_threads=1),
    "native hopper": lambda: HopperEnv(2, num_threads=1),
    "native pendulum": lambda: InvertedPendulumEnv(2, num_threads=1),
    "native double pendulum": lambda: InvertedDoublePendulumEnv(2, num_threads=1),
    "native reacher": lambda: ReacherEnv(2, num_threads=1),
    "native swimmer": lambda: SwimmerEnv(2, num_threads=1),
    "native walker": lambda: Walker2dEnv(2, num_threads=1),
    "serial": lambda: SerialEnv(2, lambda: NoiseEnv(max_steps=3)),
    "serial over agents": lambda: SerialEnv(2, lambda: NestedCountingEnv((2,))),
    "parallel": lambda: ParallelEnv(2, lambda: NoiseEnv(max_steps=3), start_method="fork"),
    "parallel over several keys": lambda: ParallelEnv(2, MultiKeyCountingEnv, start_method="fork"),
    "transformed": lambda: TransformedEnv(NoiseEnv((2,)), [RewardSum(), StepCounter(max_steps=3), InitTracker()]),
    "transformed gymnasium": lambda: TransformedEnv(GymEnv("CartPole-v1"), [StepCounter(max_steps=4)]),
    "transformed over agents": lambda: TransformedEnv(NestedCountingEnv((2,)), [RewardSum()]),
}
"""Environments that go on from a state that was read out, bit by bit."""

BOUNDARY: dict[str, Callable[[], EnvBase]] = {
    "in the data": StatelessCountingEnv,
    "in the data, batch": lambda: StatelessCountingEnv((2,)),
    "in the data, transformed": lambda: TransformedEnv(StatelessCountingEnv(), [StepCounter(max_steps=3)]),
    "written with TensorDicts": lambda: TensorDictCountingEnv((2,)),
    "imagined": imagined,
    "vector, same step": lambda: vector(gymnasium.vector.AutoresetMode.SAME_STEP),
    "vector, next step": lambda: vector(gymnasium.vector.AutoresetMode.NEXT_STEP),
    "vector, disabled": lambda: vector(gymnasium.vector.AutoresetMode.DISABLED),
    "EnvPool": lambda: GymEnv("CartPole-v1", num_envs=2, backend="envpool", num_threads=1),
}
"""Environments that have no state of their own, or one out of reach: they resume at an episode boundary."""

MAKERS = EXACT | BOUNDARY


class TestEveryEnvironment(EnvConformance):
    """Every environment keeps every promise."""

    @pytest.fixture(autouse=True, params=list(MAKERS))
    def _choose(self, request: pytest.FixtureRequest) -> None:
        self._make = MAKERS[request.param]

    def make_env(self) -> EnvBase:
        """The environment of the parameter."""
        return self._make()


@pytest.mark.parametrize("name", list(MAKERS))
def test_who_has_an_exact_state(name: str) -> None:
    """`has_exact_state` is True for classic control, toy text, MuJoCo, native and multi-process environments."""
    with MAKERS[name]() as env:
        assert env.has_exact_state is (name in EXACT)


class OwnProcesses(EnvConformance):
    """Gymnasium environments in processes that take seconds to start; `gym/test_process.py` compares their data."""

    def make_env(self) -> EnvBase:
        """Three cart poles in two processes."""
        return GymEnv("CartPole-v1", num_envs=3, backend="process", num_processes=2)


def test_processes_have_an_exact_state() -> None:
    """Environments in processes of their own go on from a state that was read out."""
    with OwnProcesses().make_env() as env:
        assert env.has_exact_state
    OwnProcesses().test_exact_state_goes_on_bitwise()
