"""Tests of environments that differ, in one batch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from tensordict import LazyStackedTensorDict, TensorDict, TensorDictBase
from torch import Tensor, nn

from rl_envs import (
    ActionMask,
    AsyncEnvPool,
    EnvBase,
    GymEnv,
    ParallelEnv,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    check_env_specs,
    to_gymnasium_vector,
)
from rl_envs._checks import EnvSpecError
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs._ragged import Ragged, joined_rows
from rl_envs.testing import CountingEnv, EnvConformance
from rl_specs import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    FlatDict,
    MissingKeyError,
    ShapeError,
    SpecError,
    Stacked,
    StackedComposite,
    TensorMap,
    Unbounded,
)

Maker = Callable[[], EnvBase]


class WideEnv(EnvBase):
    """Sees a random stream in a width of its own, plus the sum of its actions; may have an entry that others lack."""

    accepts_mapping = True

    def __init__(self, width: int, *, actions: int = 1, extra: bool = False, limit: int = 3, batch: Any = ()) -> None:
        super().__init__(batch_size=batch)
        entries: dict[Any, Any] = {"observation": Unbounded(shape=(*batch, width))}
        if extra:
            entries["info", "extra"] = Unbounded(shape=(*batch, 2), dtype=torch.int64)
        self.observation_spec = Composite(entries, shape=batch)
        self.action_spec = Bounded(-1.0, 1.0, shape=(*batch, actions))
        self._width, self._extra, self._limit = width, extra, limit
        self._generator = torch.Generator()
        self._count = torch.zeros(*batch, 1, dtype=torch.int64)

    def _observed(self, shift: Tensor | float) -> FlatDict:
        noise = torch.rand((*self._batch_size, self._width), generator=self._generator)
        found: FlatDict = {"observation": noise + shift}
        if self._extra:
            found["info", "extra"] = self._count.expand(*self._batch_size, 2).clone()
        return found

    def _reset(self, data: TensorMap | None) -> FlatDict:
        mask = None if data is None else data.get("_reset", None)
        zero = torch.zeros_like(self._count)
        self._count = zero if mask is None else torch.where(mask, zero, self._count)
        return self._observed(0.0)

    def _step(self, data: TensorMap) -> FlatDict:
        self._count = self._count + 1
        total = data["action"].sum(-1, keepdim=True)
        return {**self._observed(total), "reward": total, "terminated": self._count >= self._limit}

    def _set_seed(self, seed: int) -> None:
        self._generator.manual_seed(seed)

    @property
    def has_exact_state(self) -> bool:
        """Yes."""
        return True

    def get_state(self) -> dict[str, Any]:
        """The stream and the count."""
        return {"stream": self._generator.get_state(), "count": self._count.clone()}

    def set_state(self, state: Any) -> None:
        """Go on from there."""
        self.drive(None)
        self._generator.set_state(state["stream"])
        self._count = state["count"].clone()


def mixture(batch: tuple[int, ...] = ()) -> list[Maker]:
    """Four environments of three kinds."""
    return [
        partial(WideEnv, 2, batch=batch),
        partial(WideEnv, 3, actions=2, extra=True, limit=4, batch=batch),
        partial(WideEnv, 2, batch=batch, limit=2),
        partial(WideEnv, 3, actions=1, batch=batch),
    ]


def _serial(makers: list[Maker]) -> EnvBase:
    return SerialEnv(len(makers), makers)


def _parallel(makers: list[Maker], processes: int | None = None, **options: Any) -> EnvBase:
    return ParallelEnv(len(makers), makers, num_processes=processes, start_method="fork", **options)


def _threads(makers: list[Maker]) -> EnvBase:
    return AsyncEnvPool(makers, stack="maybe_dense")


def _processes(makers: list[Maker], processes: int | None = None) -> EnvBase:
    options: Any = {"backend": "multiprocessing", "start_method": "fork", "num_processes": processes}
    return AsyncEnvPool(makers, stack="maybe_dense", **options)


KINDS: dict[str, Callable[[list[Maker]], EnvBase]] = {
    "serial": _serial,
    "parallel": _parallel,
    "parallel, 2 processes": partial(_parallel, processes=2),
    "threads": _threads,
    "processes": _processes,
    "processes, 3": partial(_processes, processes=3),
}
OTHERS = [kind for kind in KINDS if kind != "serial"]


def assert_same(first: TensorDictBase, second: TensorDictBase) -> None:
    """Bit for bit, row by row."""
    assert first.batch_size == second.batch_size
    for a, b in zip(first.unbind(0), second.unbind(0), strict=True):
        one, other = unpack_flat(a), unpack_flat(b)
        assert set(one) == set(other)
        assert all(one[key].dtype is other[key].dtype and torch.equal(one[key], other[key]) for key in one)


def seeded_rollout(env: EnvBase, steps: int = 12, **options: Any) -> TensorDictBase:
    """Random actions, across resets."""
    torch.manual_seed(0)
    env.set_seed(5)
    return env.rollout(steps, break_when_any_done=False, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_specs_are_true(kind: str, batch: tuple[int, ...]) -> None:
    """What resets, steps and rollouts return is what the specs of each environment say."""
    with KINDS[kind](mixture(batch)) as env:
        check_env_specs(env, seed=0)
        check_env_specs(env, return_contiguous=False, seed=0)
        kinds: list[Any] = [type(env.observation_spec), type(env.action_spec)]
        assert kinds == [StackedComposite, Stacked]
        assert env.reward_spec == Unbounded(shape=(4, *batch, 1))
        assert env.observation_spec[1]["info", "extra"].shape == (*batch, 2)
        assert env.full_done_spec.shape == env.batch_size == (4, *batch)
        assert env.observation_spec.is_in(env.reset().select("observation", ("info", "extra"), strict=False))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_rows_are_those_of_the_environments_alone(kind: str, batch: tuple[int, ...]) -> None:
    """Each row is what its environment gives alone under its seed and these actions, across resets."""
    with KINDS[kind](mixture(batch)) as env:
        found = seeded_rollout(env)
        assert isinstance(found, LazyStackedTensorDict)
        assert found.batch_size == (4, *batch, 12)
        assert found["next", "reward"].shape == (4, *batch, 12, 1)
    for index, make in enumerate(mixture(batch)):
        alone, row = make(), found[index]
        alone.set_seed(5, first_index=index * alone.batch_size.numel())
        root: TensorDictBase = alone.reset()
        for time in range(12):
            stepped, root = alone.step_and_maybe_reset(root.set("action", row[..., time]["action"]))
            assert_same(stepped.unsqueeze(0), row[..., time].unsqueeze(0))


@pytest.mark.parametrize("kind", OTHERS)
def test_all_kinds_are_a_serial_env(kind: str) -> None:
    """Rollouts with their random actions, resets by step and states are those of a `SerialEnv`, bit for bit."""
    with KINDS[kind](mixture()) as env:
        serial = SerialEnv(4, mixture())
        assert_same(seeded_rollout(env), seeded_rollout(serial))
        serial.set_state(env.get_state())
        actions = [serial.rand_action() for _ in range(4)]
        both = []
        for each in (env, serial):
            root: TensorDictBase = each.reset(TensorDict({"note": torch.arange(4).unsqueeze(-1)}, [4]))
            steps = []
            for action in actions:
                stepped, root = each.step_and_maybe_reset(root.update(action))
                steps.append(stepped.clone())
            both.append(steps)
        for one, other in zip(*both, strict=True):
            assert_same(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_of_some_rows_leaves_the_others(kind: str) -> None:
    """Rows outside the mask are those that were given, bit for bit; those in it start anew."""
    with KINDS[kind](mixture()) as env:
        root: TensorDictBase = env.reset(seed=1)
        for _ in range(1):
            _, root = env.step_and_maybe_reset(env.rand_action(root))
        before = root.clone()
        root["_reset"] = torch.tensor([[False], [True], [False], [True]])
        after = env.reset(root)
        for row in (0, 2):
            assert_same(after[row].unsqueeze(0), before[row].unsqueeze(0))
        for row in (1, 3):
            assert not torch.equal(after[row]["observation"], before[row]["observation"])
        assert after[1]["info", "extra"].tolist() == [0, 0]
        assert before[1]["info", "extra"].tolist() == [1, 1]
        with pytest.raises(ShapeError):
            env.reset(before.set("_reset", torch.ones(4, 2, dtype=torch.bool)))


@pytest.mark.parametrize("kind", KINDS)
def test_methods_of_an_environment(kind: str) -> None:
    """What one can ask any environment of, one can ask these of."""
    with KINDS[kind](mixture()) as env:
        stepped = env.rand_step(env.reset(seed=1))
        assert not env.any_done(stepped["next"])
        moved = env.step_mdp(stepped)
        assert moved[1]["info", "extra"].tolist() == [1, 1]
        assert "reward" not in moved
        assert "action" not in moved[0]
        again = env.maybe_reset(env.step_mdp(env.rand_step(moved)))
        assert again["done"].flatten().tolist() == [False] * 4
        fake = env.fake_tensordict()
        assert fake[3]["action"].shape == (1,)
        assert fake[1]["next", "info", "extra"].shape == (2,)
        data = env.rollout(5, break_when_any_done=False, break_when_all_done=True)
        assert data["next", "done"].any(1).all()
        assert data[2]["next", "reward"][2:].abs().sum() == 0.0
        assert env.rollout(9).batch_size == (4, 2)
        data = env.rollout(1, set_truncation=True, tensordict=env.reset(), auto_reset=False)
        assert data["next", "truncated"].all()
        seen: list[torch.Size] = []
        env.rollout(1, callback=lambda _, step: seen.append(step[1]["next", "observation"].shape))
        assert seen == [(3,)]


def test_gymnasium_of_several_kinds() -> None:
    """Games with other observations and actions run side by side."""
    makers: list[Maker] = [partial(GymEnv, name) for name in ("CartPole-v1", "Acrobot-v1", "CartPole-v1")]
    with ParallelEnv(3, makers, start_method="fork") as env:
        check_env_specs(env)
        found = seeded_rollout(env, 40)
        assert_same(found, seeded_rollout(SerialEnv(3, makers), 40))
        assert [found[row]["observation"].shape[-1] for row in range(3)] == [4, 6, 4]
        assert [found[row]["action"].shape[-1] for row in range(3)] == [2, 3, 2]


def test_policies() -> None:
    """A policy sees the environments' own TensorDicts; one that wants one tensor is told why there is none."""
    env = SerialEnv(2, mixture()[:2])

    def rows(data: TensorDictBase) -> TensorDictBase:
        for row, width in zip(data.unbind(0), (1, 2), strict=True):
            row["action"] = row["observation"][:width].clamp(-1.0, 1.0)
        return data

    data = env.rollout(3, rows)
    assert torch.equal(data[1]["action"], data[1]["observation"][:, :2].clamp(-1.0, 1.0))
    with pytest.raises(TypeError, match=r"linear takes one tensor(.|\n)*data\[i\]"):
        env.rollout(3, nn.Linear(2, 1))
    with pytest.raises(MissingKeyError, match=r"SerialEnv, env 0: the policy wrote no action"):
        env.rollout(3, lambda data: data)


def test_input_is_checked_row_by_row() -> None:
    """A wrong action is told with the environment that it was for; a stack that cannot hold the actions is refused."""
    env = SerialEnv(2, mixture()[:2])
    root = env.rand_action(env.reset())
    root.tensordicts[1]["action"] = torch.zeros(1)  # type: ignore[attr-defined]  # a lazy stack
    with pytest.raises(ShapeError, match=r"SerialEnv, env 1\.step: action(.|\n)*Expected \(2,\), found \(1,\)"):
        env.step(root)
    with pytest.raises(ShapeError, match="actions differ in shape"):
        env.rand_action(TensorDict({}, [2]))
    alike = SerialEnv(2, [mixture()[0], mixture()[3]])
    assert alike.rand_action(TensorDict({}, [2]))["action"].shape == (2, 1)


class MaskedEnv(WideEnv):
    """Allows one category alone, the number of steps."""

    def __init__(self, categories: int) -> None:
        super().__init__(1)
        self._categories = categories
        self.action_spec = Categorical(categories)
        mask = Binary(categories, dtype=torch.bool)
        self.observation_spec = Composite({"observation": Unbounded(shape=(1,)), "action_mask": mask})

    def _observed(self, shift: Tensor | float) -> FlatDict:
        mask = torch.zeros(self._categories, dtype=torch.bool)
        mask[int(self._count) % self._categories] = True
        return {"observation": torch.zeros(1), "action_mask": mask}

    def _step(self, data: TensorMap) -> FlatDict:
        self._count = self._count + 1
        return {**self._observed(0.0), "reward": torch.zeros(1), "terminated": self._count >= 3}


@pytest.mark.parametrize("kind", ["serial", "parallel", "threads"])
def test_masks_of_actions(kind: str) -> None:
    """Random actions follow the mask of their own environment, and a step refuses an action that it rules out."""
    makers: list[Maker] = [partial(lambda n: TransformedEnv(MaskedEnv(n), ActionMask()), n) for n in (2, 3)]
    with KINDS[kind](makers) as env:
        data = env.rollout(7, break_when_any_done=False)
        assert data["action"].tolist() == [[0, 1, 0, 0, 1, 0, 0], [0, 1, 2, 0, 1, 2, 0]]
        root = env.reset().set("action", torch.tensor([0, 2]))
        with pytest.raises(SpecError, match=r"env 1\.step: action(.|\n)*outside"):
            env.step(root)


def test_asynchronous_data() -> None:
    """Environments of an asynchronous pool may differ where results need not be dense; each row is its own."""
    serial = SerialEnv(4, mixture())
    serial.set_seed(5)
    torch.manual_seed(0)
    root: TensorDictBase = serial.reset()
    action = serial.rand_action()
    expected, _ = serial.step_and_maybe_reset(root.update(action))
    for stack in ("maybe_dense", "lazy"):
        with AsyncEnvPool(mixture(), stack=stack) as pool:
            pool.set_seed(5)
            pool.async_reset_send()
            first = pool.async_reset_recv(min_get=4).update(action)
            pool.async_step_and_maybe_reset_send(first[1:])
            found, _ = pool.async_step_and_maybe_reset_recv(env_index=[3, 1, 2])
            assert found["env_index"].tolist() == [3, 1, 2]
            for row, index in enumerate([3, 1, 2]):
                assert_same(found[row].exclude("env_index").unsqueeze(0), expected[index].unsqueeze(0))
            wrong = first[:1].clone()
            wrong["action"] = torch.full((1, 1), 3.0)
            with pytest.raises(SpecError, match=r"AsyncEnvPool, env 0\.step"):
                pool.async_step_send(wrong)
    with pytest.raises(SpecError, match=r'environments differ(.|\n)*stack="maybe_dense"'):
        AsyncEnvPool(mixture())


def test_a_worker_that_is_started_anew(tmp_path: Any) -> None:
    """The episode of the environment that failed ends with its last observation, in its own shape."""
    mark = tmp_path / "mark"

    class Failing(WideEnv):
        def _step(self, data: TensorMap) -> FlatDict:
            if int(self._count) == 1 and not mark.exists():
                mark.touch()
                raise ZeroDivisionError
            return super()._step(data)

    makers: list[Maker] = [partial(WideEnv, 2, limit=9), partial(Failing, 3, extra=True, limit=9)]
    with _parallel(makers, restart_on_failure=1) as env:
        data = seeded_rollout(env, 4)
        assert data["next", "truncated"].squeeze(-1).tolist() == [[False] * 4, [False, True, False, False]]
        assert torch.equal(data[1]["next", "observation"][1], data[1]["next", "observation"][0])
        assert data[1]["next", "info", "extra"][:, 0].tolist() == [1, 1, 1, 2]
        expected = seeded_rollout(SerialEnv(2, [makers[0], partial(WideEnv, 3, extra=True, limit=9)]), 4)
        assert torch.equal(data[0]["observation"], expected[0]["observation"])


def test_what_may_not_differ() -> None:
    """Other batch sizes, flags, rewards and kinds of entries of one name are refused, with the difference."""

    class TwoRewards(WideEnv):
        def __init__(self) -> None:
            super().__init__(2)
            self.reward_spec = Unbounded(shape=(2,))

    class Kind(WideEnv):
        def __init__(self) -> None:
            super().__init__(2)
            self.action_spec = Categorical(2)

    first: Maker = partial(WideEnv, 2)
    cases: list[tuple[Maker, str]] = [
        (TwoRewards, r"env 1 differ from those of env 0(.|\n)*reward"),
        (partial(WideEnv, 2, batch=(2,)), r"batch size \(\) and \(2,\)"),
        (partial(CountingEnv, prefix=("agents",)), r"env 1 differ(.|\n)*agents"),
        (Kind, "the action specs of env 1 and env 0 cannot be stacked"),
        (lambda: SerialEnv(2, mixture()[:2]), "of several that differ, inside of another"),
    ]
    for second, text in cases:
        one = first if "inside" not in text else second
        with pytest.raises(SpecError, match=text):
            SerialEnv(2, [one, second])
    mixed = SerialEnv(2, mixture()[:2])
    with pytest.raises(SpecError, match="Put the transforms inside each of them"):
        TransformedEnv(mixed, StepCounter())
    with pytest.raises(SpecError, match="a VectorEnv has one space for all"):
        to_gymnasium_vector(mixed)


def test_bounds_alone_are_dense() -> None:
    """Environments that differ in bounds alone have one dense spec, with the bounds of each."""

    def make(high: float) -> EnvBase:
        env = WideEnv(2)
        env.action_spec = Bounded(-1.0, high, shape=(1,))
        return env

    with ParallelEnv(2, [partial(make, 1.0), partial(make, 3.0)], start_method="fork") as env:
        assert isinstance(env.observation_spec, Composite)
        spec: Any = env.action_spec
        assert spec.space.high.tolist() == [[1.0], [3.0]]
        assert type(env.rollout(2)) is TensorDict
        TransformedEnv(env, StepCounter()).rollout(2)


def test_lies_are_told_by_the_environment() -> None:
    """`check_env_specs` names the row of an entry that is not what its environment's spec says."""

    class Lying(WideEnv):
        def _observed(self, shift: Tensor | float) -> FlatDict:
            return {"observation": super()._observed(shift)["observation"].double()}

    with pytest.raises(EnvSpecError, match=r'observation", "\[1\]"(.|\n)*float32(.|\n)*float64'):
        check_env_specs(SerialEnv(2, [partial(WideEnv, 2), partial(Lying, 3)]))


class TestOfMixedSerial(EnvConformance):
    """Environments that differ, in a row, keep every promise."""

    def make_env(self) -> EnvBase:
        """Three of them."""
        return SerialEnv(3, mixture()[:3])


class TestOfMixedProcesses(EnvConformance):
    """Environments that differ, in processes, keep every promise."""

    def make_env(self) -> EnvBase:
        """Three of them."""
        return ParallelEnv(3, mixture()[:3], num_processes=2, start_method="fork")


def test_ragged_entries() -> None:
    """Row by row, `where`, `stack` and copies are those of the tensors, and anything else is refused by name."""
    rows = [torch.arange(2.0), None, torch.ones(2, 3)]
    ragged: Any = Ragged(rows)
    assert (len(ragged), ragged.ndim, ragged.shape) == (3, 3, (3, 2, 3))
    assert repr(ragged) == "Ragged((2,), None, (2, 3))"
    mask = torch.tensor([True, True, False]).reshape(3, 1, 1)
    chosen: Any = torch.where(mask, ragged, torch.zeros_like(ragged))
    assert chosen[0].tolist() == [0.0, 1.0]
    assert chosen[1] is None
    assert chosen[2].sum() == 0.0
    assert torch.stack([ragged, ragged], 1)[2].shape == (2, 2, 3)
    assert ragged.clone()[0] is not rows[0]
    assert ragged[1:].rows[0] is None
    with pytest.raises(TypeError, match="one tensor is wanted"):
        _ = ragged.dtype
    refused: list[Callable[[], Any]] = [lambda: torch.sum(ragged), lambda: torch.stack(tensors=[ragged], dim=1)]
    for wrong in refused:
        with pytest.raises(TypeError, match="takes one tensor"):
            wrong()
    longer: Any = Ragged([torch.zeros(3), None, None])
    with pytest.raises(ShapeError, match=r"env 0 has changed its shape(.|\n)*\(3,\)(.|\n)*\(2,\)"):
        torch.where(mask, ragged, longer)


def test_flat_dicts_of_lazy_stacks() -> None:
    """A lazy stack of rows that differ becomes a flat dict and comes back; of rows that are alike it is dense."""
    first = TensorDict({"a": torch.zeros(2), ("b", "c"): torch.ones(1)})
    rows = [first, TensorDict({"a": torch.zeros(2), "d": torch.ones(3)})]
    flat = unpack_flat(LazyStackedTensorDict(*rows, stack_dim=0))
    assert flat["a"].shape == (2, 2)
    nested: Any = flat["b", "c"]
    assert isinstance(nested, Ragged)
    back = pack_flat(flat, torch.Size((2,)))
    assert_same(back, LazyStackedTensorDict(*rows, stack_dim=0))
    dense = unpack_flat(LazyStackedTensorDict(rows[0], rows[0].clone(), stack_dim=0))
    assert dense["b", "c"].shape == (2, 1)
    assert joined_rows([dense, dense])["a"].shape == (2, 2, 2)
