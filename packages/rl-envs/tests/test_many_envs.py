"""Tests of what environments made of several have in common."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs import (
    AsyncEnvPool,
    EnvBase,
    GymWrapper,
    ParallelEnv,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    check_env_specs,
)
from rl_envs.testing import CountingEnv, NestedCountingEnv
from rl_specs import FlatDict, SpecError, TensorMap


def _serial(makers: list[Callable[[], EnvBase]]) -> EnvBase:
    return SerialEnv(len(makers), makers)


def _parallel(makers: list[Callable[[], EnvBase]]) -> EnvBase:
    return ParallelEnv(len(makers), makers, num_processes=2, start_method="fork")


def _threads(makers: list[Callable[[], EnvBase]]) -> EnvBase:
    return AsyncEnvPool(makers)


def _processes(makers: list[Callable[[], EnvBase]]) -> EnvBase:
    return AsyncEnvPool(makers, backend="multiprocessing", start_method="fork", num_processes=2)


KINDS = [
    pytest.param(_serial, id="serial"),
    pytest.param(_parallel, id="parallel"),
    pytest.param(_threads, id="threads"),
    pytest.param(_processes, id="processes"),
]


class StartEnv(CountingEnv):  # type: ignore[misc]  # final, and all but the start as wanted
    """Starts its count where the entry `"start"` says, which is in none of its specs."""

    def _reset(self, data: TensorMap | None) -> FlatDict:
        super()._reset(data)
        start = None if data is None else data.get("start", None)
        if start is not None:
            self._count = start.clone()
        return {"observation": self._count.clone()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_reset_hands_on_what_it_is_given(kind: Any) -> None:
    """Entries beside the mask reach every environment, its own row each, as they reach one alone; the next reset has
    none of them.
    """
    start = torch.tensor([[3.0], [1.0], [2.0]])
    assert StartEnv().reset(TensorDict({"start": start[0]}))["observation"].item() == 3.0
    with kind([StartEnv] * 3) as env:
        root = env.reset(TensorDict({"start": start}, [3]))
        assert root["observation"].tolist() == [[3.0], [1.0], [2.0]]
        assert root["start"].tolist() == start.tolist()
        stepped, _ = env.step_and_maybe_reset(root.set("action", torch.zeros(3, 1)))
        assert stepped["next", "observation"].flatten().tolist() == [4.0, 2.0, 3.0]
        assert env.reset()["observation"].flatten().tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("backend", [{"backend": "threading"}, {"backend": "multiprocessing", "start_method": "fork"}])
def test_what_is_sent_to_a_reset_reaches_the_environment(backend: Any) -> None:
    """A reset of some environments, without a mask, has the entries that were sent, too."""
    with AsyncEnvPool([StartEnv] * 3, **backend) as pool:
        sent = TensorDict({"start": torch.tensor([[7.0], [5.0]]), "env_index": torch.tensor([2, 0])}, [2])
        pool.async_reset_send(sent)
        root = pool.async_reset_recv(min_get=2)
        assert root["env_index"].tolist() == [0, 2]
        assert root["observation"].flatten().tolist() == [5.0, 7.0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_that_is_set_signs_the_driver(kind: Any) -> None:
    """Whoever was stepping an environment learns that it has been moved by a state, through transforms too."""
    with kind([CountingEnv] * 2) as env:
        env.reset()
        outer = TransformedEnv(env, StepCounter())
        for state, put in ((env.get_state(), env.set_state), (env.state_dict(), env.load_state_dict)):
            env.drive("me")
            put(state)
            assert env.driver is None
        outer.drive("me")
        outer.set_state(outer.get_state())
        assert outer.driver is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_members_of_groups_start_anew(kind: Any, batch: tuple[int, ...]) -> None:
    """A mask of a group reaches every environment that follows such masks: the other members go on, in the data and in
    the environments; environments that do not follow them are reset by whole rows alone.
    """
    with kind([partial(NestedCountingEnv, batch, max_steps=9)] * 3) as env:
        assert env.resets_members
        check_env_specs(env)
        root: TensorDictBase = env.reset()
        for _ in range(3):
            root = env.step_mdp(env.rand_step(root))
        mask = torch.zeros(3, *batch, 2, 1, dtype=torch.bool)
        mask[0, ..., 1, :] = True
        mask[2, ..., 0, :] = True
        reset = env.reset(root.clone().set(("agents", "_reset"), mask))
        expected = torch.where(mask, 0.0, 3.0)
        assert torch.equal(reset["agents", "observation"], expected)
        following = env.rand_step(reset)["next"]
        assert torch.equal(following["agents", "observation"], expected + 1.0)
        whole = torch.zeros(3, *batch, 1, dtype=torch.bool)
        whole[1] = True
        again = env.reset(env.step_mdp(env.rand_step(reset)).set("_reset", whole))
        assert torch.equal(again["agents", "observation"], torch.where(whole.unsqueeze(-2), 0.0, expected + 2.0))
    with kind([partial(CountingEnv, prefix=("agents",))] * 2) as env:
        assert not env.resets_members


class LeftOpenEnv(CountingEnv):  # type: ignore[misc]  # final, and all but the mark as wanted
    """Notes that it is open by a file, and may fail to close."""

    def __init__(self, mark: Path, *, fails: bool = False, prefix: tuple[str, ...] = ()) -> None:
        super().__init__(prefix=prefix)
        self._mark, self._fails = mark, fails
        mark.touch()

    def _close(self) -> None:
        self._mark.unlink()
        if self._fails:
            raise RuntimeError("will not close")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("last", ["raises", "is none", "differs"])
def test_nothing_stays_open_where_the_making_fails(kind: Any, last: str, tmp_path: Path) -> None:
    """Environments made before one that fails, is none, or has other flags, are closed; the failure is told."""

    def fail() -> EnvBase:
        raise ZeroDivisionError("no such luck")

    makers: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
        "raises": (fail, ZeroDivisionError),
        "is none": (lambda: 3, TypeError),
        "differs": (partial(LeftOpenEnv, tmp_path / "2", prefix=("agents",)), SpecError),
    }
    maker, error = makers[last]
    with pytest.raises(error):
        kind([partial(LeftOpenEnv, tmp_path / "0"), partial(LeftOpenEnv, tmp_path / "1", fails=True), maker])
    assert list(tmp_path.iterdir()) == []


def test_all_are_closed_though_one_fails(tmp_path: Path) -> None:
    """The failure to close one is raised when the others have been closed, with further ones in its notes."""
    makers = [partial(LeftOpenEnv, tmp_path / str(index), fails=index < 2) for index in range(3)]
    with pytest.raises(RuntimeError, match="will not close") as caught:
        SerialEnv(3, makers).close()
    assert list(tmp_path.iterdir()) == []
    assert "RuntimeError: will not close" in caught.value.__notes__[0]


def test_stopped_entries(recwarn: pytest.WarningsRecorder) -> None:
    """An entry that a policy writes at times alone does no harm, in threads and in processes."""
    for kind in (_threads, _processes):
        with kind([partial(CountingEnv, max_steps=2)] * 2) as env:
            assert isinstance(env, AsyncEnvPool)
            root: TensorDictBase = env.reset()
            for time in range(6):
                root = env.rand_action(root)
                if time % 3 == 0:
                    root["noted"] = torch.ones(2, 1)
                env.async_step_and_maybe_reset_send(root.exclude("noted") if time % 3 else root)
                _, root = env.async_step_and_maybe_reset_recv(min_get=2)
            assert root["observation"].flatten().tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_move_to_a_device(kind: Any) -> None:
    """From then on the specs and the data are there, also those that are sent and received."""
    with kind([partial(CountingEnv, max_steps=2)] * 2) as env:
        before = env.rollout(3, lambda data: data.set("action", torch.zeros(2, 1)), break_when_any_done=False)
        env.to("cpu")
        assert env.device == torch.device("cpu")
        assert env.reset().device == torch.device("cpu")
        after = env.rollout(3, lambda data: data.set("action", torch.zeros(2, 1)), break_when_any_done=False)
        assert after.device == torch.device("cpu")
        assert (before.to("cpu") == after).all()
        if isinstance(env, AsyncEnvPool):
            env.async_step_send(env.rand_action(env.reset()))
            found = env.async_step_recv(min_get=2)
            assert found["next", "observation"].flatten().tolist() == [1.0, 1.0]


def test_a_move_reaches_the_environments_in_threads() -> None:
    """Environments in threads move themselves, with all that they return; none may be at work meanwhile."""
    envs = [CountingEnv() for _ in range(2)]
    with AsyncEnvPool(envs) as pool:
        pool.async_reset_send()
        with pytest.raises(RuntimeError, match="was not received"):
            pool.to("cpu")
        pool.async_reset_recv(min_get=2)
        pool.to("cpu")
        assert all(env.device == torch.device("cpu") for env in envs)
        assert pool._specs_of[2] is pool._env_specs()  # by which what is sent is checked


def test_wrappers_are_left_to_their_owner() -> None:
    """A Gymnasium environment that a wrapper refuses stays open: it is the caller's."""
    import gymnasium

    class Owned(gymnasium.Env[Any, Any]):
        observation_space = gymnasium.spaces.Dict(reward=gymnasium.spaces.Discrete(2))
        action_space = gymnasium.spaces.Discrete(2)
        is_open = True

        def close(self) -> None:
            self.is_open = False

    owned = Owned()
    with pytest.raises(SpecError, match=r"name of another entry(.|\n)*TransformObservation"):
        GymWrapper(owned)
    assert owned.is_open
