"""Policies under `torch.compile`, as one graph."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import AddStateIndependentNormalScale, TensorDictModule
from torch import Tensor, nn

from rl_modules import (
    Actor,
    ActorValueOperator,
    Categorical,
    ExplorationType,
    IndependentNormal,
    MaskedCategorical,
    MaskedOneHotCategorical,
    OneHotCategorical,
    ProbabilisticActor,
    SafeModule,
    TanhNormal,
    ValueOperator,
    set_exploration_type,
)
from rl_specs import Bounded

ROWS, OBSERVATIONS, ACTIONS = 3_000, 4, 3


def stochastic(distribution: Any, in_key: str = "observation", **options: Any) -> ProbabilisticActor:
    """Policy with a state-independent scale or with logits, by the kind of distribution."""
    net: nn.Module = nn.Linear(OBSERVATIONS, ACTIONS)
    keys, read = ["logits"], ["logits"]
    if distribution in (TanhNormal, IndependentNormal):
        net = nn.Sequential(net, AddStateIndependentNormalScale(ACTIONS))
        keys = read = ["loc", "scale"]
    if distribution in (MaskedCategorical, MaskedOneHotCategorical):
        read = ["logits", "mask"]
    return ProbabilisticActor(
        TensorDictModule(net, [in_key], keys),
        read,
        distribution_class=distribution,
        return_log_prob=True,
        default_interaction_type=ExplorationType.RANDOM,
        **options,
    )


def projected() -> ProbabilisticActor:
    """Policy whose actions are projected into a spec that its draws leave."""
    spec = Bounded(low=-0.3, high=0.3, shape=(ACTIONS,), dtype=torch.float32)
    return stochastic(IndependentNormal, spec=spec, safe=True)


def shared() -> ActorValueOperator:
    """Policy and critic over one trunk."""
    trunk = SafeModule(nn.Linear(OBSERVATIONS, OBSERVATIONS), in_keys=["observation"], out_keys=["hidden"])
    value = ValueOperator(nn.Linear(OBSERVATIONS, 1), in_keys=["hidden"])
    return ActorValueOperator(trunk, stochastic(TanhNormal, "hidden"), value)


KINDS: dict[str, Callable[[], Any]] = {
    "tanh normal": lambda: stochastic(TanhNormal, distribution_kwargs={"low": -2.0, "high": 1.0}),
    "normal": lambda: stochastic(IndependentNormal),
    "categorical": lambda: stochastic(Categorical),
    "one-hot": lambda: stochastic(OneHotCategorical),
    "masked": lambda: stochastic(MaskedCategorical),
    "masked one-hot": lambda: stochastic(MaskedOneHotCategorical),
    "projected": projected,
    "shared": shared,
    "deterministic": lambda: Actor(nn.Linear(OBSERVATIONS, ACTIONS), in_keys=["observation"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_acts_as_in_eager_mode(kind: str) -> None:
    """Compiled without a break, a policy draws from eager mode's distribution, anew in each call, as the seed says."""
    torch.manual_seed(0)
    torch.compiler.reset()
    policy = KINDS[kind]()
    compiled: Any = torch.compile(policy, fullgraph=True, backend="eager")
    data = TensorDict({"observation": torch.randn(1, OBSERVATIONS).expand(ROWS, OBSERVATIONS)}, [ROWS])
    data["mask"] = torch.tensor([True, False, True]).expand(ROWS, ACTIONS)

    def act(call: Any, seed: int) -> TensorDict:
        torch.manual_seed(seed)
        with torch.no_grad():
            drawn: TensorDict = call(data.clone())
        return drawn

    first, second, again, eager = act(compiled, 1), act(compiled, 2), act(compiled, 1), act(policy, 3)
    assert set(first.keys()) == set(eager.keys())
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    a, b, expected = (_columns(drawn["action"]) for drawn in (first, second, eager))
    torch.testing.assert_close(a.mean(0), expected.mean(0), rtol=0.05, atol=0.06)
    torch.testing.assert_close(a.std(0), expected.std(0), rtol=0.08, atol=0.02)
    is_drawn = a.std(0) > 0
    assert bool(is_drawn.any()) is (kind != "deterministic")
    for column in is_drawn.nonzero().flatten().tolist():
        for x, y in ((a[:, column], b[:, column]), (a[1:, column], a[:-1, column])):
            assert abs(torch.corrcoef(torch.stack([x, y]))[0, 1].item()) < 0.08
    if "sample_log_prob" in set(first.keys()) and kind != "projected":
        module = policy.get_policy_operator() if kind == "shared" else policy
        known = module.get_dist(first).log_prob(first["action"])
        torch.testing.assert_close(first["sample_log_prob"], known, atol=1e-4, rtol=1e-4)


def _columns(action: Tensor) -> Tensor:
    return action.reshape(ROWS, -1).to(torch.float32)


def test_a_compiled_policy_follows_the_exploration_type() -> None:
    """The context that chooses the action is honoured by a compiled policy."""
    torch.compiler.reset()
    policy = stochastic(TanhNormal)
    compiled: Any = torch.compile(policy, fullgraph=True, backend="eager")
    data = TensorDict({"observation": torch.randn(5, OBSERVATIONS)}, [5])
    with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
        torch.testing.assert_close(compiled(data.clone())["action"], policy(data.clone())["action"])
    with torch.no_grad():
        assert not torch.equal(compiled(data.clone())["action"], compiled(data.clone())["action"])
