"""Plans of environments: the public calls, without their checks."""

from collections.abc import Callable

import pytest
import torch
from tensordict import TensorDictBase

from rl_envs import (
    EnvBase,
    EnvPlan,
    GymEnv,
    InitTracker,
    PendulumEnv,
    RewardSum,
    StepCounter,
    TicTacToeEnv,
    TransformedEnv,
    pack_flat,
    unpack_flat,
)
from rl_envs._env_plan import complete_flags, merge_reset
from rl_envs.testing import CountingEnv, MultiKeyCountingEnv, NestedCountingEnv, TensorDictCountingEnv
from rl_specs import Categorical, FlatDict, MissingKeyError, TensorMap, Unbounded, join_key

ENVS: dict[str, Callable[[], EnvBase]] = {
    "counting": lambda: CountingEnv(),
    "counting, rows of mixed length": lambda: CountingEnv((3,), max_steps=[2, 3, 5]),
    "nested keys": lambda: CountingEnv((2,), max_steps=3, prefix=("agents",)),
    "written with TensorDicts": lambda: TensorDictCountingEnv((2,), max_steps=3),
    "transformed": lambda: TransformedEnv(CountingEnv((3,), max_steps=[2, 3, 5]), [RewardSum(), InitTracker()]),
    "transformed, written with TensorDicts": lambda: TransformedEnv(
        TensorDictCountingEnv((2,), max_steps=3), [RewardSum(), StepCounter(max_steps=2)]
    ),
    "gym": lambda: TransformedEnv(GymEnv("CartPole-v1"), [StepCounter(max_steps=4)]),
    "native": lambda: TransformedEnv(PendulumEnv(batch_size=(2, 2)), [StepCounter(max_steps=4)]),
}


def by_plan(env: EnvBase, actions: list[TensorDictBase]) -> list[FlatDict]:
    """Steps through the plan."""
    plan = EnvPlan(env)
    root = plan.reset()
    steps = []
    for action in actions:
        root.update(unpack_flat(action))
        nxt = plan.step(root)
        ahead: FlatDict = {join_key("next", key): value for key, value in nxt.items()}
        steps.append({**root, **ahead})
        root, _ = plan.advance(root, nxt)
    return steps


def by_hand(env: EnvBase, actions: list[TensorDictBase]) -> list[FlatDict]:
    """Steps through the public calls."""
    root: TensorDictBase = env.reset()
    steps = []
    for action in actions:
        stepped, root = env.step_and_maybe_reset(root.update(action))
        steps.append(unpack_flat(stepped))
    return steps


@pytest.mark.parametrize("kind", ENVS)
def test_plan_equals_the_public_calls(kind: str) -> None:
    """Twelve steps with resets in the middle are bitwise those of `step_and_maybe_reset`."""
    torch.manual_seed(0)
    env, other = ENVS[kind](), ENVS[kind]()
    env.set_seed(1)
    other.set_seed(1)
    actions = [env.rand_action().copy() for _ in range(12)]
    for planned, expected in zip(by_plan(env, actions), by_hand(other, actions), strict=True):
        assert set(planned) == set(expected)
        for key, value in expected.items():
            assert torch.equal(planned[key], value), key


def test_mask_names_the_rows_that_were_reset() -> None:
    """`advance` returns None where no row is done, else the mask of done rows."""
    env = CountingEnv((2,), max_steps=[1, 3])
    plan = EnvPlan(env)
    root = plan.reset()
    plan.random_action(root)
    nxt = plan.step(root)
    root, mask = plan.advance(root, nxt)
    assert mask is not None
    assert mask.squeeze(-1).tolist() == [True, False]
    assert root["observation"].squeeze(-1).tolist() == [0.0, 1.0]
    assert nxt["observation"].squeeze(-1).tolist() == [1.0, 1.0]


def test_recurrent_state_written_ahead_moves_on() -> None:
    """An entry that the policy writes under "next" is part of the step and of the next root."""
    plan = EnvPlan(CountingEnv())
    root = plan.reset()
    plan.random_action(root)
    root["next", "hidden"] = torch.ones(3)
    nxt = plan.step(root)
    assert ("next", "hidden") not in root
    assert torch.equal(nxt["hidden"], torch.ones(3))
    assert torch.equal(plan.advance(root, nxt)[0]["hidden"], torch.ones(3))


@pytest.mark.parametrize(
    ("given", "terminated", "truncated", "done"),
    [
        ({"done": 1}, 1, 0, 1),
        ({"done": 0}, 0, 0, 0),
        ({"terminated": 1}, 1, 0, 1),
        ({"truncated": 1}, 0, 1, 1),
        ({"done": 1, "truncated": 1}, 0, 1, 1),
        ({"done": 1, "terminated": 1}, 1, 0, 1),
        ({"terminated": 0, "truncated": 1}, 0, 1, 1),
    ],
)
def test_flags_complete_each_other(given: dict[str, int], terminated: int, truncated: int, done: int) -> None:
    """`done = terminated | truncated`, and a bare `done` is a termination."""
    entries: FlatDict = {key: torch.tensor([bool(value)]) for key, value in given.items()}
    complete_flags(entries, "done", "terminated", "truncated")
    found = [int(entries[key]) for key in ("terminated", "truncated", "done")]
    assert found == [terminated, truncated, done]


def test_a_step_without_flags_is_an_error() -> None:
    """A step that says nothing of the end of the episode is told which flags to return."""
    with pytest.raises(MissingKeyError, match=r'key "done" missing.*Return done, or terminated and truncated'):
        complete_flags({"reward": torch.zeros(1)}, "done", "terminated", "truncated")


def test_merge_keeps_rows_outside_the_mask() -> None:
    """Rows outside the mask stay bit-identical, NaN included."""
    before: FlatDict = {"a": torch.tensor([[1.0], [float("nan")]]), "kept": torch.arange(2.0)}
    merged = merge_reset(before, {"a": torch.zeros(2, 1), "new": torch.ones(2)}, torch.tensor([[True], [False]]), 1)
    assert merged["a"][0] == 0
    assert merged["a"][1].isnan()
    assert torch.equal(merged["kept"], before["kept"])
    assert torch.equal(merged["new"], torch.ones(2))
    assert before["a"][0] == 1


def test_flags_that_a_reset_leaves_out_are_false_in_its_rows() -> None:
    """Rows outside the mask keep their flags, those inside have none set; the flags given stay as they are."""
    plan = EnvPlan(GymEnv("CartPole-v1", num_envs=3, backend="serial"))  # returns no flags at a reset
    root = plan.reset()
    flags: FlatDict = {key: torch.tensor([[True], [True], [False]]) for key in ("done", "terminated")}
    new = plan.reset({**root, **flags, "_reset": torch.tensor([[True], [False], [False]])})
    for key in flags:
        assert new[key].tolist() == [[False], [True], [False]]
        assert flags[key].tolist() == [[True], [True], [False]]
    assert new["truncated"].tolist() == [[False]] * 3


def test_a_mask_spreads_over_more_dimensions() -> None:
    """Entries of one, two and three dimensions beside the mask `[B, 1]` are merged row by row."""
    mask = torch.tensor([[True], [False]])
    before: FlatDict = {"a": torch.ones(2), "b": torch.ones(2, 3), "c": torch.ones(2, 2, 2)}
    merged = merge_reset(before, {key: torch.zeros_like(value) for key, value in before.items()}, mask, 1)
    for value in merged.values():
        assert bool((value[0] == 0).all())
        assert bool((value[1] == 1).all())


def test_partial_reset_through_tensordicts_equals_flat_dicts() -> None:
    """The same mask gives the same root in both forms of data."""
    env, other = CountingEnv((2,), max_steps=9), CountingEnv((2,), max_steps=9)
    roots = []
    for each in (env, other):
        plan = EnvPlan(each)
        root = plan.reset()
        plan.random_action(root)
        root["action"] = torch.zeros(2, 1)
        roots.append(plan.advance(root, plan.step(root))[0])
    mask = torch.tensor([[False], [True]])
    flat = EnvPlan(env).reset({**roots[0], "_reset": mask})
    packed = other.reset(pack_flat({**roots[1], "_reset": mask}, torch.Size([2])))
    assert torch.equal(flat["observation"], packed["observation"])
    assert flat["observation"].squeeze(-1).tolist() == [1.0, 0.0]


def test_flags_at_the_root_decide() -> None:
    """Flags below the root, of an agent that has dropped out, end no episode where there are flags at the root."""
    env = MultiKeyCountingEnv((2,), max_steps=[2, 4])
    steps = env.rollout(5, break_when_any_done=False)
    assert steps["next", "right", "done"][:, :, 0].squeeze(-1).tolist() == [
        [True, True, True, True, True],
        [False, False, True, True, False],
    ]
    assert steps["count"].squeeze(-1).tolist() == [[0, 1, 0, 1, 0], [0, 1, 2, 3, 0]]
    assert MultiKeyCountingEnv(max_steps=4).rollout(9).batch_size == (4,)


def test_flags_of_groups_alone_end_the_row() -> None:
    """Without flags at the root, a row starts anew as soon as any member of a group is done."""
    steps = NestedCountingEnv((1,), num_agents=3, max_steps=2).rollout(5, break_when_any_done=False)
    assert steps["agents", "observation"][0, :, 2].flatten().tolist() == [0, 1, 0, 1, 0]


def test_actions_drawn_ahead_do_not_depend_on_the_length_of_a_rollout() -> None:
    """A long random rollout begins like a short one, past several draws, and its actions are uniform."""

    def actions(steps: int) -> torch.Tensor:
        torch.manual_seed(3)
        env = PendulumEnv(batch_size=(4,))
        env.set_seed(0)
        drawn: torch.Tensor = env.rollout(steps, break_when_any_done=False)["action"]
        return drawn

    long = actions(600)
    assert torch.equal(long[:, :70], actions(70))
    assert len(set(long.flatten().tolist())) == long.numel()
    shares = torch.histc(long, bins=4, min=-2.0, max=2.0) / long.numel()
    assert ((shares - 0.25).abs() < 0.04).all()


def test_restricted_actions_are_drawn_step_by_step() -> None:
    """Where what is allowed depends on the step, a random rollout asks for each action."""
    rollout = TicTacToeEnv().rollout(200, break_when_any_done=False)
    assert bool(rollout["mask"].gather(-1, rollout["action"].long().view(-1, 1)).all())


class FickleEnv(EnvBase):
    """Allows one action at a time, another one at each step, by the mask of its action spec."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_spec = Unbounded(shape=(1,))
        self.action_spec = self.moves = Categorical(5)
        self.count = 0

    def _allow(self) -> FlatDict:
        self.moves.update_mask(torch.arange(5) == self.count % 5)
        return {"observation": torch.zeros(1)}

    def _reset(self, data: TensorMap | None) -> FlatDict:
        self.count = 0
        return self._allow()

    def _step(self, data: TensorMap) -> FlatDict:
        self.count += 1
        return {**self._allow(), "reward": torch.zeros(1), "done": torch.zeros(1, dtype=torch.bool)}

    def _set_seed(self, seed: int) -> None:
        self.count = 0


def test_masks_that_an_env_sets_are_followed() -> None:
    """Actions are not drawn ahead of a mask that the environment itself sets in its spec from step to step."""
    assert FickleEnv().rollout(7)["action"].tolist() == [0, 1, 2, 3, 4, 0, 1]
