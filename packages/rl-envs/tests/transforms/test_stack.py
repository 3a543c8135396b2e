"""Entries stacked along a new dimension."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import ClipTransform, EnvBase, Stack, TransformedEnv, check_env_specs
from rl_specs import Bounded, Composite, MissingKeyError, SpecError, TensorMap, Unbounded

MakeEnv = Callable[..., Any]


class TwoAgents(EnvBase):
    """Two agents with observations, rewards, flags and actions of their own; agent 1 has ten times the numbers."""

    accepts_mapping = True

    def __init__(self, batch_size: tuple[int, ...] = ()) -> None:
        super().__init__(batch_size=batch_size)
        agents = ("agent0", "agent1")
        self.observation_spec = Composite(
            {(agent, "observation"): Bounded(-k, k, shape=(*batch_size, 3)) for k, agent in enumerate(agents, 8)},
            shape=batch_size,
        )
        self.reward_spec = Composite(
            {(agent, "reward"): Unbounded(shape=(*batch_size, 1)) for agent in agents}, shape=batch_size
        )
        self.action_spec = Composite(
            {(agent, "action"): Bounded(-1.0, 1.0, shape=(*batch_size, 2)) for agent in agents}, shape=batch_size
        )
        self.given: dict[Any, Any] = {}

    def _observe(self) -> dict[Any, Any]:
        shape = (*self.batch_size, 3)
        return {("agent0", "observation"): torch.full(shape, 0.5), ("agent1", "observation"): torch.full(shape, 5.0)}

    def _reset(self, data: TensorMap | None) -> TensorMap:
        return self._observe()

    def _step(self, data: TensorMap) -> TensorMap:
        self.given = {agent: data[agent, "action"] for agent in ("agent0", "agent1")}
        shape = (*self.batch_size, 1)
        rewards = {("agent0", "reward"): torch.ones(shape), ("agent1", "reward"): torch.full(shape, 10.0)}
        return {**self._observe(), **rewards, "done": torch.zeros(shape, dtype=torch.bool)}

    def _set_seed(self, seed: int) -> None:
        self.seed = seed


@pytest.mark.parametrize("batch_size", [(), (3,), (2, 2)], ids=str)
def test_levels_of_agents(batch_size: tuple[int, ...]) -> None:
    """Observations, rewards and actions of two agents become one level with a dimension of agents, in any batch."""
    env = TransformedEnv(TwoAgents(batch_size), Stack(["agent0", "agent1"], "agents"))
    check_env_specs(env)
    assert env.full_observation_spec["agents", "observation"].shape == (*batch_size, 2, 3)
    data = env.rollout(2)["next", "agents"]
    assert data["observation"].shape == (*batch_size, 2, 2, 3)
    assert data["observation"][..., 0].unique().tolist() == [0.5, 5.0]
    assert data["reward"][..., 1, 0].unique().tolist() == [10.0]
    assert set(env.reset().keys()) == {"agents", "done", "terminated", "truncated"}


def test_bounds_are_stacked() -> None:
    """Each agent keeps its bounds along the new dimension."""
    env = TransformedEnv(TwoAgents(), Stack(["agent0", "agent1"], "agents"))
    assert env.full_observation_spec["agents", "observation"].high[:, 0].tolist() == [8.0, 9.0]


def test_inverse() -> None:
    """A stacked action is split among the agents on its way in, and has the bounds of both."""
    agents = ["agent0", "agent1"]
    inner = [(agent, "action") for agent in agents]
    stack = Stack(agents, "agents", dim=0, allow_positive_dim=True, in_key_inv="actions", out_keys_inv=inner)
    base = TwoAgents((3,))
    env = TransformedEnv(base, stack)
    assert env.action_spec == Bounded(-1.0, 1.0, shape=(3, 2, 2))
    check_env_specs(env)
    action = torch.arange(12.0).reshape(3, 2, 2) / 12
    env.step(env.reset().set("actions", action))
    assert torch.equal(base.given["agent1"], action[:, 1])
    levels = Stack(agents, "agents", in_key_inv="agents", out_keys_inv=agents)
    assert TransformedEnv(TwoAgents((3,)), levels).full_action_spec["agents", "action"].shape == (3, 2, 2)


@pytest.mark.parametrize("dim", [-1, -2])
def test_stored_data(dim: int) -> None:
    """On stored data tensors and levels are stacked as `torch.stack` stacks them, and taken out unless kept."""
    a, b = torch.zeros(4, 3), torch.ones(4, 3)
    data = TensorDict({"a": a, "b": b, "n": {"x": a}, "m": {"x": b}}, [4])
    result = Stack(["a", "b"], "c", dim=dim)(data.copy())
    assert torch.equal(result["c"], torch.stack([a, b], dim))
    assert set(result.keys()) == {"c", "n", "m"}
    levels = Stack(["n", "m"], "c", del_keys=False)(data.copy())
    assert torch.equal(levels["c", "x"], torch.stack([a, b], 1))
    assert "n" in levels.keys()  # noqa: SIM118


def test_misuse(toy: MakeEnv) -> None:
    """Missing entries, half of an inverse, nothing to stack, and states to be taken out are refused."""
    with pytest.raises(ValueError, match="half of an inverse"):
        Stack(["a"], "b", in_key_inv="c")
    with pytest.raises(ValueError, match="nothing to stack"):
        Stack([], "b")
    with pytest.raises(ValueError, match="dim is not negative"):
        Stack(["a"], "b", dim=0)
    with pytest.raises(SpecError, match='in_keys: "observation", "nothing" are not all there'):
        TransformedEnv(toy(), Stack(["observation", "nothing"], "b"))
    with pytest.raises(SpecError, match=r"out_keys_inv: .* are not all there"):
        TransformedEnv(toy(), Stack(["observation"], "b", in_key_inv="c", out_keys_inv=["d"]))
    base = toy()
    base.state_spec = Composite({"observation": base.observation_spec["observation"]}, shape=())
    with pytest.raises(SpecError, match="del_keys=False"):
        TransformedEnv(base, Stack(["observation"], "b"))
    env = TransformedEnv(TwoAgents(), Stack(["agent0", "agent1"], "agents"))
    with pytest.raises(MissingKeyError, match=r'Stack: key \("agent1", "observation"\) missing'):
        env.transform[0]._call({("agent0", "observation"): torch.zeros(3)})
    assert repr(Stack(["a"], "b")) == "Stack(in_keys=['a'], out_key='b', dim=-1)"


def test_bounds_of_some(toy: MakeEnv) -> None:
    """Entries of one form, of which one is bounded and the other not, are stacked without bounds."""
    clip = ClipTransform([("agents", "x")], [("agents", "clipped")], low=0.0, high=1.0)
    env = TransformedEnv(toy((2,)), [clip, Stack([("agents", "x"), ("agents", "clipped")], "both")])
    check_env_specs(env)
    assert env.full_observation_spec["both"] == Unbounded(shape=(2, 2, 2))
