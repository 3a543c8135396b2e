"""One PPO update."""

import io
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

import rl_trainers.ppo
from rl_collectors import Overlap
from rl_objectives import LossModule
from rl_trainers import DivergenceError, PPOConfig
from rl_trainers.ppo import PPO, batch_statistics
from rl_trainers.random_state import seed_everything

MakeConfig = Callable[..., PPOConfig]


def make_ppo(config: PPOConfig) -> PPO:
    """A fresh PPO with seeded weights."""
    seed_everything(config.seed)
    return PPO(config)


@pytest.mark.parametrize("name", ["InvertedDoublePendulum-v5", "CartPole-v1", "PendulumEnv"])
def test_update_changes_actor_and_critic(make_config: MakeConfig, name: str) -> None:
    """An update moves every parameter of actor and critic and reports finite numbers."""
    ppo = make_ppo(make_config(f"env.name={name}"))
    before = [parameter.detach().clone() for parameter in ppo.parameters]
    report = ppo.update(next(iter(ppo)))
    assert all(math.isfinite(value) for value in report.values())
    assert all(not torch.equal(old, new) for old, new in zip(before, ppo.parameters, strict=True))
    assert report["optim/epochs"] == 2
    assert report["optim/lr"] == pytest.approx(3e-4)
    ppo.close()


def test_updates_raise_the_return(make_config: MakeConfig) -> None:
    """On CartPole a dozen updates make episodes longer than at the start."""
    config = make_config(
        "env.name=CartPole-v1",
        "env.num_envs=4",
        "collector.frames_per_batch=512",
        "collector.total_frames=6144",
        "optim.lr=3e-3",
        "ppo.num_epochs=6",
        "ppo.minibatch_size=64",
        "network.num_cells=[32]",
    )
    ppo = make_ppo(config)
    lengths = []
    for data in ppo:
        done = data["next", "done"]
        lengths.append(float(data["next", "step_count"][done].double().mean()))
        ppo.update(data)
    assert lengths[-1] > 2.5 * lengths[0]
    ppo.close()


@pytest.mark.parametrize("is_compiled", [True, False])
def test_compile_hands_the_minibatches_to_the_compiled_loss(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, is_compiled: bool
) -> None:
    """With `ppo.compile` every minibatch of both epochs goes through `compile_loss`, else none does."""
    sizes: list[int] = []

    def compiling(loss: LossModule) -> Callable[[TensorDictBase], TensorDictBase]:
        def losses_at(minibatch: TensorDictBase) -> TensorDictBase:
            sizes.append(len(minibatch))
            losses: TensorDictBase = loss(minibatch)
            return losses

        return losses_at

    monkeypatch.setattr(rl_trainers.ppo, "compile_loss", compiling)
    ppo = make_ppo(make_config(f"ppo.compile={is_compiled}"))
    ppo.update(next(iter(ppo)))
    assert sizes == ([32] * 4 if is_compiled else [])
    ppo.close()


def test_target_kl_ends_the_epochs(make_config: MakeConfig) -> None:
    """Epochs end after the first whose mean KL exceeds the target."""
    ppo = make_ppo(make_config("ppo.num_epochs=8", "ppo.target_kl=1e-9", "optim.lr=0.01"))
    report = ppo.update(next(iter(ppo)))
    assert report["optim/epochs"] < 8
    assert report["policy/kl"] > 1e-9
    ppo.close()


def test_recomputed_advantage_differs_from_the_second_epoch_on(make_config: MakeConfig) -> None:
    """Estimating the advantage anew changes nothing in the first epoch and something in the second."""
    weights = {}
    for epochs in (1, 2):
        for recompute in ("true", "false"):
            ppo = make_ppo(make_config(f"ppo.num_epochs={epochs}", f"ppo.recompute_advantage={recompute}"))
            ppo.update(next(iter(ppo)))
            weights[epochs, recompute] = torch.cat([p.detach().flatten() for p in ppo.parameters])
            ppo.close()
    assert torch.equal(weights[1, "true"], weights[1, "false"])
    assert not torch.equal(weights[2, "true"], weights[2, "false"])


def test_entropy_bonus_widens_the_policy(make_config: MakeConfig) -> None:
    """With a large entropy weight the deviation of the policy grows more than without."""
    scales = []
    for coefficient in (0.0, 1.0):
        config = make_config(f"ppo.entropy_coeff={coefficient}", "optim.lr=0.01", "network.initial_scale=0.3")
        ppo = make_ppo(config)
        ppo.update(next(iter(ppo)))
        scales.append(next(float(p.detach()) for n, p in ppo.actor.named_parameters() if "scale" in n))
        ppo.close()
    assert scales[1] > scales[0]


def test_batch_statistics_by_hand() -> None:
    """Entropy is minus the mean log-probability; the explained variance compares errors with targets."""
    data = TensorDict(
        {
            "value_target": torch.tensor([[[0.0], [2.0]], [[4.0], [6.0]]]),
            "state_value": torch.tensor([[[1.0], [1.0]], [[5.0], [5.0]]]),
            "sample_log_prob": torch.tensor([[-1.0, -2.0], [-3.0, -4.0]]),
        },
        batch_size=[2, 2],
    )
    found = batch_statistics(data)
    assert found["policy/entropy"] == 2.5
    assert found["critic/explained_variance"] == pytest.approx(1 - (4 / 3) / (20 / 3))
    data["value_target"] = torch.zeros(2, 2, 1)
    assert math.isnan(batch_statistics(data)["critic/explained_variance"])


def test_divergence_is_an_error(make_config: MakeConfig) -> None:
    """A loss that is not a number stops the run with advice."""
    ppo = make_ppo(make_config())
    data = next(iter(ppo))
    data["next", "reward"][0, 0] = math.inf
    with pytest.raises(DivergenceError, match=r"training diverged.*Lower optim\.lr"):
        ppo.update(data)
    ppo.close()


def test_state_continues_bitwise_in_another_object(make_config: MakeConfig) -> None:
    """A PPO that loads another's state collects the same data and makes the same update."""
    config = make_config("env.name=Pendulum-v1", "optim.anneal=true")
    first = make_ppo(config)
    first.update(next(iter(first)))
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    torch_state = torch.get_rng_state()
    data = next(iter(first))
    report = first.update(data)
    seed_everything(99)
    second = PPO(config)
    second.load_state_dict(state)
    torch.set_rng_state(torch_state)
    again = next(iter(second))
    assert bool((again["observation"] == data["observation"]).all())
    assert bool((again["action"] == data["action"]).all())
    assert second.update(again) == report
    first.close()
    second.close()


@pytest.mark.parametrize("limit", [-1, 30])
def test_overlap_learns_from_weights_of_one_update_ago(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """With `collector.overlap=1` each batch is one update behind, and the worker's normalisation can be had here."""
    monkeypatch.setattr(rl_trainers.ppo, "Overlap", partial(Overlap, start_method="fork"))
    config = make_config(
        "env.name=CartPole-v1",
        "collector.overlap=1",
        f"collector.max_frames_per_traj={limit}",
        "env.clip_observation=0",
    )
    ppo = make_ppo(config)
    versions, seen = [], []
    for data in ppo:
        versions.append(data["collector", "policy_version"].unique().tolist())
        seen.append(data["step_count"].numel())
        ppo.update(data)
    assert versions == [[0], [0], [1], [2]]
    normalizer = ppo.normalizer
    assert normalizer is not None
    assert float(normalizer.state_dict()["stats.0.count"]) > 0.9 * sum(seen)
    ppo.close()
