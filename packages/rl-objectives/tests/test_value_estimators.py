"""Tests of the value estimators on batches."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor, nn

from rl_objectives import GAE, TD0Estimator, TD1Estimator, TDLambdaEstimator, ValueEstimatorBase, VTrace
from rl_objectives.functional import generalized_advantage_estimate
from rl_objectives.value.advantages import GAE as GAE_BY_OTHER_PATH
from rl_specs import MissingKeyError, ShapeError

Make = Callable[..., Any]
KINDS = ["gae", "td0", "td1", "td_lambda", "vtrace"]


def build(kind: str, actor: Any, critic: Any, **options: Any) -> ValueEstimatorBase:
    """Estimator of a kind, gamma 0.9."""
    if kind == "gae":
        return GAE(gamma=0.9, lmbda=0.8, value_network=critic, **options)
    if kind == "td_lambda":
        return TDLambdaEstimator(gamma=0.9, lmbda=0.8, value_network=critic, **options)
    if kind == "vtrace":
        return VTrace(gamma=0.9, value_network=critic, actor_network=actor, **options)
    return (TD0Estimator if kind == "td0" else TD1Estimator)(gamma=0.9, value_network=critic, **options)


class Recurrent(TensorDictModuleBase):
    """Critic with memory: a running sum of the observations since the last reset, fed to a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.in_keys = ["observation", "is_init"]
        self.out_keys = ["state_value"]
        self.head = nn.Linear(3, 1)

    def forward(self, tensordict: TensorDict) -> TensorDict:
        """Values of `[*B, T]` sequences."""
        observation, is_init = tensordict["observation"], tensordict["is_init"]
        memory = torch.zeros_like(observation[..., 0, :])
        out = []
        for t in range(observation.shape[-2]):
            memory = torch.where(is_init[..., t, :], 0.0, memory) + observation[..., t, :]
            out.append(self.head(memory.tanh()))
        return tensordict.set("state_value", torch.stack(out, -2))


def with_resets(data: TensorDict) -> TensorDict:
    """`data` with `is_init` after each done, and never after a step."""
    done = data["next", "done"]
    data["is_init"] = torch.cat([torch.ones_like(done[..., :1, :]), done[..., :-1, :]], -2)
    data["next", "is_init"] = torch.zeros_like(done)
    return data


def test_writes_in_place(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """The four entries are written into the batch that was given, which is returned, without gradients."""
    critic = make_critic()
    data = make_batch(make_actor(), 4, 6, estimates=False)
    gae = GAE(gamma=0.9, lmbda=0.8, value_network=critic)
    assert gae(data) is data
    value = critic(data.select("observation"))["state_value"].detach()
    next_value = critic(data["next"].select("observation"))["state_value"].detach()
    expected = generalized_advantage_estimate(
        0.9, 0.8, value, next_value, data["next", "reward"], data["next", "done"], data["next", "terminated"]
    )
    torch.testing.assert_close((data["advantage"], data["value_target"]), expected)
    torch.testing.assert_close(data["state_value"], value)
    torch.testing.assert_close(data["next", "state_value"], next_value)
    assert not any(data[key].requires_grad for key in ("advantage", "value_target", "state_value"))
    assert GAE_BY_OTHER_PATH is GAE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7)])
def test_shifted_equals_plain(
    kind: str, shape: tuple[int, ...], make_actor: Make, make_critic: Make, make_batch: Make
) -> None:
    """Computing each value once gives what computing both does, for any number of batch dimensions."""
    actor, critic = make_actor(), make_critic()
    data = make_batch(actor, *shape, estimates=False)
    plain = build(kind, actor, critic)(data.clone())
    shifted = build(kind, actor, critic, shifted=True)(data.clone())
    for key in ("advantage", "value_target", "state_value", ("next", "state_value")):
        torch.testing.assert_close(shifted[key], plain[key])


@pytest.mark.parametrize("kind", ["gae", "td0", "td1", "td_lambda"])
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_recurrent_critic_concatenated_equals_split(kind: str, lengths: list[int], seed: int) -> None:
    """With memory too, estimates of trajectories laid end to end are those of each by itself."""
    torch.manual_seed(seed)
    estimator = build(kind, None, Recurrent(), shifted=True)
    pieces = []
    for length in lengths:
        observations = torch.randn(length + 1, 3)
        done = torch.zeros(length, 1, dtype=torch.bool)
        done[-1] = True
        flags = {"done": done, "terminated": done & (torch.rand(1) < 0.5)}
        following = TensorDict({"observation": observations[1:], "reward": torch.randn(length, 1), **flags}, [length])
        pieces.append(with_resets(TensorDict({"observation": observations[:-1], "next": following}, [length])))
    joined = estimator(TensorDict.cat(pieces))
    apart = TensorDict.cat([estimator(piece.clone()) for piece in pieces])
    for key in ("advantage", "value_target", "state_value", ("next", "state_value")):
        torch.testing.assert_close(joined[key], apart[key], atol=1e-5, rtol=1e-5)


def test_time_is_the_dimension_named_time(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """A batch `[T, B]` whose first dimension is named, or given by `time_dim`, equals its transpose."""
    actor, critic = make_actor(), make_critic()
    data = make_batch(actor, 3, 7, estimates=False)
    expected = GAE(gamma=0.9, lmbda=0.8, value_network=critic)(data.clone())["advantage"]
    front = data.transpose(0, 1).contiguous()
    for shifted in (False, True):
        by_position = GAE(gamma=0.9, lmbda=0.8, value_network=critic, time_dim=0, shifted=shifted)(front.clone())
        torch.testing.assert_close(by_position["advantage"].transpose(0, 1), expected)
    named = front.clone()
    named.names = ["time", None]
    torch.testing.assert_close(
        GAE(gamma=0.9, lmbda=0.8, value_network=critic)(named)["advantage"].transpose(0, 1), expected
    )


def test_average_gae_standardises(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """The advantage has mean 0 and deviation 1; the target is that of the plain estimate."""
    critic = make_critic()
    data = make_batch(make_actor(), 4, 6, estimates=False)
    plain = GAE(gamma=0.9, lmbda=0.8, value_network=critic)(data.clone())
    scaled = GAE(gamma=0.9, lmbda=0.8, value_network=critic, average_gae=True)(data.clone())
    raw = plain["advantage"]
    torch.testing.assert_close(scaled["advantage"], (raw - raw.mean()) / raw.std())
    torch.testing.assert_close(scaled["value_target"], plain["value_target"])


@pytest.mark.parametrize("differentiable", [False, True])
def test_gradients_only_on_request(differentiable: bool, make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """Gradients reach the value network exactly when `differentiable`."""
    critic = make_critic()
    data = make_batch(make_actor(), 2, 5, estimates=False)
    advantage: Tensor = GAE(gamma=0.9, lmbda=0.8, value_network=critic, differentiable=differentiable)(data)[
        "advantage"
    ]
    assert advantage.requires_grad is differentiable
    if differentiable:
        gradients = torch.autograd.grad(advantage.sum(), list(critic.parameters()))
        assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_keys_can_be_renamed(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """Nested and renamed entries are read and written where `set_keys` says."""
    critic = make_critic()
    data = make_batch(make_actor(), 2, 5, estimates=False)
    expected = GAE(gamma=0.9, lmbda=0.8, value_network=critic)(data.clone())["advantage"]
    data["next"].rename_key_("reward", ("agents", "reward"))
    gae = GAE(gamma=0.9, lmbda=0.8, value_network=critic, advantage_key="a", value_target_key=("b", "c"))
    gae.set_keys(reward=("agents", "reward"))
    gae(data)
    torch.testing.assert_close(data["a"], expected)
    assert ("b", "c") in data.keys(True)
    assert ("next", "agents", "reward") in gae.in_keys
    assert gae.out_keys == ["a", ("b", "c"), "state_value"]


def test_unknown_key_name(make_critic: Make) -> None:
    """`set_keys` refuses a role that does not exist and names the near one."""
    with pytest.raises(KeyError, match="Did you mean value_target"):
        GAE(gamma=0.9, lmbda=0.8, value_network=make_critic()).set_keys(value_targets="x")


def test_existing_values_are_used(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """With `skip_existing`, or without a network, stored values stand; without either there is an error."""
    data = make_batch(make_actor(), 2, 5, estimates=False)
    data["state_value"] = torch.randn(2, 5, 1)
    data["next", "state_value"] = torch.randn(2, 5, 1)
    kept = data["state_value"].clone()
    skipping = GAE(gamma=0.9, lmbda=0.8, value_network=make_critic(), skip_existing=True)(data.clone())
    without = GAE(gamma=0.9, lmbda=0.8, value_network=None)(data.clone())
    torch.testing.assert_close(skipping["advantage"], without["advantage"])
    assert torch.equal(without["state_value"], kept)
    with pytest.raises(MissingKeyError, match="value_network is None"):
        GAE(gamma=0.9, lmbda=0.8, value_network=None)(data.exclude("state_value"))


@pytest.mark.parametrize("missing", ["reward", "done", "terminated", "observation"])
def test_missing_entries(missing: str, make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """A missing entry is named, with what to do."""
    data = make_batch(make_actor(), 2, 5, estimates=False).exclude(("next", missing))
    with pytest.raises(MissingKeyError, match=rf'"next", "{missing}"'):
        GAE(gamma=0.9, lmbda=0.8, value_network=make_critic())(data)


@pytest.mark.parametrize("kind", KINDS)
def test_flat_reward_is_refused(kind: str, make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """A `[B, T]` reward beside `[B, T, 1]` values is an error in every estimator."""
    actor = make_actor()
    data = make_batch(actor, 5, 5, estimates=False)
    data["next", "reward"] = data["next", "reward"].squeeze(-1)
    with pytest.raises(ShapeError, match="reward"):
        build(kind, actor, make_critic())(data)


def test_no_time_dimension(make_critic: Make) -> None:
    """A batch without dimensions has no time."""
    with pytest.raises(ShapeError, match="time"):
        GAE(gamma=0.9, lmbda=0.8, value_network=make_critic())(TensorDict({}, []))


def test_value_network_that_writes_elsewhere(make_actor: Make, make_batch: Make) -> None:
    """A network whose output has another name is named with its outputs."""
    critic = TensorDictModule(nn.Linear(3, 1), ["observation"], ["v"])
    data = make_batch(make_actor(), 2, 5, estimates=False)
    with pytest.raises(MissingKeyError, match=r'"state_value".*set_keys\(value='):
        GAE(gamma=0.9, lmbda=0.8, value_network=critic)(data)
    assert "v" in GAE(gamma=0.9, lmbda=0.8, value_network=critic, value_key="v")(data)


def test_vtrace_weights_the_stored_log_probability(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """On data of the policy itself V-trace is TD(1); on other data it is not."""
    actor, critic = make_actor(), make_critic()
    data = make_batch(actor, 3, 8, estimates=False)
    on_policy = build("vtrace", actor, critic)(data.clone())["value_target"]
    torch.testing.assert_close(
        on_policy, build("td1", actor, critic)(data.clone())["value_target"], atol=1e-5, rtol=1e-5
    )
    data["sample_log_prob"] += 1.0
    assert not torch.allclose(build("vtrace", actor, critic)(data.clone())["value_target"], on_policy)


@pytest.mark.parametrize("gamma", [0.5, torch.tensor(0.5)], ids=["number", "tensor"])
def test_td0_discounts_by_the_steps_of_each_sample(gamma: float | Tensor) -> None:
    """Samples of 1, 2 and 3 steps have discounts 1/2, 1/4 and 1/8: targets 1 + 4, 1 + 2 and, terminal, 1."""
    ends = torch.tensor([[False], [False], [True]])
    following = {"reward": torch.ones(3, 1), "done": ends, "terminated": ends, "state_value": torch.full((3, 1), 8.0)}
    steps = torch.tensor([[1], [2], [3]])
    data = TensorDict({"state_value": torch.zeros(3, 1), "steps_to_next_obs": steps, "next": following}, [3])
    estimator = TD0Estimator(gamma=gamma, value_network=None)
    assert estimator(data.clone())["value_target"].flatten().tolist() == [5.0, 3.0, 1.0]
    renamed = TD0Estimator(gamma=gamma, value_network=None).set_keys(steps_to_next_obs="n")
    assert renamed(data.clone())["value_target"].flatten().tolist() == [5.0, 5.0, 1.0]
    assert renamed(data.rename_key_("steps_to_next_obs", "n"))["value_target"].flatten().tolist() == [5.0, 3.0, 1.0]
    data["steps_to_next_obs"] = steps.flatten()
    with pytest.raises(ShapeError, match=r"steps_to_next_obs.*unsqueeze"):
        estimator(data)


@pytest.mark.parametrize("kind", ["gae", "td1", "td_lambda", "vtrace"])
def test_recursions_refuse_samples_of_several_steps(
    kind: str, make_actor: Make, make_critic: Make, make_batch: Make
) -> None:
    """Rewards of 3-step samples overlap, so an estimator that adds up rows names the entry and TD0 in its place."""
    actor, critic = make_actor(), make_critic()
    data = make_batch(actor, 2, 5, estimates=False)
    estimator = build(kind, actor, critic)
    expected = estimator(data.clone())["value_target"]
    data["steps_to_next_obs"] = torch.full((2, 5, 1), 3)
    for run in (estimator, estimator.value_estimate):
        says = rf'{type(estimator).__name__}: .*several.*"steps_to_next_obs".*TD0Estimator'
        with pytest.raises(ValueError, match=says):
            run(data)
    data.rename_key_("steps_to_next_obs", "n")
    torch.testing.assert_close(estimator(data)["value_target"], expected)
    with pytest.raises(ValueError, match=r'several.*"n"'):
        build(kind, actor, critic).set_keys(steps_to_next_obs="n")(data)


def test_shifted_td0_refuses_samples_of_several_steps(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """The value of the following row is not that of a next observation three steps on; values in the data are."""
    data = make_batch(make_actor(), 2, 5, estimates=False)
    data["steps_to_next_obs"] = torch.full((2, 5, 1), 3)
    with pytest.raises(ValueError, match=r"TD0Estimator\(shifted=True\).*Leave out shifted"):
        TD0Estimator(gamma=0.9, value_network=make_critic(), shifted=True)(data)
    plain = TD0Estimator(gamma=0.9, value_network=make_critic())(data.clone())
    stored = TD0Estimator(gamma=0.9, value_network=None, shifted=True)(plain.clone())
    torch.testing.assert_close(stored["value_target"], plain["value_target"])


def test_target_parameters_value_the_next_observations(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """`target_params` are used for next observations alone, and the network is left as it was."""
    critic = make_critic()
    data = make_batch(make_actor(), 2, 5, estimates=False)
    zeros = TensorDict.from_module(critic).data.clone().zero_()
    before = [parameter.clone() for parameter in critic.parameters()]
    gae = GAE(gamma=0.9, lmbda=0.8, value_network=critic)
    gae(data, target_params=zeros)
    assert (data["next", "state_value"] == 0).all()
    assert (data["state_value"] != 0).all()
    assert all(torch.equal(a, b) for a, b in zip(before, critic.parameters(), strict=True))
    torch.testing.assert_close(gae.value_estimate(data, target_params=zeros), data["value_target"])
    gae(data, params=zeros)
    assert (data["state_value"] == 0).all()


def test_compiles_in_one_graph(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """The module compiles without a break."""
    data = make_batch(make_actor(), 2, 5, estimates=False)
    gae = GAE(gamma=0.9, lmbda=0.8, value_network=make_critic())
    expected = gae(data.clone())["advantage"]
    torch.testing.assert_close(torch.compile(gae, fullgraph=True, backend="eager")(data)["advantage"], expected)
