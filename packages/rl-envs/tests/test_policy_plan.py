"""Plans of policies: the same numbers as the plain call, and a plain call where the policy is not stock."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import (
    InteractionType,
    NormalParamExtractor,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictSequential,
    set_interaction_type,
)
from torch import Tensor, nn
from torch.distributions import Independent, Normal, OneHotCategorical

from rl_envs import pack_flat, plan_policy, unpack_flat
from rl_specs import FlatDict, MissingKeyError


class DiagonalNormal(Independent):  # type: ignore[type-arg]  # generic in the stubs alone
    """A normal over the last dimension, with a median and a deterministic sample."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__(Normal(loc, scale, validate_args=False), 1, validate_args=False)
        self.deterministic_sample = self.median = loc


class Doubling(TensorDictModule):
    """A subclass with a forward of its own."""

    def forward(self, tensordict: TensorDictBase, *args: Any, **kwargs: Any) -> Any:
        """Write twice the output."""
        out = super().forward(tensordict, *args, **kwargs)
        return out.set("action", out["action"] * 2)


def head(key: str = "observation") -> TensorDictModule:
    """A network to location and scale."""
    return TensorDictModule(
        nn.Sequential(nn.Linear(3, 4), NormalParamExtractor()), in_keys=[key], out_keys=["loc", "scale"]
    )


def sampler(**options: Any) -> ProbabilisticTensorDictModule:
    """The probabilistic end of a policy."""
    return ProbabilisticTensorDictModule(
        in_keys=["loc", "scale"],
        out_keys=["action"],
        distribution_class=DiagonalNormal,
        return_log_prob=True,
        log_prob_key="sample_log_prob",
        **options,
    )


def hooked() -> TensorDictModule:
    """A module whose hook changes the output."""
    module = TensorDictModule(nn.Linear(3, 2), in_keys=["observation"], out_keys=["action"])
    module.register_forward_hook(lambda _module, _args, out: out.set("action", out["action"] + 1))
    return module


def two_outputs(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and difference."""
    return first + second, first - second


def act_in_place(data: TensorDictBase) -> None:
    """Write the action and return nothing."""
    data.set("action", data["observation"] * 2)


POLICIES: dict[str, Callable[[], Any]] = {
    "module": lambda: TensorDictModule(nn.Linear(3, 2), in_keys=["observation"], out_keys=["action"]),
    "nested keys": lambda: TensorDictModule(nn.Linear(3, 2), in_keys=[("a", "b")], out_keys=[("c", "action")]),
    "two inputs and outputs": lambda: TensorDictModule(
        two_outputs, in_keys=["observation", ("a", "b")], out_keys=["sum", "difference"]
    ),
    "ignored output": lambda: TensorDictModule(
        two_outputs, in_keys=["observation", ("a", "b")], out_keys=["_", "action"]
    ),
    "keyword inputs": lambda: TensorDictModule(
        two_outputs, in_keys={"second": "observation", "first": ("a", "b")}, out_keys=["sum", "action"]
    ),
    "sequence": lambda: TensorDictSequential(head(), TensorDictModule(nn.Linear(2, 2), ["loc"], ["action"])),
    "probabilistic": lambda: ProbabilisticTensorDictSequential(head(), sampler()),
    "random by default": lambda: ProbabilisticTensorDictSequential(
        head(), sampler(default_interaction_type=InteractionType.RANDOM)
    ),
    "nested sequence": lambda: TensorDictSequential(
        ProbabilisticTensorDictSequential(head(), sampler()), TensorDictModule(nn.Linear(2, 1), ["action"], ["value"])
    ),
    "own forward": lambda: Doubling(nn.Linear(3, 2), in_keys=["observation"], out_keys=["action"]),
    "hooked": hooked,
    "selected keys": lambda: TensorDictSequential(
        head(), TensorDictModule(nn.Linear(2, 2), ["loc"], ["action"]), selected_out_keys=["action"]
    ),
    "function": lambda: lambda data: data.set("action", data["observation"] * 2),
    "in place, nothing returned": lambda: act_in_place,
}


@pytest.mark.parametrize("interaction", [None, *InteractionType])
@pytest.mark.parametrize("kind", POLICIES)
def test_plan_equals_the_plain_call(kind: str, interaction: InteractionType | None) -> None:
    """A plan writes bitwise what the policy writes when it is called on a TensorDict, for every interaction type."""
    torch.manual_seed(0)
    policy = POLICIES[kind]()
    entries: FlatDict = {"observation": torch.randn(5, 3), ("a", "b"): torch.randn(5, 3)}
    given = pack_flat(dict(entries), torch.Size([5]))
    with set_interaction_type(interaction):
        torch.manual_seed(1)
        result = policy(given)
        torch.manual_seed(1)
        planned = dict(entries)
        plan_policy(policy, batch_size=torch.Size([5]))(planned)
    expected = unpack_flat(given if result is None else result)
    assert set(expected) <= set(planned)
    for key, value in expected.items():
        assert torch.equal(planned[key], value), key


def test_stock_policies_are_run_without_their_call() -> None:
    """The plan of a stock sequence does not go through `TensorDictModule.forward`."""
    policy = ProbabilisticTensorDictSequential(head(), sampler())
    plan = plan_policy(policy, batch_size=torch.Size([]))
    data: FlatDict = {"observation": torch.randn(3)}
    calls = []
    policy.register_forward_pre_hook(lambda *_: calls.append(1))  # registered after planning: not seen by the plan
    plan(data)
    assert not calls
    assert {"loc", "scale", "action", "sample_log_prob"} <= set(data)


def test_gradients_flow_through_a_planned_sample() -> None:
    """Outside `no_grad`, the gradient of a planned action reaches the network as it does in the plain call."""
    policy = ProbabilisticTensorDictSequential(head(), sampler(default_interaction_type=InteractionType.RANDOM))
    gradients = []
    for is_planned in (True, False):
        torch.manual_seed(0)
        data: FlatDict = {"observation": torch.ones(5, 3)}
        if is_planned:
            plan_policy(policy, batch_size=torch.Size([5]))(data)
        else:
            data = unpack_flat(policy(pack_flat(data, torch.Size([5]))))
        policy.zero_grad()
        torch.autograd.backward(data["action"].sum())
        gradients.append([parameter.grad.clone() for parameter in policy.parameters() if parameter.grad is not None])
    assert len(gradients[0]) == 2
    assert all(torch.equal(planned, plain) for planned, plain in zip(*gradients, strict=True))


def test_discrete_samples_need_no_gradient_form() -> None:
    """A distribution without `rsample` is sampled in the plan as in the plain call."""
    policy = ProbabilisticTensorDictSequential(
        TensorDictModule(nn.Linear(3, 4), in_keys=["observation"], out_keys=["logits"]),
        ProbabilisticTensorDictModule(
            in_keys=["logits"],
            out_keys=["action"],
            distribution_class=OneHotCategorical,
            default_interaction_type=InteractionType.RANDOM,
        ),
    )
    data: FlatDict = {"observation": torch.randn(5, 3)}
    given = pack_flat(dict(data), torch.Size([5]))
    torch.manual_seed(0)
    plan_policy(policy, batch_size=torch.Size([5]))(data)
    torch.manual_seed(0)
    assert torch.equal(data["action"], policy(given)["action"])


def test_missing_key_names_what_is_there() -> None:
    """A policy that reads an entry that is not there says so, with the near match."""
    plan = plan_policy(TensorDictModule(nn.Linear(3, 2), ["observations"], ["action"]), batch_size=torch.Size([]))
    with pytest.raises(MissingKeyError, match=r'key "observations" missing.*Did you mean "observation"'):
        plan({"observation": torch.zeros(3)})


def test_wrong_number_of_outputs_is_an_error() -> None:
    """Two tensors for one key are not silently dropped."""
    plan = plan_policy(TensorDictModule(lambda x: (x, x, x), ["observation"], ["a", "b"]), batch_size=torch.Size([]))
    with pytest.raises(RuntimeError, match="Expected 2, found 3"):
        plan({"observation": torch.zeros(3)})


def test_only_callables_are_policies() -> None:
    """Something else than a callable is refused when the policy is connected."""
    with pytest.raises(TypeError, match="not callable"):
        plan_policy(3, batch_size=torch.Size([]))  # type: ignore[arg-type]  # the mistake under test


def test_flat_dicts_go_back_and_forth() -> None:
    """Packing a flat dict and unpacking it gives the same tensors under the same keys."""
    flat: FlatDict = {"a": torch.zeros(2, 3), ("n", "b"): torch.ones(2), ("n", "m", "c"): torch.ones(2, 1)}
    packed = pack_flat(flat, torch.Size([2]))
    assert isinstance(packed, TensorDict)
    assert packed["n", "m"].batch_size == (2,)
    back = unpack_flat(packed)
    assert set(back) == set(flat)
    assert all(back[key] is flat[key] for key in flat)


def test_a_replaced_network_is_the_one_called() -> None:
    """A plan calls the network that the module holds at that time, whether it reads one key or several."""
    for keys, networks in ((["a"], (nn.Tanh(), nn.Sigmoid())), (["a", "b"], (torch.add, torch.sub))):
        module: Any = TensorDictModule(networks[0], in_keys=keys, out_keys=["action"])
        plan = plan_policy(module, batch_size=torch.Size([]))
        module.module = networks[1]
        data: FlatDict = {"a": torch.ones(1), "b": torch.ones(1)}
        plan(data)
        assert torch.equal(data["action"], networks[1](*(torch.ones(1) for _ in keys)))
