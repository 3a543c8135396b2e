"""Networks, policies and buffers of the introduction and of the README: printed forms, shapes, modes of exploration."""

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import (
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictSequential,
    set_composite_lp_aggregate,
)
from torch import Tensor, nn

from rl_buffers import ReplayBuffer
from rl_envs import ExplorationType, set_exploration_type
from rl_modules import (
    MLP,
    Actor,
    ActorValueOperator,
    ConvNet,
    NormalParamExtractor,
    ProbabilisticActor,
    SafeModule,
    SquashDims,
    TanhNormal,
    ValueOperator,
)
from rl_objectives import GAE, ClipPPOLoss
from rl_specs import Bounded, BoundedTensorSpec

# ------------------------------------------------------------------------------------------------ networks


def test_mlp_prints_its_layers() -> None:
    """A lazy first layer, the asked activation between layers, none after the last."""
    network = MLP(num_cells=[32, 64], out_features=4, activation_class=nn.ELU)
    assert [line.strip() for line in repr(network).splitlines()] == [
        "MLP(",
        "(0): LazyLinear(in_features=0, out_features=32, bias=True)",
        "(1): ELU(alpha=1.0)",
        "(2): Linear(in_features=32, out_features=64, bias=True)",
        "(3): ELU(alpha=1.0)",
        "(4): Linear(in_features=64, out_features=4, bias=True)",
        ")",
    ]
    assert network(torch.randn(10, 3)).shape == torch.Size([10, 4])


def test_conv_net_prints_its_layers_and_squashes() -> None:
    """ELU by default, strides and kernels by layer, and an aggregator that flattens the image."""
    network = ConvNet(num_cells=[32, 64], kernel_sizes=[8, 4], strides=[2, 1], aggregator_class=SquashDims)
    assert [line.strip() for line in repr(network).splitlines()] == [
        "ConvNet(",
        "(0): LazyConv2d(0, 32, kernel_size=(8, 8), stride=(2, 2))",
        "(1): ELU(alpha=1.0)",
        "(2): Conv2d(32, 64, kernel_size=(4, 4), stride=(1, 1))",
        "(3): ELU(alpha=1.0)",
        "(4): SquashDims()",
        ")",
    ]
    assert network(torch.randn(10, 3, 32, 32)).shape == torch.Size([10, 6400])


@pytest.fixture
def sequence() -> TensorDictSequential:
    """A trunk, an actor on it, and an MLP that values both of their outputs."""
    torch.manual_seed(0)
    return TensorDictSequential(
        TensorDictModule(nn.Linear(5, 3), in_keys=["observation"], out_keys=["hidden"]),
        TensorDictModule(nn.Linear(3, 4), in_keys=["hidden"], out_keys=["action"]),
        TensorDictModule(MLP(out_features=1, num_cells=[4, 5]), in_keys=["hidden", "action"], out_keys=["value"]),
    )


def test_an_mlp_reads_several_entries(sequence: TensorDictSequential) -> None:
    """Its inputs are concatenated; the sequence asks for what it does not write itself."""
    assert list(sequence.in_keys) == ["observation"]
    assert list(sequence.out_keys) == ["hidden", "action", "value"]
    data = sequence(TensorDict({"observation": torch.randn(3, 5)}, [3]))
    expected = {"observation": (3, 5), "hidden": (3, 3), "action": (3, 4), "value": (3, 1)}
    assert {key: tuple(value.shape) for key, value in data.items()} == expected
    printed = repr(sequence)
    assert "(1): Tanh()" in printed
    assert "(2): Linear(in_features=4, out_features=5, bias=True)" in printed


def test_parameters_as_a_tensordict_run_ensembles(sequence: TensorDictSequential) -> None:
    """Extracted parameters can be swapped in, and a stack of them runs under `vmap`."""
    data = TensorDict({"observation": torch.randn(3, 5)}, [3])
    value = sequence(data.clone())["value"]
    params = TensorDict.from_module(sequence)
    assert params["module", "2", "module", "0", "weight"].shape == torch.Size([4, 7])
    with params.to_module(sequence):
        assert torch.equal(sequence(data.clone())["value"], value)
    stack = TensorDict.stack([params.data * factor for factor in (0.0, 1.0, 2.0, 3.0)])

    def call(one: TensorDict, batch: TensorDict) -> TensorDict:
        with one.to_module(sequence):
            result: TensorDict = sequence(batch)
            return result

    ensemble = torch.vmap(call, (0, None))(stack, data)
    assert ensemble.batch_size == torch.Size([4, 3])
    assert ensemble["value"].shape == torch.Size([4, 3, 1])
    assert torch.allclose(ensemble["value"][1], value, atol=1e-6)
    assert (ensemble["value"][0] == 0).all()


# ------------------------------------------------------------------------------------------------ policies


@pytest.mark.parametrize("spec_class", [Bounded, BoundedTensorSpec])
def test_safe_module_projects_its_output(spec_class: type[Bounded]) -> None:
    """With `safe=True` an output outside of its spec is moved to the nearest value inside, with a gradient."""
    torch.manual_seed(0)
    spec = spec_class(-torch.ones(3), torch.ones(3))
    module = SafeModule(module=nn.Linear(5, 3), spec=spec, in_keys=["obs"], out_keys=["action"], safe=True)
    small, large = (TensorDict({"obs": torch.ones(5) * factor}, []) for factor in (0.05, 1e3))
    inside, outside = module(small)["action"], module(large)["action"]
    assert torch.equal(inside, module.module(small["obs"]))
    assert torch.equal(outside.detach().abs(), torch.ones(3))
    assert inside.grad_fn is not None
    assert outside.grad_fn is not None


def test_actor_writes_an_action_by_default() -> None:
    """`Actor` needs no `out_keys`."""
    actor = Actor(nn.Linear(5, 3), in_keys=["obs"])
    assert set(actor(TensorDict({"obs": torch.randn(5)}, [])).keys()) == {"obs", "action"}


def make_sequential(is_scored: bool) -> ProbabilisticTensorDictSequential:
    """A policy of tensordict's own modules over the distribution of this library."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4), NormalParamExtractor())
    return ProbabilisticTensorDictSequential(
        TensorDictModule(network, in_keys=["input"], out_keys=["loc", "scale"]),
        ProbabilisticTensorDictModule(
            in_keys=["loc", "scale"],
            out_keys=["action"],
            distribution_class=TanhNormal,
            return_log_prob=is_scored,
        ),
    )


@pytest.mark.parametrize("is_scored", [False, True])
def test_probabilistic_modules_of_tensordict(is_scored: bool) -> None:
    """Parameters, the action and, where asked for, one log-probability a row."""
    with set_composite_lp_aggregate(True):
        data = make_sequential(is_scored)(TensorDict({"input": torch.randn(3, 5)}, [3]))
    shapes = {key: tuple(value.shape) for key, value in data.items()}
    expected = {"input": (3, 5), "loc": (3, 2), "scale": (3, 2), "action": (3, 2)}
    assert shapes == expected | ({"sample_log_prob": (3,)} if is_scored else {})
    assert bool((data["scale"] > 0).all())
    assert bool((data["action"].abs() < 1).all())


@pytest.mark.parametrize(
    "mode",
    [ExplorationType.MODE, ExplorationType.MEAN, ExplorationType.DETERMINISTIC, ExplorationType.RANDOM],
)
def test_exploration_chooses_what_a_policy_writes(mode: ExplorationType) -> None:
    """`RANDOM` draws anew at each call; the others repeat themselves, and have a gradient."""
    policy, data = make_sequential(True), TensorDict({"input": torch.randn(3, 5)}, [3])
    with set_exploration_type(mode):
        first, second = policy(data.clone())["action"], policy(data.clone())["action"]
    assert torch.equal(first, second) is (mode is not ExplorationType.RANDOM)
    assert first.grad_fn is not None


def test_deterministic_is_the_squashed_location_and_mean_the_expectation() -> None:
    """For a tanh-normal, `MODE` and `DETERMINISTIC` map the location; `MEAN` is the mean over draws."""
    policy = make_sequential(False)
    actions: dict[str, Tensor] = {}
    data = TensorDict({"input": torch.randn(3, 5)}, [3])
    for name in ("MODE", "DETERMINISTIC", "MEAN"):
        with set_exploration_type(ExplorationType[name]), torch.no_grad():
            out = policy(data.clone())
            actions[name] = out["action"]
    assert torch.allclose(actions["MODE"], out["loc"].tanh(), atol=1e-6)
    assert torch.equal(actions["MODE"], actions["DETERMINISTIC"])
    draws = TanhNormal(out["loc"], out["scale"]).sample(torch.Size([200_000]))
    assert torch.allclose(actions["MEAN"], draws.mean(0), atol=0.01)


def test_the_actor_of_the_readme() -> None:
    """Bounds as numbers, parameters positional, a lazy network; advantage and loss return what they wrote."""
    params = TensorDictModule(
        nn.Sequential(nn.LazyLinear(16), nn.Tanh(), nn.Linear(16, 2), NormalParamExtractor()),
        in_keys=["observation"],
        out_keys=["loc", "scale"],
    )
    actor = ProbabilisticActor(
        params,
        in_keys=["loc", "scale"],
        out_keys=["action"],
        distribution_class=TanhNormal,
        distribution_kwargs={"low": -1.0, "high": 1.0},
        return_log_prob=True,
    )
    critic = ValueOperator(nn.LazyLinear(1), in_keys=["observation"])
    data = TensorDict({"observation": torch.randn(4, 6, 3), "next": {"observation": torch.randn(4, 6, 3)}}, [4, 6])
    for key in ("done", "terminated"):
        data["next", key] = torch.zeros(4, 6, 1, dtype=torch.bool)
    data["next", "reward"] = torch.randn(4, 6, 1)
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        actor(data)
        critic(data)
    loss, advantage = (
        ClipPPOLoss(actor_network=actor, critic_network=critic),
        GAE(value_network=critic, gamma=0.99, lmbda=0.95),
    )
    data = advantage(data)
    losses = loss(data)
    (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
    assert all(parameter.grad is not None for parameter in loss.parameters())


def test_actor_value_operator_shares_a_trunk() -> None:
    """Policy and value operators run the trunk and one head; the whole runs each part once."""
    torch.manual_seed(0)
    trunk = TensorDictModule(nn.Linear(3, 4), in_keys=["observation"], out_keys=["hidden"])
    head = TensorDictModule(
        nn.Sequential(nn.Linear(4, 4), NormalParamExtractor()), in_keys=["hidden"], out_keys=["loc", "scale"]
    )
    policy = ProbabilisticActor(head, in_keys=["loc", "scale"], distribution_class=TanhNormal, return_log_prob=True)
    both = ActorValueOperator(trunk, policy, ValueOperator(nn.Linear(4, 1), in_keys=["hidden"]))
    data = TensorDict({"observation": torch.randn(2, 3)}, [2])
    everything = both(data.clone())
    assert {"hidden", "loc", "scale", "action", "sample_log_prob", "state_value"} <= set(everything.keys())
    acted, valued = both.get_policy_operator()(data.clone()), both.get_value_operator()(data.clone())
    assert "state_value" not in set(acted.keys())
    assert "action" not in set(valued.keys())
    assert torch.equal(valued["state_value"], everything["state_value"])
    held = {id(parameter) for parameter in both.get_policy_operator().parameters()}
    assert {id(parameter) for parameter in trunk.parameters()} < held


# ------------------------------------------------------------------------------------------------ buffers


def test_a_buffer_of_objects() -> None:
    """Without a storage a buffer keeps anything; `collate_fn` makes the batch."""
    buffer = ReplayBuffer(collate_fn=lambda items: items)
    buffer.add(1)
    assert buffer.sample(1) == [1]
    buffer.extend([2, 3])
    assert len(buffer) == 3
    drawn = [item for _ in range(30) for item in buffer.sample(3)]
    assert set(drawn) == {1, 2, 3}


def test_a_buffer_of_tensordicts() -> None:
    """Rows of `add` and `extend` are stacked; more rows than there are can be asked for."""
    buffer = ReplayBuffer(collate_fn=torch.stack)
    buffer.add(TensorDict({"a": torch.randn(3)}, batch_size=[]))
    assert len(buffer) == 1
    buffer.extend(TensorDict({"a": torch.randn(2, 3)}, batch_size=[2]))
    assert len(buffer) == 3
    assert buffer.sample(10)["a"].shape == torch.Size([10, 3])
    assert buffer.sample(2).contiguous().batch_size == torch.Size([2])
