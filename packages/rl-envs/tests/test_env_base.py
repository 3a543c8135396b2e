"""Tests of `rl_envs._env_base`."""

import math

import pytest
import torch
from tensordict import TensorDict

from rl_envs import (
    ActionMask,
    ClosedEnvError,
    EnvBase,
    PendulumEnv,
    StateNotSupportedError,
    TicTacToeEnv,
    TransformedEnv,
    check_env_specs,
    step_mdp,
)
from rl_envs.testing import CountingEnv, EnvConformance, TensorDictCountingEnv
from rl_specs import Bounded, Categorical, Composite, DTypeError, FlatDict, SpecError, TensorMap, Unbounded


class TwoFlagsEnv(EnvBase):
    """Returns the flags it is told to return."""

    accepts_mapping = True

    def __init__(self, flags: dict[str, bool]) -> None:
        super().__init__()
        self.observation_spec = Unbounded(shape=(1,))
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
        self.flags = flags

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return {"observation": torch.zeros(1)}

    def _step(self, data: TensorMap) -> FlatDict:
        flags: FlatDict = {name: torch.tensor([value]) for name, value in self.flags.items()}
        return {"observation": torch.zeros(1), "reward": torch.zeros(1), **flags}

    def _set_seed(self, seed: int) -> None:
        self.seed = seed


class TestTensorDictStyle(EnvConformance):
    """An environment that takes TensorDicts keeps every promise."""

    def make_env(self) -> EnvBase:
        """A batch of two."""
        return TensorDictCountingEnv((2,))


class TestNested(EnvConformance):
    """An environment with nested entries keeps every promise."""

    def make_env(self) -> EnvBase:
        """Rows that end at different times."""
        return CountingEnv((2, 2), max_steps=[[2, 3], [4, 9]], prefix=("agents",))


def test_step_writes_next_into_its_input() -> None:
    """`step` returns its input, with the result under "next"."""
    env = CountingEnv()
    root = env.rand_action(env.reset())
    stepped = env.step(root)
    assert stepped is root
    assert stepped["next", "observation"].item() == 1
    assert stepped["next", "reward"].item() == pytest.approx(1 + root["action"].item())
    assert step_mdp(stepped)["observation"].item() == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"done": True}, (True, True, False)),
        ({"terminated": True}, (True, True, False)),
        ({"truncated": True}, (True, False, True)),
        ({"done": True, "terminated": False}, (True, False, True)),
        ({"done": True, "truncated": True}, (True, False, True)),
        ({"terminated": False, "truncated": False}, (False, False, False)),
        ({"terminated": True, "truncated": True}, (True, True, True)),
    ],
)
def test_missing_flags_are_completed(given: dict[str, bool], expected: tuple[bool, bool, bool]) -> None:
    """Flags that a step leaves out follow from those it returns; `done` alone is a termination."""
    env = TwoFlagsEnv(given)
    following = env.rand_step(env.reset())["next"]
    assert tuple(following[name].item() for name in ("done", "terminated", "truncated")) == expected


def test_reset_of_some_rows_keeps_the_others() -> None:
    """Rows outside the mask keep their entries, and other entries of the input come through."""
    env = CountingEnv((3,))
    root = step_mdp(env.rand_step(env.reset()))
    root["hidden"] = torch.arange(3.0)
    mask = torch.tensor([True, False, True])
    after = env.reset(root.clone().set("_reset", mask))
    assert after["observation"].flatten().tolist() == [0.0, 1.0, 0.0]
    assert after["hidden"].tolist() == [0.0, 1.0, 2.0]
    assert "_reset" not in after
    following = env.rand_step(after)["next", "observation"].flatten().tolist()
    assert following == [1.0, 2.0, 1.0]


def test_reset_ignores_a_stale_next() -> None:
    """A reset of a finished step has no "next"."""
    env = CountingEnv()
    assert "next" not in env.reset(env.rand_step(env.reset()))


def test_step_and_maybe_reset_keeps_the_last_observation() -> None:
    """The step that ends an episode holds its last observation, the next root the first of the new one."""
    env = CountingEnv((2,), max_steps=[1, 5])
    stepped, root = env.step_and_maybe_reset(env.rand_action(env.reset()))
    assert stepped["next", "observation"].flatten().tolist() == [1.0, 1.0]
    assert stepped["next", "done"].flatten().tolist() == [True, False]
    assert root["observation"].flatten().tolist() == [0.0, 1.0]
    assert root["done"].flatten().tolist() == [False, False]


def test_specs_are_seen_through_every_accessor() -> None:
    """Leaf, full and unbatched views agree with what the author set."""
    env = CountingEnv((3,))
    assert env.action_spec == Bounded(-1.0, 1.0, shape=(3, 1))
    assert env.full_action_spec["action"] == env.action_spec
    assert env.action_spec_unbatched == Bounded(-1.0, 1.0, shape=(1,))
    assert env.full_action_spec_unbatched.shape == torch.Size(())
    assert isinstance(env.observation_spec, Composite)
    assert env.observation_spec_unbatched["observation"].shape == torch.Size((1,))
    assert env.reward_spec.shape == torch.Size((3, 1))
    assert env.done_keys == ["done", "terminated", "truncated"]
    assert (env.action_key, env.reward_key, env.done_key) == ("action", "reward", "done")
    assert env.full_done_spec["truncated"] == Categorical(2, shape=(3, 1), dtype=torch.bool)
    assert env.input_spec["full_action_spec", "action"] == env.action_spec
    assert env.output_spec["full_observation_spec", "observation"].shape == torch.Size((3, 1))
    assert env.output_spec_unbatched["full_reward_spec", "reward"].shape == torch.Size((1,))


def test_nested_keys() -> None:
    """Nested entries are named by tuples."""
    env = CountingEnv(prefix=("agents",))
    assert env.action_keys == [("agents", "action")]
    assert env.rollout(3)["next", "agents", "observation"].flatten().tolist() == [1.0, 2.0, 3.0]


def test_fake_tensordict_has_the_form_of_a_step() -> None:
    """The fake step has the keys, shapes and dtypes of a true one."""
    env = CountingEnv((2,), prefix=("agents",))
    fake, true = env.fake_tensordict(), env.rand_step(env.reset())
    assert set(fake.keys(True, True)) == set(true.keys(True, True))
    assert all(
        fake[key].shape == true[key].shape and fake[key].dtype == true[key].dtype for key in true.keys(True, True)
    )


def test_closed_env_says_so() -> None:
    """Every use of a closed environment is an error."""
    env = CountingEnv()
    root = env.rand_action(env.reset())
    env.close()
    for use in (env.reset, lambda: env.step(root), lambda: env.rollout(2), lambda: env.set_seed(0)):
        with pytest.raises(ClosedEnvError, match="the env is closed"):
            use()


def test_state_that_is_not_supported() -> None:
    """An environment without an exact state says so, and has an empty `state_dict`."""
    env = TensorDictCountingEnv()
    assert not env.has_exact_state
    with pytest.raises(StateNotSupportedError, match="episode boundary"):
        env.get_state()
    with pytest.raises(StateNotSupportedError, match="episode boundary"):
        env.set_state({})
    assert env.state_dict() == {}
    env.load_state_dict({})
    with pytest.raises(KeyError, match="unknown entries"):
        env.load_state_dict({"other": 1})


def test_set_seed_returns_the_next_seed() -> None:
    """The seed returned is a function of the seed given, and that seed itself when static."""
    env = PendulumEnv()
    assert env.set_seed(3) == env.set_seed(3) != 3
    assert env.set_seed(3, static_seed=True) == 3
    assert env.set_seed() >= 0
    with pytest.raises(ValueError, match="negative seed"):
        env.set_seed(-1)
    with pytest.raises(TypeError, match=r"PendulumEnv.set_seed: seed. Expected an int or None, found 'a'"):
        env.set_seed("a")  # type: ignore[arg-type]  # what is tested


def test_reset_takes_a_seed() -> None:
    """`reset(seed=s)` is `set_seed(s)` and `reset()`."""
    env = PendulumEnv()
    first = env.reset(seed=4)["observation"]
    env.set_seed(4)
    assert torch.equal(first, env.reset()["observation"])


def test_device_is_the_one_that_tensors_report() -> None:
    """An index that tensors do not report, as in "cpu:0", is no other device: data and actions fit the env."""
    for env in (PendulumEnv(device="cpu:0"), PendulumEnv().to("cpu:0")):
        assert env.device == torch.device("cpu")
        data = env.reset().set("action", torch.zeros(1))
        assert env.step(data).device == env.device


def test_modes_and_repr() -> None:
    """The mode is switched by `train` and `eval`; `repr` names batch size and device."""
    env = CountingEnv((2,))
    assert env.training
    assert not env.eval().training
    assert env.train() is env
    assert repr(env) == "CountingEnv(batch_size=torch.Size([2]), device=None)"


def test_rand_step_without_input() -> None:
    """`rand_action` and `rand_step` start from an empty TensorDict when there is none."""
    env = CountingEnv((2,))
    env.reset()
    assert env.rand_action()["action"].shape == torch.Size((2, 1))
    assert isinstance(env.rand_step(), TensorDict)


def test_several_steps_are_refused_by_step() -> None:
    """Input of another batch size than the environment's is an error."""
    env = CountingEnv((2,))
    with pytest.raises(ValueError, match="another batch size"):
        env.step(TensorDict({"action": torch.zeros(3, 1)}, batch_size=[3]))


class Written(EnvBase):
    """As an author writes one, with the full specs."""

    def __init__(self, device: str | None = None) -> None:
        super().__init__(device=device)
        self.full_observation_spec = Composite(observation=Unbounded((3,)))
        self.full_action_spec = Composite(action=Categorical(4))
        self.full_reward_spec = Composite(reward=Unbounded((1,)))
        self.full_done_spec = Composite(done=Categorical(2, (1,), dtype=torch.bool))
        self.full_state_spec = Composite()

    def _reset(self, data: TensorMap | None) -> TensorMap:
        return {"observation": torch.zeros(3)}

    def _step(self, data: TensorMap) -> TensorMap:
        return {"observation": torch.ones(3), "reward": torch.ones(1), "done": torch.zeros(1, dtype=torch.bool)}

    def _set_seed(self, seed: int) -> None:
        pass


def test_full_specs_can_be_set() -> None:
    """`full_x_spec` is set as `x_spec` is."""
    env = Written()
    check_env_specs(env)
    assert env.action_spec == Categorical(4)
    assert set(env.done_keys) == {"done", "terminated", "truncated"}


def test_flags_are_bool() -> None:
    """A flag declared as a number is refused, nested ones too; entries beside the flags may be anything."""
    env = CountingEnv((2,))
    for key in ("terminated", ("agents", "done")):
        with pytest.raises(DTypeError, match=r"done_spec: .*bool, found torch.float32.*Categorical\(2"):
            env.done_spec = Composite({key: Unbounded((2, 1))}, shape=(2,))
    env.done_spec = Composite(done=Categorical(2, (2, 1), dtype=torch.bool), lives=Unbounded((2, 1)), shape=(2,))
    assert set(env.done_keys) == {"done", "terminated", "truncated", "lives"}


def test_specs_are_on_the_device_of_the_env() -> None:
    """Specs that an author gives without a device are moved to that of the environment."""
    env = Written("meta")
    for spec in (env.full_observation_spec, env.full_action_spec, env.full_reward_spec, env.full_done_spec):
        assert all(leaf.device == torch.device("meta") for _, leaf in spec.flat_items())


def test_all_actions() -> None:
    """Discrete actions are counted and listed, those that a mask in the data allows with a root; others are refused."""
    env = Written()
    assert env.cardinality() == 4
    assert env.all_actions()["action"].tolist() == [0, 1, 2, 3]
    game = TransformedEnv(TicTacToeEnv(), ActionMask(mask_key="mask"))
    root = game.reset()
    root = game.step_and_maybe_reset(root.set("action", torch.tensor([3])))[1]
    assert game.cardinality() == 9
    assert game.cardinality(root) == 8
    assert game.all_actions(root)["action"].flatten().tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    assert PendulumEnv().cardinality() == math.inf
    with pytest.raises(SpecError, match="cannot be listed"):
        PendulumEnv().all_actions()


def test_with_state_looks_ahead_and_comes_back() -> None:
    """Inside the block the environment goes on from the state, and after it, an error included, from where it was."""
    env = PendulumEnv()
    env.set_seed(0)
    root = env.reset().set("action", torch.tensor([1.0]))
    state, expected = env.get_state(), env.step(root.clone())["next", "observation"]
    here = env.get_state()
    with env.with_state(state) as same:
        assert same is env
        assert torch.equal(env.step(root.clone())["next", "observation"], expected)
    with pytest.raises(KeyError), env.with_state(state):
        env.load_state_dict({"unknown": 1})
    assert all(torch.equal(value, here[name]) for name, value in env.get_state().items())


class HastyEnv(CountingEnv):  # type: ignore[misc]  # final, and all but its construction as wanted
    """Sets a spec before the base class is initialised."""

    def __init__(self) -> None:
        self.observation_spec = Unbounded(shape=(1,))


def test_mistakes_in_the_construction() -> None:
    """A base class that was not initialised, and a batch size that is a number, are told with what to write."""
    with pytest.raises(RuntimeError, match=r"HastyEnv.__init__: used before .* Call super\(\).__init__\(device"):
        HastyEnv()
    with pytest.raises(TypeError, match=r"PendulumEnv: batch_size. Expected a sequence.*found 3. Pass .*\(3,\)"):
        PendulumEnv(batch_size=3)  # type: ignore[arg-type]  # what is tested
