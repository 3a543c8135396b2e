"""Modules as transforms."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn

from rl_envs import ModuleTransform, RewardSum, SerialEnv, TransformedEnv, check_env_specs
from rl_envs.testing import CountingEnv, TensorDictCountingEnv
from rl_specs import Bounded, Composite, MissingKeyError, SpecError, Unbounded

MakeEnv = Callable[..., Any]


def linear() -> TensorDictModule:
    """Writes `features` = 2 x + 1 of a float64 observation of three elements."""
    layer = nn.Linear(3, 3, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(2 * torch.eye(3))
        layer.bias.fill_(1.0)
    return TensorDictModule(layer, ["observation"], [("n", "features")])


@pytest.mark.parametrize("batch_size", [(), (3,), (2, 2)], ids=str)
@pytest.mark.parametrize("mapping", [True, False])
def test_what_a_module_writes_is_observed(toy: MakeEnv, batch_size: tuple[int, ...], mapping: bool) -> None:
    """After a reset and each step, the outputs are there, with specs found by themselves."""
    env = TransformedEnv(toy(batch_size, accepts_mapping=mapping), ModuleTransform(module=linear(), no_grad=True))
    check_env_specs(env)
    spec = env.full_observation_spec["n", "features"]
    assert (spec.shape, spec.dtype) == ((*batch_size, 3), torch.float64)
    data = env.rollout(2)
    assert data["n", "features"].reshape(-1, 2, 3)[0].tolist() == [[1.0, 1.0, 1.0], [3.0, 5.0, 7.0]]
    assert data["next", "n", "features"].reshape(-1, 2, 3)[0, 1].tolist() == [5.0, 9.0, 13.0]


def test_gradients(toy: MakeEnv) -> None:
    """Gradients reach the parameters, unless `no_grad` says otherwise; a factory makes the module."""
    for no_grad in (False, True):
        env = TransformedEnv(toy(), ModuleTransform(module_factory=linear, no_grad=no_grad))
        assert env.reset()["n", "features"].requires_grad is not no_grad
    assert len(list(env.transform.parameters())) == 2


def test_rewards_and_flags() -> None:
    """A module that reads rewards runs after steps alone; what it writes over a reward or flag stays one."""

    def halve(reward: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
        return reward.double() / 2, done | (reward > 2)

    module = TensorDictModule(halve, ["reward", "done"], ["reward", "done"])
    env = TransformedEnv(CountingEnv((2,)), [ModuleTransform(module=module), RewardSum()])
    assert env.reward_spec.dtype is torch.float64
    check_env_specs(env)
    data = env.rollout(5, lambda td: td.set("action", torch.zeros(2, 1)))
    assert data["next", "reward"][0].flatten().tolist() == [0.5, 1.0, 1.5]


def test_inverse_runs_on_the_way_in(toy: MakeEnv) -> None:
    """With `inverse` the module makes the action of the environment from entries outside; the data keep theirs."""
    module = TensorDictModule(lambda code: (code / 10).expand(*code.shape[:-1], 2).double(), ["code"], ["action"])

    def new_spec(spec: Any) -> Composite:
        batch = spec.shape
        return Composite({"code": Bounded(-1.0, 1.0, shape=(*batch, 1))}, shape=batch)

    env = TransformedEnv(
        toy((2,)), ModuleTransform(module=module, inverse=True, no_grad=True, action_spec_transform=new_spec)
    )
    check_env_specs(env)
    assert env.action_keys == ["code"]
    stepped = env.step(env.reset().set("code", torch.tensor([[0.5], [1.0]])))
    given = env.base_env.actions[-1]  # type: ignore[attr-defined]  # the toy
    assert torch.allclose(given, torch.tensor([[0.05, 0.05], [0.1, 0.1]], dtype=torch.float64))
    assert "action" not in stepped.keys()  # noqa: SIM118


def test_specs_as_given(toy: MakeEnv) -> None:
    """A spec, of one entry or of all, takes the place of the one found; a function changes the one before."""

    class Ten(nn.Module):
        def forward(self, value: Tensor) -> Tensor:
            return (10 * value[..., :1]).float()

    module = TensorDictModule(Ten(), ["reward"], ["reward"])
    leaf = Unbounded(shape=(1,))
    env = TransformedEnv(toy(), ModuleTransform(module=module, reward_spec_transform=leaf))
    assert env.reward_spec == leaf
    check_env_specs(env)

    def bounded(spec: Any) -> Any:
        spec["n", "features"] = Bounded(-100.0, 100.0, shape=(3,), dtype=torch.float64)
        return spec

    env = TransformedEnv(toy(), ModuleTransform(module=linear(), no_grad=True, observation_spec_transform=bounded))
    assert isinstance(env.full_observation_spec["n", "features"], Bounded)
    check_env_specs(env)


def test_finding_specs_changes_nothing(toy: MakeEnv) -> None:
    """The run on zeros leaves modes, running statistics and the random generator as they were."""
    module = TensorDictSequential(
        TensorDictModule(nn.BatchNorm1d(3, dtype=torch.float64), ["observation"], ["normal"]),
        TensorDictModule(nn.Dropout(0.5), ["normal"], ["dropped"]),
    )
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    TransformedEnv(toy((2,)), ModuleTransform(module=module))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(part.training for part in module.modules())


def test_parameters_are_state(toy: MakeEnv) -> None:
    """A loaded state brings the parameters; `train` and `eval` reach the module."""
    env, other = (TransformedEnv(toy(), ModuleTransform(module=linear(), no_grad=True)) for _ in range(2))
    with torch.no_grad():
        env.transform[0].module.module.bias.fill_(7.0)
    other.load_state_dict(env.state_dict())
    assert other.reset()["n", "features"].tolist() == [7.0] * 3
    assert not other.eval().transform[0].module.training


def test_in_rows_and_on_stored_data() -> None:
    """It works within environments of a row that take TensorDicts, and on stored data of any batch."""

    def make() -> TransformedEnv:
        module = TensorDictModule(lambda x: x + 1, ["observation"], ["more"])
        return TransformedEnv(TensorDictCountingEnv(), ModuleTransform(module=module))

    check_env_specs(SerialEnv(2, make))
    stored = TensorDict({"observation": torch.ones(4, 5, 3, dtype=torch.float64)}, [4, 5])
    found: TensorDictBase = ModuleTransform(module=linear(), device="cpu")(stored)
    assert found is stored
    assert found["n", "features"].shape == (4, 5, 3)
    with pytest.raises(MissingKeyError, match=r"ModuleTransform.*observation"):
        ModuleTransform(module=linear())(TensorDict({"other": torch.zeros(1)}))


def test_bad_arguments(toy: MakeEnv) -> None:
    """No module, two, something else, and keys that nobody writes are told."""
    with pytest.raises(ValueError, match="exactly one"):
        ModuleTransform()
    with pytest.raises(ValueError, match="exactly one"):
        ModuleTransform(module=linear(), module_factory=linear)
    with pytest.raises(TypeError, match=r"TensorDictModule\(network"):
        ModuleTransform(module=cast(Any, nn.Linear(1, 1)))
    module = TensorDictModule(nn.Identity(), ["observatoin"], ["x"])
    with pytest.raises(SpecError, match='Did you mean "observation"'):
        TransformedEnv(toy(), ModuleTransform(module=module))
