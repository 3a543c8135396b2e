"""On an accelerator the loop of collecting and learning never makes the host wait for the device.

A simulated accelerator runs the very path of a real one: reset masks are applied without a look at them, statistics are
updated on the device. It tells of every wait, and computes what the CPU computes, so the data can be compared too.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import simulated_device
import torch
from simulated_device import DEVICE, on_host, waits_recorded
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from rl_buffers import LazyTensorStorage, RandomSampler, Sampler, SamplerWithoutReplacement, TensorDictReplayBuffer
from rl_collectors import Collector
from rl_envs import ClipTransform, PendulumEnv, RewardSum, StepCounter, TransformedEnv, VecNorm
from rl_modules import MLP, NormalParamExtractor, ProbabilisticActor, TanhNormal, ValueOperator
from rl_objectives import (
    GAE,
    A2CLoss,
    ClipPPOLoss,
    KLPENPPOLoss,
    LossModule,
    PPOLoss,
    ReinforceLoss,
    TD0Estimator,
    TD1Estimator,
    TDLambdaEstimator,
    ValueEstimatorBase,
    VTrace,
)
from rl_trainers import parse_config
from rl_trainers.evaluation import evaluate_ppo
from rl_trainers.ppo import PPO

NUM_ENVS, STEPS, LIMIT = 12, 7, 3

COLLECTORS: dict[str, dict[str, Any]] = {
    "policy": {},
    "a limit of the collector": {"max_frames_per_traj": 2},
    "a reset per batch": {"reset_at_each_iter": True},
    "stored on its device": {"storing_device": DEVICE},
}
SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "shuffled": SamplerWithoutReplacement,
    "without the rest": lambda: SamplerWithoutReplacement(drop_last=True),
    "with replacement": RandomSampler,
}
LOSSES: dict[str, Callable[[Any, Any], LossModule]] = {
    "clip": ClipPPOLoss,
    "clip values": lambda actor, critic: ClipPPOLoss(actor, critic, clip_value=True, normalize_advantage=True),
    "ratio": PPOLoss,
    "penalty": KLPENPPOLoss,
    "a2c": A2CLoss,
    "reinforce": ReinforceLoss,
}
ESTIMATORS: dict[str, Callable[[Any, Any], ValueEstimatorBase]] = {
    "GAE": lambda actor, critic: GAE(gamma=0.9, lmbda=0.9, value_network=critic, average_gae=True),
    "TD(0)": lambda actor, critic: TD0Estimator(gamma=0.9, value_network=critic),
    "TD(1)": lambda actor, critic: TD1Estimator(gamma=0.9, value_network=critic),
    "TD(lambda)": lambda actor, critic: TDLambdaEstimator(gamma=0.9, lmbda=0.9, value_network=critic),
    "V-trace": lambda actor, critic: VTrace(gamma=0.9, value_network=critic, actor_network=actor),
}


@pytest.fixture(scope="module")
def simulated() -> Iterator[Callable[..., Any]]:
    """Runs a function of this file with the simulated accelerator, in another process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield lambda name, *args: pool.submit(simulated_device.call, __file__, name, *args).result()


# ------------------------------------------------------------------ the programs


def make_env(device: str, num_envs: int = NUM_ENVS) -> TransformedEnv:
    """Pendulums with all that the tutorials put around them; episodes end within a batch."""
    transforms = [
        VecNorm(in_keys=["observation"]),
        ClipTransform(in_keys=["observation"], low=-2.0, high=2.0),
        RewardSum(),
        StepCounter(max_steps=LIMIT),
    ]
    return TransformedEnv(PendulumEnv((num_envs,), device=device, seed=3), transforms)


def make_networks(env: TransformedEnv, device: str) -> tuple[ProbabilisticActor, ValueOperator]:
    """A tanh-normal policy and a critic; their first weights are drawn on the CPU, the same for any device."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {"num_cells": [8], "activation_class": nn.Tanh}
    network = nn.Sequential(MLP(in_features=3, out_features=2, **shape), NormalParamExtractor()).to(device)
    bounds = env.action_spec_unbatched.space
    actor = ProbabilisticActor(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=env.action_spec_unbatched,
        distribution_class=TanhNormal,
        distribution_kwargs={"low": bounds.low, "high": bounds.high},
        return_log_prob=True,
    )
    return actor, ValueOperator(MLP(in_features=3, out_features=1, **shape).to(device), in_keys=["observation"])


def learn(device: str, *, sampler: str = "shuffled", fused: bool = True, **options: Any) -> Iterator[TensorDictBase]:
    """PPO as the tutorials write it: yields each batch once it has been learnt from."""
    env = make_env(device)
    actor, critic = make_networks(env, device)
    collector = Collector(env, actor, frames_per_batch=NUM_ENVS * STEPS, device=device, **options)
    advantage = GAE(gamma=0.99, lmbda=0.95, value_network=critic)
    loss = ClipPPOLoss(actor, critic)
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(NUM_ENVS * STEPS, device=device), sampler=SAMPLERS[sampler](), batch_size=36
    )
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-2, fused=fused)
    for data in collector:
        with torch.no_grad():
            advantage(data)
        buffer.extend(data.reshape(-1))
        for _, minibatch in zip(range(3), buffer, strict=False):
            losses = loss(minibatch)
            (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
            nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad()
        collector.update_policy_weights_()
        data["weights"] = nn.utils.parameters_to_vector(loss.parameters()).detach().expand(NUM_ENVS, STEPS, -1)
        yield data


def waits_while_learning(sampler: str, fused: bool, options: dict[str, Any]) -> tuple[list[str], list[float]]:
    """Waits from the second batch on, and shares of steps in these batches that end an episode."""
    batches = learn(DEVICE, sampler=sampler, fused=fused, **options)
    next(batches)
    with waits_recorded() as waits:
        later = [next(batches), next(batches)]
    return waits, [float(on_host(data["next", "done"]).double().mean()) for data in later]


def waits_of_a_loss(name: str) -> list[str]:
    """Waits of the second call, with its gradients."""
    env = make_env(DEVICE)
    actor, critic = make_networks(env, DEVICE)
    data = Collector(env, actor, frames_per_batch=NUM_ENVS * STEPS).rollout()
    GAE(gamma=0.99, lmbda=0.95, value_network=critic)(data)
    loss = LOSSES[name](actor, critic)
    loss(data)
    with waits_recorded() as waits:
        terms: list[Tensor] = [value for key, value in loss(data).items() if key.startswith("loss")]
        torch.autograd.backward(terms)
    return waits


def waits_of_an_estimator(name: str) -> list[str]:
    """Waits of the first estimate."""
    env = make_env(DEVICE)
    actor, critic = make_networks(env, DEVICE)
    data = Collector(env, actor, frames_per_batch=NUM_ENVS * STEPS).rollout()
    estimator = ESTIMATORS[name](actor, critic)
    with waits_recorded() as waits:
        estimator(data)
    return waits


def waits_of_a_rollout() -> list[str]:
    """Waits of `env.rollout`, `env.step` and `env.reset`, in training and in evaluation mode."""
    env = make_env(DEVICE)
    actor, _ = make_networks(env, DEVICE)
    env.rollout(3, actor, break_when_any_done=False)
    with waits_recorded() as waits:
        env.rollout(2 * LIMIT, actor, break_when_any_done=False)
        env.eval()
        env.rollout(2 * LIMIT, actor, break_when_any_done=False)
        env.step_and_maybe_reset(actor(env.reset()))
    return waits


def explore(device: str) -> Iterator[TensorDictBase]:
    """Batches of random actions."""
    yield from Collector(make_env(device), None, frames_per_batch=NUM_ENVS * STEPS)


def waits_while_exploring() -> list[str]:
    """Waits from the second batch on."""
    batches = explore(DEVICE)
    next(batches)
    with waits_recorded() as waits:
        next(batches), next(batches)
    return waits


def waits_of_the_trainer(overrides: list[str]) -> tuple[list[str], list[str], float]:
    """Waits of collecting the second batch and of learning from it, and the mean return of an evaluation."""
    config = parse_config([*overrides, f"device={DEVICE}"])
    ppo = PPO(config)
    batches = iter(ppo)
    ppo.update(next(batches))
    with waits_recorded() as collecting:
        data = next(batches)
    with waits_recorded() as learning:
        ppo.update(data)
    return collecting, learning, evaluate_ppo(ppo, config, episodes=2).mean


def batches_on(device: str, options: dict[str, Any] | None) -> list[dict[Any, Tensor]]:
    """Entries of three batches and the weights after each, copied to the CPU; of random actions without options."""
    torch.manual_seed(0)
    program = explore(device) if options is None else learn(device, **options)
    batches = [data for _, data in zip(range(3), program, strict=False)]
    return [{key: on_host(value).clone() for key, value in data.items(True, True)} for data in batches]


def recorded(name: str) -> tuple[list[str], str]:
    """Waits of one operation, and its error."""
    x, host = torch.randn(5, device=DEVICE), torch.randn(5)
    operations: dict[str, Callable[[], object]] = {
        "truth": lambda: bool((x > 0).any()),
        "number": lambda: float(x.sum()),
        "mask": lambda: x[x > 0],
        "masked write": lambda: x.__setitem__(x > 0, 1.0),
        "nonzero": lambda: x.nonzero(),
        "equal": lambda: torch.equal(x, x),
        "close": lambda: torch.allclose(x, x),
        "unique": lambda: torch.unique(x),
        "to the host": lambda: x.cpu(),
        "from the host": lambda: host.to(DEVICE),
        "a written constant": lambda: torch.tensor(1.0, device=DEVICE),
        "a host's index": lambda: x[[0, 2]],
        "copy in place": lambda: x.copy_(host),
        "an argument": lambda: torch.arange(x.sum().abs().ceil()),  # type: ignore[call-overload]
        "two devices": lambda: x + host,
        "two devices, clamped": lambda: x.clamp(torch.tensor(0.0), torch.tensor(1.0)),
        "arithmetic": lambda: (x + 1.0).sum().mul(torch.tensor(2.0)),
        "selection": lambda: torch.where(x > 0, x, 0.0).index_select(0, torch.arange(3, device=DEVICE)),
        "queued copy": lambda: host.to(DEVICE, non_blocking=True),
        "draws": lambda: torch.randperm(5, device=DEVICE) + torch.randint(5, (5,), device=DEVICE),
    }
    error = ""
    with waits_recorded() as waits:
        try:
            operations[name]()
        except RuntimeError as found:
            error = str(found)
    return waits, error


# ------------------------------------------------------------------ the tests


@pytest.mark.parametrize("options", COLLECTORS, ids=str)
def test_collecting_and_learning_never_wait(simulated: Callable[..., Any], options: str) -> None:
    """From the second batch on nothing waits for the device, with episodes that end in the middle of the batches."""
    waits, ends = simulated("waits_while_learning", "shuffled", True, COLLECTORS[options])
    assert waits == []
    assert all(0.1 < share < 0.9 for share in ends)


@pytest.mark.parametrize("sampler", ["without the rest", "with replacement"])
def test_no_sampler_waits(simulated: Callable[..., Any], sampler: str) -> None:
    """Neither do the other samplers, nor an optimiser that is not fused."""
    waits, _ = simulated("waits_while_learning", sampler, False, {})
    assert waits == []


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_waits(simulated: Callable[..., Any], name: str) -> None:
    """Every loss and its gradients leave values on the device, though the loss itself was never moved there."""
    assert simulated("waits_of_a_loss", name) == []


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_estimator_waits(simulated: Callable[..., Any], name: str) -> None:
    """Every value estimator leaves values on the device."""
    assert simulated("waits_of_an_estimator", name) == []


def test_the_trainer_waits_once_an_epoch(simulated: Callable[..., Any]) -> None:
    """A run with a native environment collects on its device, and looks at its losses once an epoch, not a step."""
    shape = ["env.num_envs=16", "collector.frames_per_batch=128", "ppo.num_epochs=3", "ppo.minibatch_size=32"]
    collecting, learning, value = simulated("waits_of_the_trainer", ["env.name=PendulumEnv", "env.max_steps=5", *shape])
    assert collecting == []
    assert len(learning) == 3 + 1
    assert value < 0


def test_no_rollout_waits(simulated: Callable[..., Any]) -> None:
    """The public calls of an environment do not wait either, nor do transforms in evaluation mode."""
    assert simulated("waits_of_a_rollout") == []


def test_random_actions_never_wait(simulated: Callable[..., Any]) -> None:
    """Actions drawn from their spec stay on the device."""
    assert simulated("waits_while_exploring") == []


@pytest.mark.parametrize("options", [{}, {"max_frames_per_traj": 2}, None], ids=["policy", "limit", "random actions"])
def test_data_and_weights_are_those_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, simulated: Callable[..., Any], options: dict[str, Any] | None
) -> None:
    """Masks applied unseen give the batches, and the weights after them, that a look at the flags gives on the CPU."""
    monkeypatch.setattr("rl_modules._arrays._DTYPES", ())  # numpy, which rounds otherwise, takes no part
    expected = batches_on("cpu", options)
    found = simulated("batches_on", DEVICE, options)
    for mine, theirs in zip(expected, found, strict=True):
        assert mine.keys() == theirs.keys()
        assert [key for key in mine if not torch.equal(mine[key], theirs[key])] == []


@pytest.mark.parametrize(
    "name",
    [
        *("truth", "number", "mask", "masked write", "nonzero", "equal", "close", "unique"),
        *("to the host", "from the host", "a written constant", "a host's index", "copy in place", "an argument"),
    ],
)
def test_waits_are_seen(simulated: Callable[..., Any], name: str) -> None:
    """The simulation records each kind of wait, with the line that caused it."""
    waits, error = simulated("recorded", name)
    assert waits
    assert not error
    assert all("test_no_host_sync.py" in wait for wait in waits)


@pytest.mark.parametrize("name", ["two devices", "two devices, clamped"])
def test_operands_on_two_devices_are_refused(simulated: Callable[..., Any], name: str) -> None:
    """The simulation refuses what an accelerator refuses."""
    assert "same device" in simulated("recorded", name)[1]


@pytest.mark.parametrize("name", ["arithmetic", "selection", "queued copy", "draws"])
def test_what_does_not_wait_is_not_recorded(simulated: Callable[..., Any], name: str) -> None:
    """The simulation records nothing where a real device would not make the host wait."""
    assert simulated("recorded", name) == ([], "")
