"""Actions that are not allowed at times."""

from functools import partial
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from rl_envs import (
    ActionMask,
    DiscreteActionProjection,
    EnvBase,
    NoopResetEnv,
    ParallelEnv,
    RenameTransform,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    check_env_specs,
)
from rl_specs import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    MultiCategorical,
    MultiOneHot,
    OneHot,
    SpecError,
    TensorMap,
    Unbounded,
)


class Walk(EnvBase):
    """Row `i` at time `t` allows two of four actions, `(t + i) % 4` and the next one; after `limit` steps, none."""

    accepts_mapping = True

    def __init__(
        self, batch_size: tuple[int, ...] = (), *, kind: str = "number", limit: int = 5, first: int = 0
    ) -> None:
        super().__init__(batch_size=batch_size)
        specs: dict[str, Any] = {"number": Categorical(4, batch_size), "vector": OneHot(4, (*batch_size, 4))}
        specs["numbers"] = MultiCategorical([2, 2], (*batch_size, 2))
        specs["vectors"] = MultiOneHot([2, 2], (*batch_size, 4))
        specs["column"] = Categorical(4, (*batch_size, 1))
        self.action_spec = specs[kind]
        mask = Binary(4, (*batch_size, 4), dtype=torch.bool)
        self.observation_spec = Composite(
            {"action_mask": mask, "observation": Unbounded(shape=(*batch_size, 1))}, shape=batch_size
        )
        self.row = first + torch.arange(self.batch_size.numel()).reshape(batch_size)
        self.t = torch.zeros(batch_size, dtype=torch.int64)
        self.limit = limit
        self.is_joint = kind in ("numbers", "vectors")

    def _observe(self) -> dict[Any, Tensor]:
        first = (self.t + self.row) % 4
        both = torch.stack([first, (first + 1) % 4], -1)
        mask = torch.zeros(*self.batch_size, 4, dtype=torch.bool).scatter(-1, both, True)
        if self.is_joint:  # two variables: the second one is free
            mask = torch.stack([first % 2 == 0, first % 2 == 1, *2 * [torch.ones_like(first, dtype=torch.bool)]], -1)
        mask = mask & (self.t < self.limit).unsqueeze(-1)
        return {"action_mask": mask, "observation": self.t.unsqueeze(-1).float()}

    def _reset(self, data: TensorMap | None) -> TensorMap:
        mask = None if data is None else data.get("_reset", None)
        self.t = torch.zeros_like(self.t) if mask is None else torch.where(mask.squeeze(-1), 0, self.t)
        return self._observe()

    def _step(self, data: TensorMap) -> TensorMap:
        self.t = self.t + 1
        done = (self.t >= self.limit).unsqueeze(-1)
        return {**self._observe(), "reward": torch.zeros(*self.batch_size, 1), "terminated": done}

    def _set_seed(self, seed: int) -> None:
        return None


def make_walk(first: int) -> EnvBase:
    """A single one of them."""
    return TransformedEnv(Walk(first=first), ActionMask())


def mask_of(env: EnvBase) -> Tensor:
    """The mask of the action spec."""
    spec: Any = env.action_spec
    mask: Tensor = spec.mask
    return mask


def is_allowed(action: Tensor, mask: Tensor, kind: str) -> bool:
    """Whether each action is one that the mask of its own step allows."""
    if kind in ("numbers", "vectors"):
        first = action[..., 0] if kind == "numbers" else action[..., :2].int().argmax(-1)
        return bool(mask.gather(-1, first.unsqueeze(-1)).all())
    index = action if kind == "number" else action[..., 0] if kind == "column" else action.int().argmax(-1)
    return bool(mask.gather(-1, index.unsqueeze(-1)).all())


@pytest.mark.parametrize("kind", ["number", "column", "vector", "numbers", "vectors"])
@pytest.mark.parametrize("batch_size", [(), (3,), (4,), (2, 2)], ids=str)
def test_random_actions_are_allowed_ones(batch_size: tuple[int, ...], kind: str) -> None:
    """Over many steps and resets every random action is one that the data of its own step allow, and all are drawn."""
    env = TransformedEnv(Walk(batch_size, kind=kind), [ActionMask(), StepCounter()])
    check_env_specs(env)
    data = env.rollout(60, break_when_any_done=False)
    assert is_allowed(data["action"], data["action_mask"], kind)
    action = data["action"]
    drawn = action if kind == "number" else action[..., 0]
    assert len(drawn.unique()) > 1


def test_the_spec_follows_the_data() -> None:
    """After a reset, a step and a partial reset the action spec has the mask of each row."""
    env = TransformedEnv(Walk((2,), limit=100), [ActionMask(), RewardSum()])
    before = env.full_action_spec
    root = env.reset()
    assert env.action_spec.is_in(torch.tensor([0, 2]))
    assert not env.action_spec.is_in(torch.tensor([2, 2]))
    _, root = env.step_and_maybe_reset(root.set("action", torch.tensor([1, 1])))
    assert mask_of(env).int().tolist() == [[0, 1, 1, 0], [0, 0, 1, 1]]
    assert env.action_spec.project(torch.tensor([0, 0])).tolist() == [1, 2]
    env.reset(root.set("_reset", torch.tensor([[True], [False]])))
    assert mask_of(env).int().tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert env.full_action_spec is before  # the spec is kept, with another mask


def test_a_step_is_checked_against_its_own_mask() -> None:
    """An action is refused where the data of the step rule it out, whatever the environment showed last."""
    env = TransformedEnv(Walk(limit=100), ActionMask())
    root = env.reset()
    later = env.step(root.clone().set("action", torch.tensor(0)))["next"]
    with pytest.raises(SpecError, match="outside its bounds"):
        env.step(later.clone().set("action", torch.tensor(0)))
    env.step(root.clone().set("action", torch.tensor(0)))
    drawn = {int(env.rand_action(root.clone())["action"]) for _ in range(30)}
    assert drawn == {0, 1}
    assert {int(env.rand_action(later.clone())["action"]) for _ in range(30)} == {1, 2}


def test_nothing_allowed_counts_as_everything() -> None:
    """After the end of a game, when no action is left, the spec rules out nothing."""
    env = TransformedEnv(Walk(limit=1), ActionMask())
    env.step(env.reset().set("action", torch.tensor(0)))
    assert mask_of(env).tolist() == [True] * 4
    both = TransformedEnv(Walk(limit=1, kind="numbers"), ActionMask())
    both.step(both.reset().set("action", torch.tensor([0, 0])))
    assert mask_of(both).tolist() == [True] * 4


@pytest.mark.parametrize("kind", ["serial", "parallel"])
def test_rows_of_environments_have_their_own_masks(kind: str) -> None:
    """In a row of environments each random action follows the mask of its row, and so does the spec."""
    makers = [partial(make_walk, first) for first in range(3)]
    env: EnvBase = SerialEnv(3, makers) if kind == "serial" else ParallelEnv(3, makers, start_method="fork")
    try:
        for outer in (env, TransformedEnv(env, StepCounter())):
            data = outer.rollout(40, break_when_any_done=False)
            assert is_allowed(data["action"], data["action_mask"], "number")
            assert len(data["action"].unique()) == 4
        outer.reset()
        assert outer.action_spec.is_in(torch.tensor([1, 2, 3]))
        assert not outer.action_spec.is_in(torch.tensor([3, 2, 3]))
    finally:
        env.close()


def test_other_names() -> None:
    """Action and mask can have other names, nested ones too."""

    class Nested(Walk):
        def __init__(self) -> None:
            super().__init__((2,))
            self.action_spec = Composite({("player", "move"): Categorical(4, (2,))}, shape=(2,))
            mask = Binary(4, (2, 4), dtype=torch.bool)
            self.observation_spec = Composite({("player", "legal"): mask, "observation": Unbounded((2, 1))}, shape=(2,))

        def _observe(self) -> dict[Any, Tensor]:
            found = super()._observe()
            return {("player", "legal"): found["action_mask"], "observation": found["observation"]}

    env = TransformedEnv(Nested(), ActionMask(("player", "move"), ("player", "legal")))
    check_env_specs(env)
    data = env.rollout(20, break_when_any_done=False)
    assert is_allowed(data["player", "move"], data["player", "legal"], "number")


def test_wiring() -> None:
    """Wrong names, an action without categories and a mask that does not fit, at once or later, are told."""
    with pytest.raises(SpecError, match='"mask" missing'):
        TransformedEnv(Walk(), ActionMask(mask_key="mask"))
    with pytest.raises(SpecError, match=r'"actoin" missing .*Did you mean "action"'):
        TransformedEnv(Walk(), ActionMask("actoin"))
    base = Walk()
    base.action_spec = Bounded(-1.0, 1.0, shape=(4,))
    with pytest.raises(SpecError, match="a Bounded has no categories"):
        TransformedEnv(base, ActionMask())
    base.action_spec = Categorical(5)
    with pytest.raises(SpecError, match="does not broadcast"):
        TransformedEnv(base, ActionMask())
    with pytest.raises(SpecError, match=r'mask "action_mask" of action "action".*Place ActionMask after'):
        TransformedEnv(Walk(), [ActionMask(), DiscreteActionProjection(4, 6)])
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        ActionMask()(TensorDict({"action_mask": torch.ones(4, dtype=torch.bool)}))


def test_renamed_masks_and_actions() -> None:
    """Behind a rename of mask and action the action spec has the mask of the data, and random actions are allowed."""
    names = RenameTransform(["action_mask"], [("legal", "moves")], in_keys_inv=["action"], out_keys_inv=["move"])
    env = TransformedEnv(Walk((2,)), [ActionMask(), names])
    check_env_specs(env)
    data = env.rollout(40, break_when_any_done=False)
    assert is_allowed(data["move"], data["legal", "moves"], "number")
    copied = TransformedEnv(Walk(), [ActionMask(), RenameTransform(["action_mask"], ["legal"], create_copy=True)])
    assert is_allowed((rolled := copied.rollout(30, break_when_any_done=False))["action"], rolled["legal"], "number")


def test_random_starts_take_allowed_actions() -> None:
    """The random actions of `NoopResetEnv` are allowed ones, from the first one on."""
    for seed in range(20):
        watched = _Watched(limit=100)
        env = TransformedEnv(watched, [ActionMask(), NoopResetEnv(3, random=False)])
        env.set_seed(seed)
        env.reset()
        assert [int(action) - time in (0, 1) for time, action in enumerate(watched.taken)] == [True] * 3


class _Watched(Walk):
    """Notes the actions that it is given, without batch."""

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit)
        self.taken: list[Tensor] = []

    def _step(self, data: TensorMap) -> TensorMap:
        self.taken.append(data["action"])
        return super()._step(data)
