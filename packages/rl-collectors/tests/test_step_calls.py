"""Steps under `torch.compile`."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from rl_collectors import Collector
from rl_envs import ClipTransform, ExplorationType, GymEnv, PendulumEnv, RewardSum, StepCounter, TransformedEnv, VecNorm
from rl_modules import MLP, NormalParamExtractor, ProbabilisticActor, TanhNormal

EAGER = {"backend": "eager"}
BOUNDS: dict[str, Any] = {"low": -2.0, "high": 2.0, "tanh_loc": False}


def make_env(num_envs: int) -> TransformedEnv:
    """Pendulums whose episodes end within a batch."""
    transforms = [
        VecNorm(in_keys=["observation"]),
        ClipTransform(in_keys=["observation"], low=-2.0, high=2.0),
        RewardSum(),
        StepCounter(max_steps=3),
    ]
    return TransformedEnv(PendulumEnv((num_envs,), seed=1), transforms)


def make_policy() -> ProbabilisticActor:
    """A tanh-normal policy, whose noise can be told from its action."""
    network = nn.Sequential(
        MLP(in_features=3, out_features=2, num_cells=[8], activation_class=nn.Tanh), NormalParamExtractor()
    )
    return ProbabilisticActor(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        distribution_kwargs=BOUNDS,
        return_log_prob=True,
    )


def collect(num_envs: int, batches: int = 4, steps: int = 8, **options: Any) -> list[TensorDictBase]:
    """Batches under changing weights, and with a new network from the third batch on."""
    torch.manual_seed(0)
    policy: Any = make_policy()
    collector = Collector(make_env(num_envs), policy, frames_per_batch=num_envs * steps, **options)
    found = []
    for index in range(batches):
        if index == 2:
            policy.module[0].module = TensorDictModule.get_submodule(make_policy(), "module.0.module")
        for parameter in policy.parameters():
            parameter.data.mul_(1.1)
        collector.update_policy_weights_()
        found.append(collector.rollout())
    return found


def different(mine: TensorDictBase, theirs: TensorDictBase, tolerance: float) -> list[Any]:
    """Keys of the entries that differ."""
    assert set(mine.keys(True, True)) == set(theirs.keys(True, True))
    pairs = {key: (mine[key].double(), theirs[key].double()) for key in mine.keys(True, True)}
    return [key for key, (a, b) in pairs.items() if not torch.allclose(a, b, rtol=tolerance, atol=tolerance)]


@pytest.mark.parametrize("num_envs", [1, 6])
@pytest.mark.parametrize("options", [{}, {"max_frames_per_traj": 2}, {"init_random_frames": 10}], ids=str)
def test_compiled_steps_give_the_same_batches(
    monkeypatch: pytest.MonkeyPatch, num_envs: int, options: dict[str, Any]
) -> None:
    """Traced into graphs, a step gives bit by bit what it gives without, after new weights and new layers too."""
    monkeypatch.setattr("rl_modules._arrays._DTYPES", ())  # numpy, which rounds otherwise, takes no part without graphs
    plain = collect(num_envs, **options)
    traced = collect(num_envs, compile_step=EAGER, **options)
    assert all(batch["next", "done"].any() for batch in plain)
    assert [different(mine, theirs, 0.0) for mine, theirs in zip(traced, plain, strict=True)] == [[]] * 4


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("inductor")
def test_lowered_graphs_give_the_same_batches_but_for_rounding(backend: str) -> None:
    """Without noise, graphs lowered as for generated kernels compute what torch's own operations do."""
    plain = collect(4, exploration_type=ExplorationType.DETERMINISTIC)
    compiled = collect(4, exploration_type=ExplorationType.DETERMINISTIC, compile_step={"backend": backend})
    assert [different(mine, theirs, 1e-3) for mine, theirs in zip(compiled, plain, strict=True)] == [[]] * 4


@pytest.fixture
def inductor() -> Iterator[None]:
    """Inductor's own imports use what torch has deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def noise_of(batch: TensorDictBase) -> Tensor:
    """Standard noise of the actions, `[num_envs, T]`."""
    pre_image = (batch["action"].double() / 2).atanh()
    noise: Tensor = ((pre_image - batch["loc"]) / batch["scale"]).squeeze(-1)
    return noise


@pytest.mark.slow
@pytest.mark.usefixtures("inductor")
def test_generated_kernels_sample_the_same_distribution() -> None:
    """Noise of inductor is standard normal, and independent from row to row, step to step and batch to batch."""
    second, third = (noise_of(batch)[:, 1:] for batch in collect(500, 3, steps=21, compile_step=True)[1:])
    noise = torch.cat([second, third])
    bound = 5 / noise.numel() ** 0.5
    assert abs(float(noise.mean())) < bound
    assert abs(float(noise.std()) - 1) < bound
    assert abs(float(noise.pow(4).mean()) - 3) < 10 * bound
    pairs = [(noise[:, 1:], noise[:, :-1]), (noise[1:], noise[:-1]), (second, third)]
    assert all(abs(float((a * b).mean())) < 5 / a.numel() ** 0.5 for a, b in pairs)
    assert torch.unique(noise).numel() > 0.99 * noise.numel()


@pytest.mark.slow
@pytest.mark.usefixtures("inductor")
def test_log_probabilities_of_generated_kernels_are_of_their_samples() -> None:
    """What is stored as the log-probability is that of the stored action under the stored parameters."""
    batch = collect(6, 2, compile_step=True)[1]
    expected = TanhNormal(batch["loc"], batch["scale"], **BOUNDS).log_prob(batch["action"])
    torch.testing.assert_close(batch["sample_log_prob"], expected, rtol=1e-4, atol=1e-4)


def test_exploration_can_change_between_batches() -> None:
    """A graph that samples is not run where the most likely action is asked for."""
    collector = Collector(make_env(4), make_policy(), frames_per_batch=32, compile_step=EAGER)
    collector.rollout()
    collector.rollout()
    collector.exploration_type = ExplorationType.DETERMINISTIC
    batch = collector.rollout()
    torch.testing.assert_close(batch["action"], 2 * batch["loc"].tanh())


def test_many_collectors_do_not_use_up_each_others_graphs() -> None:
    """The number of graphs of a function is limited per collector, not per process."""
    for num_envs in range(2, 12):
        collector = Collector(PendulumEnv((num_envs,)), None, frames_per_batch=2 * num_envs, compile_step=EAGER)
        assert [collector.rollout().shape for _ in range(2)] == [(num_envs, 2)] * 2


def test_what_cannot_be_compiled_says_so() -> None:
    """A simulator outside of torch is refused with advice, at the second batch."""
    env = GymEnv("Pendulum-v1", num_envs=2)
    collector = Collector(env, None, frames_per_batch=8, compile_step=EAGER)
    collector.rollout()
    with pytest.raises(RuntimeError, match=r"Collector: a step cannot be compiled.*Leave compile_step out"):
        collector.rollout()
    collector.shutdown()


def test_other_values_are_refused() -> None:
    """`compile_step` is a bool or a mapping."""
    with pytest.raises(TypeError, match=r"compile_step. Expected a bool or a mapping, found .max-autotune."):
        Collector(make_env(1), None, frames_per_batch=8, compile_step="max-autotune")  # type: ignore[arg-type]
