"""Stochastic policies."""

import copy
import pickle
import re
from typing import Any

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
from torch import nn
from torch.distributions import Normal

from rl_modules import (
    MLP,
    AddStateIndependentNormalScale,
    CompositeDistribution,
    ExplorationType,
    IndependentNormal,
    MaskedCategorical,
    NormalParamExtractor,
    OneHotCategorical,
    ProbabilisticActor,
    SafeModule,
    TanhNormal,
    set_exploration_type,
)
from rl_specs import Bounded, Composite, MissingKeyError


def _network(out_keys: Any = ("loc", "scale")) -> TensorDictModule:
    net = nn.Sequential(nn.Linear(3, 4), NormalParamExtractor())
    return TensorDictModule(net, in_keys=["observation"], out_keys=list(out_keys))


def _actor(**arguments: Any) -> ProbabilisticActor:
    settings: dict[str, Any] = {"in_keys": ["loc", "scale"], "distribution_class": TanhNormal, **arguments}
    return ProbabilisticActor(_network(), **settings)


def _data(*batch: int) -> TensorDict:
    return TensorDict({"observation": torch.randn(*batch, 3)}, batch)


def test_actor_of_the_mujoco_tutorial() -> None:
    """Bounds as `low`/`high` tensors, a composite spec and random actions by default give actions and scores."""
    mlp = MLP(in_features=3, activation_class=nn.Tanh, out_features=2, num_cells=[8, 8], device="cpu")
    net = nn.Sequential(mlp, AddStateIndependentNormalScale(2, scale_lb=1e-8).to("cpu"))
    bounds = Bounded(-2 * torch.ones(2), 2 * torch.ones(2))
    actor = ProbabilisticActor(
        TensorDictModule(module=net, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=Composite(action=bounds).to("cpu"),
        distribution_class=TanhNormal,
        distribution_kwargs={"low": bounds.space.low.to("cpu"), "high": bounds.space.high.to("cpu"), "tanh_loc": False},
        return_log_prob=True,
        default_interaction_type=ExplorationType.RANDOM,
    )
    data = actor(_data(7))
    assert data["action"].shape == (7, 2)
    assert data["sample_log_prob"].shape == (7,)
    assert not torch.equal(actor(data.clone())["action"], data["action"])
    assert bounds.is_in(data["action"][0])


def test_actor_of_the_pendulum_tutorial() -> None:
    """Bounds as `min`/`max` and a leaf spec work too, over a module that knows its keys."""
    bounds = Bounded(-torch.ones(2), torch.ones(2))
    actor = ProbabilisticActor(
        module=SafeModule(_network().module, in_keys=["observation"], out_keys=["loc", "scale"]),
        spec=bounds,
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        distribution_kwargs={"min": bounds.space.low, "max": bounds.space.high},
        return_log_prob=True,
    )
    assert actor(_data())["action"].shape == (2,)
    assert actor.spec == Composite(action=bounds)


def test_default_is_what_the_docstring_says() -> None:
    """Outside any context the documented default decides; inside, the context does."""
    claim = re.search(r"decides, which is `(\w+)` unless given", str(ProbabilisticActor.__doc__))
    assert claim is not None
    actor = _actor()
    assert actor.default_interaction_type is ExplorationType[claim.group(1)]
    data = _data(5)
    with set_exploration_type(ExplorationType[claim.group(1)]):
        documented = actor(data.clone())["action"]
    assert torch.equal(actor(data.clone())["action"], documented)
    with set_exploration_type(ExplorationType.RANDOM):
        assert not torch.equal(actor(data.clone())["action"], documented)


def test_every_exploration_type_works() -> None:
    """Each type writes the value of that name, whatever the default."""
    actor = _actor(default_interaction_type=ExplorationType.RANDOM)
    data = _data(5)
    dist: Any = actor.get_dist(data.clone())
    expected = {
        ExplorationType.MODE: dist.mode,
        ExplorationType.MEDIAN: dist.median,
        ExplorationType.MEAN: dist.mean,
        ExplorationType.DETERMINISTIC: dist.deterministic_sample,
    }
    for kind, value in expected.items():
        with set_exploration_type(kind):
            assert torch.equal(actor(data.clone())["action"], value)
    torch.manual_seed(0)
    drawn = actor(data.clone())["action"]
    torch.manual_seed(0)
    assert torch.equal(drawn, dist.rsample())


@pytest.mark.parametrize("does_aggregate", [True, False])
def test_log_prob_is_written_under_its_key(does_aggregate: bool) -> None:
    """The key is "sample_log_prob", however log-probabilities of composites are gathered, or the one asked for."""
    with set_composite_lp_aggregate(does_aggregate):
        actor = _actor(return_log_prob=True, default_interaction_type=ExplorationType.RANDOM)
        data = actor(_data(4))
        torch.testing.assert_close(data["sample_log_prob"], actor.log_prob(data))
        assert actor.log_prob_key == "sample_log_prob"
        assert actor.out_keys == ["loc", "scale", "action", "sample_log_prob"]
        named = _actor(return_log_prob=True, log_prob_key="action_log_prob")
        assert "action_log_prob" in named(_data(4))


def test_log_prob_of_a_saturated_action_is_exact() -> None:
    """The score written beside a saturated action is that of its pre-image, not of the rounded action."""
    actor = _actor(return_log_prob=True, default_interaction_type=ExplorationType.RANDOM)
    net: Any = actor[0].module[0]
    with torch.no_grad():
        net.bias[:2] = 30.0
    data = _data(4)
    torch.manual_seed(0)
    written = actor(data)
    torch.manual_seed(0)
    u = written["loc"] + written["scale"] * torch.randn_like(written["loc"])
    gaussian: Any = Normal(written["loc"], written["scale"])
    expected = (gaussian.log_prob(u) - 2 * (torch.tensor(2.0).log() - u)).sum(-1)
    torch.testing.assert_close(written["sample_log_prob"], expected, atol=1e-4, rtol=1e-4)
    assert (written["action"] == 1).all()


def test_is_made_of_stock_parts() -> None:
    """The actor is tensordict's probabilistic sequence with its own `forward`, so that it can be taken apart."""
    actor = _actor()
    assert isinstance(actor, ProbabilisticTensorDictSequential)
    assert type(actor).forward is ProbabilisticTensorDictSequential.forward
    assert isinstance(actor[-1], ProbabilisticTensorDictModule)
    assert type(actor[-1]).forward is ProbabilisticTensorDictModule.forward
    assert isinstance(actor.get_dist(_data(2)), TanhNormal)


def test_parameters_can_be_mapped_to_keys() -> None:
    """A mapping from argument names to keys frees the keys from the names."""
    actor = ProbabilisticActor(
        _network([("agents", "mu"), ("agents", "sigma")]),
        in_keys={"loc": ("agents", "mu"), "scale": ("agents", "sigma")},
        out_keys=[("agents", "action")],
        distribution_class=IndependentNormal,
        return_log_prob=True,
        log_prob_key=("agents", "log_prob"),
    )
    data = actor(_data(4))
    assert torch.equal(data["agents", "action"], data["agents", "mu"])
    assert data["agents", "log_prob"].shape == (4,)


def test_nested_keys_end_in_the_parameter_name() -> None:
    """Nested keys name parameters by their last part, and a nested spec names the action."""
    spec = Composite({("agents", "action"): Bounded(-1, 1, (2,))})
    keys = [("params", "loc"), ("params", "scale")]
    actor = ProbabilisticActor(_network(keys), keys, spec=spec, distribution_class=TanhNormal)
    assert actor.out_keys == [*keys, ("agents", "action")]
    assert actor(_data(4))["agents", "action"].shape == (4, 2)


def test_parameters_can_come_from_the_environment() -> None:
    """A parameter that the network does not write, such as a mask, is read from the input."""
    net = TensorDictModule(nn.Linear(3, 3), ["observation"], ["logits"])
    actor = ProbabilisticActor(
        net,
        ["logits", "mask"],
        distribution_class=MaskedCategorical,
        default_interaction_type=ExplorationType.RANDOM,
        return_log_prob=True,
    )
    data = _data(50)
    data["mask"] = torch.tensor([True, False, True]).expand(50, 3)
    assert (actor(data)["action"] != 1).all()
    with pytest.raises(MissingKeyError, match='"mask" is None'):
        actor(_data(2))


def test_discrete_actions() -> None:
    """A one-hot policy writes one-hot actions with scores of the batch's shape."""
    net = TensorDictModule(nn.Linear(3, 4), ["observation"], ["logits"])
    actor = ProbabilisticActor(net, ["logits"], distribution_class=OneHotCategorical, return_log_prob=True)
    data = actor(_data(6))
    assert (data["action"].shape, data["sample_log_prob"].shape) == ((6, 4), (6,))
    assert torch.equal(data["action"].argmax(-1), data["logits"].argmax(-1))


def test_safe_actor_projects_its_action() -> None:
    """With `safe=True` actions of an unbounded distribution are projected into the spec."""
    spec = Bounded(-0.01, 0.01, (2,))
    actor = _actor(
        distribution_class=IndependentNormal, spec=spec, safe=True, default_interaction_type=ExplorationType.RANDOM
    )
    for one in (actor, copy.deepcopy(actor)):
        assert spec.is_in(one(_data(20))["action"][0])


def test_an_actor_survives_copy_pickle_and_state_dict() -> None:
    """A copied actor, a pickled one, and one that loads its state act the same."""
    actor, other = _actor(return_log_prob=True), _actor(return_log_prob=True)
    other.load_state_dict(actor.state_dict())
    data = _data(4)
    expected = actor(data.clone())["action"]
    for one in (other, copy.deepcopy(actor), pickle.loads(pickle.dumps(actor))):
        assert torch.equal(one(data.clone())["action"], expected)


def test_parameters_can_be_swapped_functionally() -> None:
    """Parameters taken out as a TensorDict can be put back changed, as losses do."""
    actor = _actor()
    params = TensorDict.from_module(actor)
    data = _data(4)
    with params.data.clone().zero_().to_module(actor):
        assert (actor(data.clone())["action"] == 0).all()
    assert not (actor(data.clone())["action"] == 0).all()


def test_composite_actions() -> None:
    """A composite distribution writes one action and one score per head."""

    def split(x: torch.Tensor) -> TensorDict:
        return TensorDict({"a": {"loc": x, "scale": torch.ones_like(x)}, "b": {"logits": x}}, batch_size=x.shape[:-1])

    actor = ProbabilisticActor(
        TensorDictModule(split, ["observation"], ["params"]),
        ["params"],
        distribution_class=CompositeDistribution,
        distribution_kwargs={"distribution_map": {"a": IndependentNormal, "b": OneHotCategorical}},
        return_log_prob=True,
        default_interaction_type=ExplorationType.RANDOM,
    )
    data = actor(_data(4))
    assert (data["a"].shape, data["b"].shape) == ((4, 3), (4, 3))
    assert (data["a_log_prob"].shape, data["b_log_prob"].shape) == ((4,), (4,))


def test_composite_actions_from_parameters_written_one_by_one() -> None:
    """A module that writes each head's parameters under a common entry feeds the distribution that reads that entry."""
    actor = ProbabilisticActor(
        TensorDictModule(NormalParamExtractor(), ["observation"], [("params", "a", "loc"), ("params", "a", "scale")]),
        ["params"],
        distribution_class=CompositeDistribution,
        distribution_kwargs={"distribution_map": {"a": IndependentNormal}},
    )
    data = actor(TensorDict({"observation": torch.randn(4, 6)}, [4]))
    assert torch.equal(data["a"], data["params", "a", "loc"])


def test_actor_compiles_into_one_graph() -> None:
    """The whole actor, draw and score included, compiles without a graph break."""
    actor = _actor(return_log_prob=True, default_interaction_type=ExplorationType.RANDOM)

    def act(observation: torch.Tensor) -> tuple[Any, Any]:
        data = actor(TensorDict({"observation": observation}, [5]))
        return data["action"], data["sample_log_prob"]

    observation = torch.randn(5, 3)
    action, log_prob = torch.compile(act, fullgraph=True, backend="eager")(observation)
    data = TensorDict({"observation": observation, "action": action}, [5])
    torch.testing.assert_close(log_prob, actor.log_prob(data), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_keys": ["loc", "scal"]}, r"no argument .scal.*Did you mean scale"),
        ({"in_keys": ["loc"]}, 'it needs "scale"'),
        ({"distribution_kwargs": {"hihg": 1.0}}, "Did you mean high"),
        ({"distribution_kwargs": {"loc": 1.0}}, "comes from in_keys and from distribution_kwargs"),
        ({"distribution_class": "tanh_normal"}, "not a distribution"),
        ({"in_keys": {"loc": "mu", "scale": "sigma"}}, "writes none of the distribution parameters"),
        ({"safe": True}, "safe=True"),
        ({"return_logprob": True}, "return_logprob"),
    ],
)
def test_wrong_wiring_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    """Names that the distribution does not take, or that nobody writes, are errors at construction."""
    with pytest.raises((TypeError, ValueError), match=message):
        _actor(**arguments)


def test_a_plain_network_is_refused() -> None:
    """A network without keys is an error that shows how to wrap it."""
    with pytest.raises(TypeError, match="TensorDictModule"):
        ProbabilisticActor(nn.Linear(3, 2), ["loc"])  # type: ignore[arg-type]  # the point of the test


def test_sequences_of_modules_can_be_actors() -> None:
    """The network may be a sequence of modules, and the actor a part of a larger sequence."""
    body = TensorDictModule(nn.Linear(3, 3), ["observation"], ["hidden"])
    head = TensorDictModule(_network().module, ["hidden"], ["loc", "scale"])
    actor = ProbabilisticActor(TensorDictSequential(body, head), ["loc", "scale"], distribution_class=TanhNormal)
    assert actor(_data(2))["action"].shape == (2, 2)
    assert isinstance(actor.get_dist(_data(2)), TanhNormal)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-0.4, 0.4), (0.0, 3.0)])
def test_uniform_bounds_become_numbers(low: float, high: float) -> None:
    """Bounds that are one number for every entry give the sample and log-probability of the tensors they came as."""
    network = TensorDictModule(nn.Linear(3, 4), in_keys=["observation"], out_keys=["loc"])
    scale = TensorDictModule(lambda loc: loc.abs() + 0.1, in_keys=["loc"], out_keys=["scale"])
    bounds = {"low": torch.full((4,), low), "high": torch.full((4,), high)}
    actor = ProbabilisticActor(
        TensorDictSequential(network, scale),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        distribution_kwargs=bounds,
        return_log_prob=True,
        default_interaction_type=ExplorationType.RANDOM,
    )
    assert isinstance(actor[-1].distribution_kwargs["low"], float)
    torch.manual_seed(0)
    data = actor(TensorDict({"observation": torch.randn(5, 3)}, batch_size=[5]))
    torch.manual_seed(0)
    torch.randn(5, 3)
    expected = TanhNormal(data["loc"], data["scale"], low=bounds["low"], high=bounds["high"])
    sample = expected.rsample()
    torch.testing.assert_close(data["action"], sample, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(data["sample_log_prob"], expected.log_prob(sample), atol=1e-5, rtol=1e-5)
    assert ((data["action"] >= bounds["low"]) & (data["action"] <= bounds["high"])).all()
