"""Tests of `rl_envs.model_based._base`."""

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn

from rl_envs import ModelBasedEnvBase, check_env_specs
from rl_specs import Composite, MissingKeyError, TensorMap, Unbounded


class Joined(nn.Module):
    """A linear layer over two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 4)

    def forward(self, hidden: Tensor, action: Tensor) -> Tensor:
        """The next hidden state."""
        out: Tensor = self.layer(torch.cat((hidden, action), -1))
        return out


def world_model() -> TensorDictSequential:
    """Transition and reward."""
    torch.manual_seed(0)
    keys = ["hidden_observation", "action"]
    return TensorDictSequential(
        TensorDictModule(Joined(), in_keys=keys, out_keys=["hidden_observation"]),
        TensorDictModule(nn.Linear(4, 1), in_keys=["hidden_observation"], out_keys=["reward"]),
    )


class MyModelEnv(ModelBasedEnvBase):
    """As an author writes one."""

    def __init__(self, model: TensorDictSequential, batch_size: list[int] | None = None) -> None:
        super().__init__(model, batch_size=batch_size)
        batch = tuple(batch_size or ())
        hidden = Composite({"hidden_observation": Unbounded(shape=(*batch, 4))}, shape=batch)
        self.observation_spec = hidden
        self.state_spec = hidden.clone()
        self.action_spec = Unbounded(shape=(*batch, 1))
        self.reward_spec = Unbounded(shape=(*batch, 1))

    def _reset(self, tensordict: TensorMap | None) -> TensorDict:
        data = TensorDict({}, batch_size=self.batch_size, device=self.device)
        return data.update(self.state_spec.rand()).update(self.observation_spec.rand())


def test_rollout_of_a_model() -> None:
    """A rollout holds what the model predicts from the state and the action before, and flags that are never set."""
    model = world_model()
    env = MyModelEnv(model)
    rolled = env.rollout(10)
    assert rolled.batch_size == torch.Size([10])
    inputs = torch.cat((rolled["hidden_observation"], rolled["action"]), -1)
    assert torch.allclose(rolled["next", "hidden_observation"], model[0].module.layer(inputs))
    assert torch.allclose(rolled["next", "reward"], model[1].module(rolled["next", "hidden_observation"]))
    assert not rolled["next", "done"].any()


def test_specs_hold() -> None:
    """The check passes, with and without a batch size."""
    check_env_specs(MyModelEnv(world_model()), seed=0)
    check_env_specs(MyModelEnv(world_model(), batch_size=[3]), seed=0)


def test_any_batch_size() -> None:
    """The environment takes the batch size of the data."""
    env = MyModelEnv(world_model())
    assert not env.batch_locked
    assert env.rollout(4, tensordict=TensorDict(batch_size=[6])).batch_size == torch.Size([6, 4])


def test_gradients_reach_model_and_actions() -> None:
    """The predicted rewards have gradients in the actions and in the model."""
    model = world_model()
    action = torch.zeros(1, requires_grad=True)

    def policy(data: TensorDictBase) -> TensorDictBase:
        return data.set("action", action)

    MyModelEnv(model).rollout(3, policy)["next", "reward"].sum().backward()
    assert action.grad is not None
    assert action.grad.abs().item() > 0
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_model_that_writes_under_next() -> None:
    """Predictions under "next" are taken before those at the root, and flags that the model writes are used."""

    class Up(nn.Module):
        def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return hidden + 1, hidden.sum(-1, keepdim=True), hidden[..., :1] >= 1

    keys = [("next", "hidden_observation"), ("next", "reward"), ("next", "terminated")]
    env = MyModelEnv(TensorDictSequential(TensorDictModule(Up(), in_keys=["hidden_observation"], out_keys=keys)))
    root = env.rand_action(env.reset()).set("hidden_observation", torch.ones(4))
    following = env.step(root)["next"]
    assert following["hidden_observation"].tolist() == [2.0] * 4
    assert following["reward"].item() == 4
    assert following["done"].item()
    assert root["hidden_observation"].tolist() == [1.0] * 4


def test_a_model_that_writes_too_little() -> None:
    """An observation or reward that the model does not write is named at the first step."""
    with pytest.raises(MissingKeyError, match=r'world_model writes.*"reward".*Add a module'):
        MyModelEnv(TensorDictSequential(world_model()[0])).rollout(2)


def test_another_model_takes_effect() -> None:
    """A model that is put in place of the first one, also between steps, predicts from the next step on."""
    env = MyModelEnv(world_model())
    root = env.reset()
    root["action"] = torch.zeros_like(env.action_spec.rand())
    before = env.step(root.clone())["next", "reward"]
    other = world_model()
    with torch.no_grad():
        other[1].module.bias += 1.0
    env.world_model = other
    after = env.step(root.clone())["next", "reward"]
    assert env.world_model is other
    torch.testing.assert_close(after, before + 1.0)


def test_what_is_wrong_with_the_model_is_said_of_the_model() -> None:
    """A model without keys is refused at once; one that reads what there is not is named, and not as a policy."""
    for make in (lambda: MyModelEnv(nn.Linear(5, 4)), lambda: setattr(MyModelEnv(world_model()), "world_model", len)):  # type: ignore[arg-type]  # what is tested
        with pytest.raises(TypeError, match=r"MyModelEnv: world_model knows no keys.*TensorDictModule\("):
            make()
    wrong = world_model()
    wrong[0].in_keys = ["hiden_observation", "action"]
    with pytest.raises(MissingKeyError, match=r'MyModelEnv.world_model \(TensorDictModule\): key "hiden_observation"'):
        MyModelEnv(wrong).rollout(2)
