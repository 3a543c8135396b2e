"""Collection in a worker: its data are those of collection in this process, with weights of a known age."""

import copy
import io
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import nn

from rl_collectors import Collector, Overlap, WiringError
from rl_envs import (
    DoubleToFloat,
    EnvBase,
    ExplorationType,
    GymEnv,
    PendulumEnv,
    RewardSum,
    StepCounter,
    Transform,
    TransformedEnv,
    VecNorm,
)


class NoisyPolicy(nn.Module):
    """Draws from torch's global stream as it acts, and drops inputs in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Action `[*B, 1]`."""
        location: torch.Tensor = self.layers(observation)
        return (location + 0.1 * torch.randn_like(location)).clamp(-2.0, 2.0)


class SlowLayer(nn.Linear):
    """Takes its time."""

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Action `[*B, 1]`."""
        time.sleep(0.03)
        return super().forward(observation).clamp(-2.0, 2.0)


class Noise(Transform):
    """Adds draws from the global streams of Python and numpy to the reward."""

    def __init__(self) -> None:
        super().__init__(["reward"])

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        return value + random.gauss() + np.random.randn()


def noisy_policy() -> TensorDictModule:
    """The same policy each time."""
    torch.manual_seed(0)
    return TensorDictModule(NoisyPolicy(), in_keys=["observation"], out_keys=["action"])


def transformed(env: EnvBase) -> TransformedEnv:
    """The usual transforms, with short episodes so that resets fall inside a batch."""
    out = TransformedEnv(env)
    for transform in (VecNorm(in_keys=["observation"]), RewardSum(), StepCounter(max_steps=7), DoubleToFloat()):
        out.append_transform(transform)
    return out


ENVS: dict[str, Callable[[], EnvBase]] = {
    "gym": lambda: transformed(GymEnv("Pendulum-v1")),
    "gym-3": lambda: transformed(GymEnv("Pendulum-v1", num_envs=3)),
    "native-2x2": lambda: transformed(PendulumEnv(batch_size=(2, 2))),
    "noisy": lambda: TransformedEnv(transformed(PendulumEnv()), Noise()),
}
BATCHES = 5
STEPS = 10


def forked(batches: int) -> Overlap:
    """A worker that starts fast."""
    return Overlap(batches, start_method="fork")


def make_collector(
    env: str, policy: Any, overlap: Overlap | None, total_batches: int = BATCHES, **options: Any
) -> Collector:
    """Batches of ten steps, from a seeded environment."""
    frames = STEPS * max(1, ENVS[env]().batch_size.numel())
    collector = Collector(
        ENVS[env], policy, frames_per_batch=frames, total_frames=total_batches * frames, overlap=overlap, **options
    )
    collector.set_seed(3)
    return collector


def seed_all(seed: int) -> None:
    """Seed the global streams."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def learn(policy: nn.Module, collector: Collector) -> None:
    """Change the weights, drawing from torch's global stream on the way."""
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1 * torch.rand_like(parameter))
    collector.update_policy_weights_()


def train(env: str, overlap: Overlap | None, **options: Any) -> tuple[list[TensorDictBase], torch.Tensor]:
    """Batches of a training run, and draws of the global streams after it."""
    policy = noisy_policy()
    collector = make_collector(env, policy, overlap, **options)
    seed_all(1)
    batches = []
    for batch in collector:
        batches.append(batch)
        learn(policy, collector)
    collector.shutdown()
    return batches, torch.tensor([torch.rand(()), random.gauss(), random.random(), np.random.randn()])


def assert_same(found: TensorDictBase, expected: TensorDictBase) -> None:
    """Two batches are equal to the last bit, names included."""
    assert set(found.keys(True, True)) == set(expected.keys(True, True))
    assert found.batch_size == expected.batch_size
    assert found.names == expected.names
    for key in expected.keys(True, True):
        assert torch.equal(found[key], expected[key]), key


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "random frames": {"init_random_frames": 15},
    "split": {"split_trajs": True},
    "anew": {"reset_at_each_iter": True, "max_frames_per_traj": 4},
    "deterministic": {"exploration_type": ExplorationType.DETERMINISTIC, "postproc": lambda td: td.exclude("done")},
}


@pytest.mark.parametrize(("env", "option"), [*((env, "plain") for env in ENVS), *(("gym", name) for name in OPTIONS)])
def test_without_lag_the_data_are_those_of_one_process(env: str, option: str, leaves_nothing: None) -> None:
    """A worker that waits for the learner gives bitwise the batches, and leaves the random streams, of no worker."""
    expected, expected_draw = train(env, None, **OPTIONS[option])
    found, draw = train(env, forked(0), **OPTIONS[option])
    assert len(found) == BATCHES
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)
    assert torch.equal(draw, expected_draw)


def test_a_fresh_interpreter_takes_lambdas(leaves_nothing: None) -> None:
    """By default the worker is a fresh interpreter; it is sent local functions as they are, and gives the same data."""
    batches = []
    limit = 4
    for overlap in (None, 0):
        torch.manual_seed(0)
        policy = TensorDictModule(nn.Linear(3, 1), in_keys=["observation"], out_keys=["action"])
        make = lambda: TransformedEnv(GymEnv("Pendulum-v1"), StepCounter(max_steps=limit))  # noqa: E731  the point
        collector = Collector(make, policy, frames_per_batch=STEPS, overlap=overlap)
        collector.set_seed(3)
        batches.append(collector.rollout())
        collector.shutdown()
    assert_same(*batches)


@pytest.mark.parametrize("ahead", [1, 2])
def test_lag_is_the_age_of_the_weights(ahead: int, leaves_nothing: None) -> None:
    """Batch n is bitwise that of one process in which the weights of n - lag updates act, and says so."""
    found, _ = train("gym-3", forked(ahead))
    versions = [batch["collector", "policy_version"].unique().tolist() for batch in found]
    assert versions == [[max(0, n - ahead)] for n in range(BATCHES)]

    policy = noisy_policy()
    collector = make_collector("gym-3", policy, None)
    torch.manual_seed(1)
    learner, worker = torch.Generator(), torch.Generator()
    worker.manual_seed(int(torch.randint(2**63 - 1, ())))
    learner.set_state(torch.get_rng_state())
    weights = [copy.deepcopy(policy.state_dict())]
    for number, batch in enumerate(found):
        policy.load_state_dict(weights[max(0, number - ahead)])
        torch.set_rng_state(worker.get_state())
        expected = collector.rollout()
        worker.set_state(torch.get_rng_state())
        torch.set_rng_state(learner.get_state())
        for key in expected.keys(True, True):
            assert key[0] == "collector" or torch.equal(batch[key], expected[key]), key
        assert torch.equal(batch["collector", "traj_ids"], expected["collector", "traj_ids"])
        policy.load_state_dict(weights[-1])
        learn(policy, collector)
        weights.append(copy.deepcopy(policy.state_dict()))
        learner.set_state(torch.get_rng_state())


@pytest.mark.parametrize("env", ["gym-3", "noisy"])
@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_same_seed_same_data(ahead: int, env: str) -> None:
    """Two runs from one seed are the same to the last bit, however fast learner and worker are."""
    (one, one_draw), (other, other_draw) = train(env, forked(ahead)), train(env, forked(ahead))
    for a, b in zip(one, other, strict=True):
        assert_same(a, b)
    assert torch.equal(one_draw, other_draw)


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_a_batch_belongs_to_the_caller(ahead: int) -> None:
    """Collecting on leaves earlier batches as they were."""
    collector = make_collector("gym-3", noisy_policy(), forked(ahead), total_batches=6)
    batches, copies = [], []
    for batch in collector:
        batches.append(batch)
        copies.append(batch.clone())
    collector.shutdown()
    assert all((batch == copy).all() for batch, copy in zip(batches, copies, strict=True))


@pytest.mark.parametrize("ahead", [0, 1])
def test_new_weights_act_after_the_lag(ahead: int) -> None:
    """With the weights set to zero all later actions but those of the lag are zero."""
    policy = TensorDictModule(nn.Linear(3, 1), in_keys=["observation"], out_keys=["action"])
    collector = make_collector("gym", policy, forked(ahead))
    collector.rollout()
    for parameter in policy.parameters():
        nn.init.zeros_(parameter)
    collector.update_policy_weights_()
    is_zero = [bool((collector.rollout()["action"] == 0).all()) for _ in range(3)]
    collector.shutdown()
    assert is_zero == [ahead == 0, True, True]


def test_weights_of_a_closure_travel_too() -> None:
    """A policy that is no module is sent anew with each request, so that what it holds is never stale."""
    weight = torch.ones(1)

    def policy(data: TensorDictBase) -> TensorDictBase:
        return data.set("action", weight.expand(1).clone())

    collector = make_collector("gym", policy, forked(0))
    actions = []
    for value in (1.0, 0.5, 0.0):
        weight.fill_(value)
        actions.append(collector.rollout()["action"].unique().tolist())
    collector.shutdown()
    assert actions == [[1.0], [0.5], [0.0]]


def test_a_replaced_network_and_a_changed_mode_act() -> None:
    """Modules put in the place of others, of other sizes too, and `eval()` reach the worker."""
    policy = TensorDictModule(
        nn.Sequential(nn.Linear(3, 1), nn.Dropout(1.0)), in_keys=["observation"], out_keys=["action"]
    )
    collector = make_collector("gym", policy, forked(0))
    assert (collector.rollout()["action"] == 0).all()
    policy.eval()
    assert (collector.rollout()["action"] != 0).all()
    last = nn.Linear(5, 1)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 0.25)
    policy.module = nn.Sequential(nn.Linear(3, 5), last)
    assert (collector.rollout()["action"] == 0.25).all()
    collector.shutdown()


def test_weights_in_shared_memory_stay_the_learners() -> None:
    """A forked worker does not write older weights over those that the learner has gone on to."""
    policy = TensorDictModule(SlowLayer(3, 1), in_keys=["observation"], out_keys=["action"])
    policy.share_memory()
    collector = make_collector("gym", policy, forked(2), total_batches=3)
    collector.rollout()
    for parameter in policy.parameters():  # while the worker makes the second batch, and the third is asked for
        nn.init.constant_(parameter, 7.0)
    collector.rollout()
    third = collector.rollout()
    collector.shutdown()
    assert int(third["collector", "policy_version"].max()) == 0
    assert all((parameter == 7.0).all() for parameter in policy.parameters())


@pytest.mark.parametrize("env", ["gym", "noisy"])
@pytest.mark.parametrize("ahead", [1, 40])
def test_a_state_read_back_goes_on_with_every_stream(ahead: int, env: str) -> None:
    """Exact resume holds for environments that draw from the global streams of Python and numpy, far ahead as well."""
    collector = make_collector(env, None, forked(ahead), total_batches=45)
    collector.rollout()
    state = copy.deepcopy(collector.state_dict())
    expected = list(collector)
    collector.shutdown()
    assert len(state["ahead"]["batches"]) == ahead
    seed_all(99)
    resumed = make_collector(env, None, forked(ahead), total_batches=45)
    resumed.load_state_dict(state)
    found = list(resumed)
    resumed.shutdown()
    assert len(found) == 44
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("batches_before", [0, 1, 3])
@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_resume_is_bitwise(ahead: int, batches_before: int) -> None:
    """A saved state, read back as a checkpoint is, continues to the batches that would have come."""
    policy = noisy_policy()
    collector = make_collector("gym-3", policy, forked(ahead))
    torch.manual_seed(1)
    for _ in range(batches_before):
        collector.rollout()
        learn(policy, collector)
    file = io.BytesIO()
    torch.save((collector.state_dict(), policy.state_dict(), torch.get_rng_state()), file)
    expected = []
    for batch in collector:
        expected.append(batch)
        learn(policy, collector)
    collector.shutdown()

    file.seek(0)
    state, weights, random = torch.load(file, weights_only=True)
    policy.load_state_dict(weights)
    resumed = make_collector("gym-3", policy, forked(ahead))
    resumed.rollout()
    resumed.load_state_dict(state)
    torch.set_rng_state(random)
    policy.load_state_dict(weights)
    found = []
    for batch in resumed:
        found.append(batch)
        learn(policy, resumed)
    resumed.shutdown()
    assert len(found) == BATCHES - batches_before
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def test_states_go_from_process_to_worker_and_back() -> None:
    """Without batches ahead the states of a worker and of no worker are the same."""
    policy = noisy_policy()
    plain, other = make_collector("gym", policy, None), make_collector("gym", policy, forked(0))
    plain.rollout()
    other.load_state_dict(plain.state_dict())
    random = torch.get_rng_state()
    expected = plain.rollout()
    torch.set_rng_state(random)
    assert_same(other.rollout(), expected)
    plain.load_state_dict(other.state_dict())
    other.shutdown()
    assert plain.collected_frames == 2 * STEPS


@pytest.mark.parametrize("overlap", [None, forked(0)])
def test_batches_ahead_are_not_lost_silently(overlap: Overlap | None) -> None:
    """A state with a batch collected ahead does not load where none may be ahead."""
    collector = make_collector("gym", None, forked(1))
    collector.rollout()
    state = collector.state_dict()
    collector.shutdown()
    other = make_collector("gym", None, overlap)
    with pytest.raises(ValueError, match=r"more batches collected ahead.*Make the collector with overlap=1"):
        other.load_state_dict(state)
    other.shutdown()


@pytest.mark.parametrize("ahead", [1, 2])
def test_no_batch_beyond_the_last_is_collected(ahead: int) -> None:
    """At `total_frames` nothing is under way."""
    collector = make_collector("gym", None, forked(ahead))
    assert len(list(collector)) == BATCHES
    assert collector.state_dict()["ahead"]["batches"] == []
    collector.shutdown()


def test_reset_drops_what_is_ahead() -> None:
    """After `reset` the next batch starts new trajectories, whatever has been collected already."""
    collector = make_collector("gym", None, forked(1))
    first = collector.rollout()
    assert not (first["step_count"][0] == collector.rollout()["step_count"][0]).all()
    collector.reset()
    assert collector.rollout()["step_count"][0].tolist() == [0]
    collector.shutdown()


def test_trajectory_ids_are_unique_over_the_run() -> None:
    """An id names one trajectory, in batches collected ahead too."""
    batches, _ = train("gym-3", forked(1))
    collected = TensorDict.cat(batches, -1)
    ids, done = collected["collector", "traj_ids"], collected["next", "done"].squeeze(-1)
    assert torch.equal(ids[:, 1:] != ids[:, :-1], done[:, :-1])
    assert len(set(ids.flatten().tolist())) == 3 * -(-BATCHES * STEPS // 7)


def test_mistakes_are_told_as_without_a_worker() -> None:
    """What is wrong with frames, keys or environments is raised here, as it is."""
    with pytest.raises(ValueError, match=r"multiple of 4, found 10\. Pass frames_per_batch=8 or 12"):
        Collector(lambda: PendulumEnv((4,)), None, frames_per_batch=10, overlap=forked(1))
    policy = TensorDictModule(nn.Linear(3, 1), in_keys=["observations"], out_keys=["action"])
    collector = Collector(PendulumEnv, policy, frames_per_batch=4, overlap=forked(1))
    with pytest.raises(WiringError, match='Did you mean "observation"'):
        collector.rollout()
    collector.shutdown()
    with pytest.raises(RuntimeError, match="already shut down"):
        collector.rollout()


def test_the_environment_is_the_workers() -> None:
    """An environment made here is refused, and the worker's cannot be touched."""
    with pytest.raises(TypeError, match=r"cannot move to the worker.*Pass lambda: PendulumEnv"):
        Collector(PendulumEnv(), None, frames_per_batch=4, overlap=1)
    collector = Collector(PendulumEnv, None, frames_per_batch=4, overlap=forked(1))
    with pytest.raises(RuntimeError, match="the environment lives in the worker"):
        _ = collector.env
    collector.shutdown()


def test_a_policy_without_shapes_is_refused() -> None:
    """Lazy layers must have seen data, or their weights could not be brought to the worker."""
    policy = TensorDictModule(nn.LazyLinear(1), in_keys=["observation"], out_keys=["action"])
    with pytest.raises(ValueError, match=r"shape is not known.*Call it once"):
        Collector(PendulumEnv, policy, frames_per_batch=4, overlap=1)


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), (0.5, TypeError)])
def test_overlap_is_checked(value: Any, error: type[Exception]) -> None:
    """A number of batches that makes no sense, an unknown start method and a limit of nothing are refused."""
    with pytest.raises(error, match="overlap"):
        Collector(PendulumEnv, None, frames_per_batch=4, overlap=value)
    with pytest.raises(error, match="batches"):
        Overlap(value)
    with pytest.raises(ValueError, match="start_method"):
        Overlap(1, start_method="thread")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(ValueError, match="timeout_s"):
        Overlap(1, timeout_s=0.0)
