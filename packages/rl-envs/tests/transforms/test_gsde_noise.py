"""State-dependent exploration noise."""

from collections.abc import Callable

import pytest
import torch
from tensordict import TensorDict

from rl_envs import TransformedEnv, check_env_specs, gSDENoise
from rl_envs.testing import CountingEnv
from rl_specs import SpecError


@pytest.mark.parametrize("batch_size", [(), (3,), (2, 2)], ids=str)
def test_one_matrix_an_episode(batch_size: tuple[int, ...]) -> None:
    """The matrix `[action_dim, state_dim]` stays through an episode and is another one in the next."""
    env = TransformedEnv(CountingEnv(batch_size, max_steps=3), gSDENoise(5, 2))
    check_env_specs(env)
    noise = env.rollout(6, break_when_any_done=False)["_eps_gSDE"].reshape(-1, 6, 2, 5)
    assert torch.equal(noise[:, 0], noise[:, 2])
    assert not (noise[:, 2] == noise[:, 3]).any()


def test_standard_normal_from_its_own_stream() -> None:
    """Draws have mean 0 and deviation 1, are those of the seed and go on from a loaded state."""
    env, other = (TransformedEnv(CountingEnv((4,)), gSDENoise(shape=(40, 50))) for _ in range(2))
    env.set_seed(0)
    other.set_seed(0)
    noise = env.reset()["_eps_gSDE"]
    assert torch.equal(other.reset()["_eps_gSDE"], noise)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.05)
    assert noise.std().item() == pytest.approx(1.0, abs=0.05)
    torch.manual_seed(0)
    assert not torch.equal(env.reset()["_eps_gSDE"], noise)
    other.load_state_dict(env.state_dict())
    assert torch.equal(other.reset()["_eps_gSDE"], env.reset()["_eps_gSDE"])


def test_rows_outside_a_reset_keep_their_matrix() -> None:
    """A partial reset changes the matrices of its rows alone."""
    env = TransformedEnv(CountingEnv((2,)), gSDENoise(3, 1, key=("n", "eps")))
    root = env.reset()
    after = env.reset(root.clone().set("_reset", torch.tensor([[False], [True]])))
    assert torch.equal(after["n", "eps"][0], root["n", "eps"][0])
    assert not (after["n", "eps"][1] == root["n", "eps"][1]).any()


def test_on_stored_data_and_names_taken() -> None:
    """`forward` draws a matrix for each row; a key that is there already is told."""
    assert gSDENoise(3, 2)(TensorDict({}, [4]))["_eps_gSDE"].shape == (4, 2, 3)
    with pytest.raises(SpecError, match='key: "observation" is written already'):
        TransformedEnv(CountingEnv(), gSDENoise(1, 1, key="observation"))


BAD: list[Callable[[], object]] = [
    gSDENoise,
    lambda: gSDENoise(3),
    lambda: gSDENoise(3, 2, shape=(2, 3)),
    lambda: gSDENoise(3, shape=(2, 3)),
]


@pytest.mark.parametrize("make_bad", BAD)
def test_the_shape_must_be_clear(make_bad: Callable[[], object]) -> None:
    """Half of the dimensions, or both ways at once, are errors."""
    with pytest.raises(ValueError, match="state_dim and action_dim, or shape"):
        make_bad()
