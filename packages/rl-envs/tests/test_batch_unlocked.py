"""Environments that take data of any batch size: `batch_locked = False`."""

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs import EnvBase, StepCounter, TransformedEnv, check_env_specs
from rl_envs.testing import CountingEnv, StatelessCountingEnv
from rl_specs import Bounded, Composite, ShapeError, TensorMap, Unbounded


class Cart(EnvBase):
    """A cart pushed along a line whose mass is a parameter in the data, written with TensorDicts."""

    batch_locked = False

    def __init__(self) -> None:
        super().__init__()
        entries = {"speed": Unbounded(shape=()), ("params", "mass"): Bounded(0.1, 10.0, shape=())}
        self.observation_spec = Composite(entries)
        self.state_spec = Composite(entries)
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
        self.rng = torch.Generator()

    @staticmethod
    def gen_params(batch_size: torch.Size | tuple[int, ...] = ()) -> TensorDict:
        """The default parameters, as many times as asked for."""
        return TensorDict({"params": TensorDict({"mass": torch.tensor(2.0)})}).expand(*batch_size).contiguous()

    def _reset(self, tensordict: TensorMap | None) -> TensorDict:
        if tensordict is None or "params" not in dict(tensordict.items()):  # type: ignore[attr-defined]  # a TensorDict
            tensordict = self.gen_params(self.batch_size)
        assert isinstance(tensordict, TensorDictBase)
        speed = torch.rand(tensordict.shape, generator=self.rng)
        return TensorDict({"speed": speed, "params": tensordict["params"]}, batch_size=tensordict.shape)

    def _step(self, tensordict: TensorMap) -> TensorDict:
        assert isinstance(tensordict, TensorDictBase)
        speed = tensordict["speed"] + tensordict["action"].squeeze(-1) / tensordict["params", "mass"]
        reward = -speed.square().unsqueeze(-1)
        done = torch.zeros_like(reward, dtype=torch.bool)
        entries = {"speed": speed, "params": tensordict["params"], "reward": reward, "done": done}
        return TensorDict(entries, batch_size=tensordict.shape)

    def _set_seed(self, seed: int) -> None:
        self.rng.manual_seed(seed)


def test_specs_are_checked_at_more_than_one_batch_size() -> None:
    """`check_env_specs` passes on an environment that is right at every batch size, and finds one that is not."""
    check_env_specs(Cart(), seed=0)
    check_env_specs(StatelessCountingEnv(), seed=0)
    wrong = StatelessCountingEnv()
    wrong._reset = lambda data: {"count": torch.zeros(1)}  # type: ignore[method-assign]  # of one row, always
    with pytest.raises(AssertionError, match=r"\(2, 1\)"):
        check_env_specs(wrong)


def test_parameters_travel_with_the_data() -> None:
    """Parameters given to a reset are those of every step; the batch size is theirs."""
    env = Cart()
    params = env.gen_params((3,))
    params["params", "mass"] = torch.tensor([1.0, 2.0, 4.0])
    root = env.reset(params, seed=0)
    assert root.batch_size == torch.Size([3])
    root["action"] = torch.ones(3, 1)
    stepped = env.step(root)
    gained = stepped["next", "speed"] - stepped["speed"]
    assert torch.allclose(gained, torch.tensor([1.0, 0.5, 0.25]))
    assert env.batch_size == torch.Size([])


def test_rollouts_of_any_batch_size() -> None:
    """`tensordict` decides the batch size of a rollout, with and without a reset of its own."""
    env = Cart()
    own = env.rollout(4)
    assert own.batch_size == torch.Size([4])
    reset_there = env.rollout(4, tensordict=env.gen_params((5,)))
    assert reset_there.batch_size == torch.Size([5, 4])
    from_root = env.rollout(3, tensordict=env.reset(env.gen_params((2, 3))), auto_reset=False)
    assert from_root.batch_size == torch.Size([2, 3, 3])
    assert from_root["action"].shape == torch.Size([2, 3, 3, 1])


def test_each_call_takes_its_batch_size() -> None:
    """Random actions, steps, and resets of done rows work at the batch size of what they are given."""
    env = StatelessCountingEnv(max_steps=2)
    root: TensorDictBase = env.reset(TensorDict(batch_size=[3]))
    assert env.rand_action(root)["action"].shape == torch.Size([3, 1])
    root["count"][0] = 1
    stepped, following = env.step_and_maybe_reset(root)
    assert stepped["next", "count"].flatten().tolist() == [2, 1, 1]
    assert following["count"].flatten().tolist() == [0, 1, 1]
    done = env.step_mdp(stepped)
    assert env.maybe_reset(done)["count"].flatten().tolist() == [0, 1, 1]
    masked = env.reset(done.set("_reset", torch.tensor([False, True, False])))
    assert masked["count"].flatten().tolist() == [2, 0, 1]


def test_a_failure_leaves_the_batch_size_alone() -> None:
    """An exception inside a call leaves batch size and specs as they were."""
    env = StatelessCountingEnv()
    with pytest.raises(RuntimeError, match="stop"):
        env.rollout(3, tensordict=TensorDict(batch_size=[4]), callback=_stop)
    assert env.batch_size == torch.Size([])
    assert env.action_spec.shape == torch.Size([1])


def _stop(env: EnvBase, step: TensorDictBase) -> None:
    raise RuntimeError("stop")


def test_transforms_follow() -> None:
    """A transformed environment is as unlocked as the one inside, and its transforms work at that batch size."""
    env = TransformedEnv(StatelessCountingEnv(max_steps=9), StepCounter(max_steps=3))
    assert not env.batch_locked
    rolled = env.rollout(5, tensordict=TensorDict(batch_size=[2]), break_when_any_done=False)
    assert rolled["next", "step_count"].squeeze(-1).tolist() == [[1, 2, 3, 1, 2]] * 2
    assert env.rollout(2)["step_count"].flatten().tolist() == [0, 1]


def test_locked_environments_refuse() -> None:
    """A batch-locked environment takes its own batch size only."""
    env = CountingEnv((2,))
    assert env.batch_locked
    with pytest.raises(ShapeError, match="another batch size"):
        env.step(TensorDict({"action": torch.zeros(3, 1)}, batch_size=[3]))
