"""Tests of `rl_envs.model_based._world_model_env`."""

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from rl_envs import PendulumEnv, WorldModelEnv, check_env_specs
from rl_specs import Bounded, Composite, MissingKeyError, SpecError, Unbounded

LATENT = Composite({"latent": Unbounded(shape=(2,))})


class Drift(nn.Module):
    """The latent state moves by the action; the reward is minus its square; the end is at 3."""

    def forward(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Next latent state, reward, end."""
        moved = latent + action
        return moved, -moved.square().sum(-1, keepdim=True), moved[..., :1] >= 3


def make_env(**options: object) -> WorldModelEnv:
    """The drifting world, with the actions of a pendulum."""
    model = TensorDictModule(Drift(), in_keys=["latent", "action"], out_keys=["latent", "reward", "terminated"])
    return WorldModelEnv(model, PendulumEnv(), latent_spec=LATENT, **options)  # type: ignore[arg-type]  # of the test


def push(data: TensorDictBase) -> TensorDictBase:
    """Always 1."""
    return data.set("action", torch.ones(*data.batch_size, 1))


def encoder() -> TensorDictModule:
    """The first two numbers of an observation."""
    return TensorDictModule(lambda value: value[..., :2], in_keys=["observation"], out_keys=["latent"])


def test_starts_where_the_data_say() -> None:
    """Imagined episodes start at the latent states given, in a batch of that size, and move by the actions."""
    start = TensorDict({"latent": torch.tensor([[0.0, 0.0], [1.0, 0.0]])}, batch_size=[2])
    rolled = make_env().rollout(2, push, tensordict=start)
    assert rolled["latent"].tolist() == [[[0, 0], [1, 1]], [[1, 0], [2, 1]]]
    assert rolled["next", "reward"].squeeze(-1).tolist() == [[-2, -8], [-5, -13]]
    assert rolled["next", "terminated"].squeeze(-1).tolist() == [[False, False], [False, True]]


def test_starts_from_real_observations() -> None:
    """With an encoder, real observations are the start: every step of a real batch at once."""
    real = PendulumEnv((4,), seed=0).rollout(3)
    start = real.select("observation").reshape(-1)
    rolled = make_env(encoder=encoder()).rollout(1, push, tensordict=start)
    assert rolled.batch_size == torch.Size((12, 1))
    assert torch.equal(rolled["latent"][:, 0], start["observation"][:, :2])


def test_specs_are_those_of_the_real_environment() -> None:
    """Actions and rewards have the specs of one real environment; the observation is the latent state."""
    env = WorldModelEnv(make_env().world_model, PendulumEnv((4,)), latent_spec=LATENT)
    assert env.action_spec == Bounded(-2.0, 2.0, shape=(1,))
    assert env.reward_spec.shape == torch.Size((1,))
    assert env.observation_keys == env.state_keys == ["latent"]
    check_env_specs(make_env(start=lambda size: {"latent": torch.zeros(*size, 2)}))


def test_gradients_in_the_actions() -> None:
    """The imagined return is differentiable in the actions through the latent states."""
    action = torch.tensor([0.5], requires_grad=True)
    start = TensorDict({"latent": torch.zeros(2)})
    rolled = make_env().rollout(2, lambda data: data.set("action", action), tensordict=start)
    rolled["next", "reward"].sum().backward()
    assert action.grad is not None
    assert action.grad.item() == pytest.approx(-10.0)  # of -2 a^2 - 2 (2 a)^2 at 0.5


def test_an_episode_that_ends() -> None:
    """After an end, imagination goes on from the last state, or begins again at what `start` gives."""
    start = TensorDict({"latent": torch.tensor([[2.0, 0.0], [0.0, 0.0]])}, batch_size=[2])
    stays = make_env().rollout(9, push, tensordict=start, break_when_any_done=False, break_when_all_done=True)
    assert stays["next", "done"].squeeze(-1).tolist() == [[True, True, True], [False, False, True]]
    on = make_env().rollout(3, push, tensordict=start, break_when_any_done=False)
    assert on["latent"][0, :, 0].tolist() == [2, 3, 4]
    again = make_env(start=lambda size: {"latent": torch.full((*size, 2), -1.0)})
    rolled = again.rollout(3, push, tensordict=start, break_when_any_done=False)
    assert rolled["latent"][0, :, 0].tolist() == [2, -1, 0]


def test_mistakes() -> None:
    """A reset without a start, and a latent spec that is empty or batched, are errors."""
    with pytest.raises(MissingKeyError, match=r"WorldModelEnv\.reset"):
        make_env().reset()
    for spec in (Composite(), Composite({"latent": Unbounded(shape=(4, 2))}, shape=(4,))):
        with pytest.raises(SpecError, match="latent_spec"):
            WorldModelEnv(make_env().world_model, PendulumEnv(), latent_spec=spec)
