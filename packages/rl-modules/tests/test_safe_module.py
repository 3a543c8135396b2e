"""Modules that know the spec of what they write."""

import copy
import pickle
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn

from rl_modules import SafeModule
from rl_specs import Bounded, Composite, SpecError, Unbounded

SPEC = Bounded(-torch.ones(3), torch.ones(3))


def _saturated() -> nn.Linear:
    net = nn.Linear(5, 3)
    nn.init.constant_(net.weight, 0.0)
    with torch.no_grad():
        net.bias.copy_(torch.tensor([-7.0, 0.5, 7.0]))
    return net


def _data(*batch: int) -> TensorDict:
    return TensorDict({"obs": torch.randn(*batch, 5)}, batch)


def test_a_safe_module_projects_into_the_spec() -> None:
    """With `safe=True` what leaves the spec is projected into it, for any batch."""
    module = SafeModule(_saturated(), ["obs"], ["action"], spec=SPEC, safe=True)
    for batch in ((), (4,), (2, 3)):
        action = module(_data(*batch))["action"]
        assert action.shape == (*batch, 3)
        torch.testing.assert_close(action, torch.tensor([-1.0, 0.5, 1.0]).expand(*batch, 3))


def test_a_module_that_is_not_safe_is_left_alone() -> None:
    """Without `safe` the output stays as it is, and the module has no hook and no `forward` of its own."""
    module = SafeModule(_saturated(), ["obs"], ["action"], spec=SPEC)
    assert module(_data())["action"].tolist() == [-7.0, 0.5, 7.0]
    assert type(module).forward is TensorDictModule.forward
    assert not module._forward_hooks


def test_projection_holds_inside_a_sequence_a_copy_and_a_pickle() -> None:
    """A safe module stays safe as a part of a sequence, copied, and sent to another process."""
    module = SafeModule(_saturated(), ["obs"], ["action"], spec=SPEC, safe=True)
    for one in (TensorDictSequential(module), copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert one(_data())["action"].tolist() == [-1.0, 0.5, 1.0]


def test_projection_holds_for_a_call_with_tensors() -> None:
    """Called with a tensor in place of a TensorDict, the returned output is projected."""
    module = SafeModule(_saturated(), ["obs"], ["action"], spec=SPEC, safe=True)
    assert module(torch.zeros(5)).tolist() == [-1.0, 0.5, 1.0]
    assert module(obs=torch.zeros(5)).tolist() == [-1.0, 0.5, 1.0]


def test_gradients_pass_the_projection_inside_the_spec() -> None:
    """Entries inside the spec keep their gradient."""
    net = _saturated()
    SafeModule(net, ["obs"], ["action"], spec=SPEC, safe=True)(_data())["action"].sum().backward()
    assert net.bias.grad is not None
    assert net.bias.grad[1] == 1.0


def test_a_leaf_spec_describes_the_first_output() -> None:
    """A leaf spec belongs to the first output key, nested ones included; a composite is taken by key."""
    module = SafeModule(nn.Linear(5, 3), ["obs"], [("agents", "action"), "other"], spec=SPEC)
    assert module.spec == Composite({("agents", "action"): SPEC})
    both = Composite(loc=Unbounded(3), scale=Bounded(0.1, 9.0, (3,)))
    two = SafeModule(lambda x: (x[..., :3], x[..., :3]), ["obs"], ["loc", "scale"], spec=both, safe=True)
    assert two(TensorDict({"obs": -torch.ones(5)}))["scale"].tolist() == pytest.approx([0.1] * 3)
    assert two(torch.full((5,), -1.0))[1].tolist() == pytest.approx([0.1] * 3)


def test_the_spec_given_is_not_shared() -> None:
    """Changing the composite afterwards does not reach into the module."""
    given = Composite(action=SPEC)
    module = SafeModule(nn.Linear(5, 3), ["obs"], ["action"], spec=given)
    given["more"] = Unbounded(1)
    assert module.spec == Composite(action=SPEC)


def test_conversion_of_the_module_keeps_the_spec() -> None:
    """Converting dtype or device converts parameters and leaves a spec on a device that holds data."""
    module = SafeModule(nn.Linear(5, 3), ["obs"], ["action"], spec=SPEC)
    assert module.double().spec == Composite(action=SPEC)
    assert module.to("cpu").spec == Composite(action=SPEC)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"safe": True}, ValueError, "safe=True projects"),
        ({"spec": torch.zeros(3)}, TypeError, "found Tensor"),
        ({"spec": Composite(acton=SPEC)}, SpecError, "Did you mean"),
        ({"specs": SPEC}, TypeError, "specs"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """A safe module without spec, something else than a spec, a spec of other keys and unknown keywords are errors."""
    with pytest.raises(error, match=message):
        SafeModule(nn.Linear(5, 3), ["obs"], ["action"], **arguments)
