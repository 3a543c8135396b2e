"""Tests of `rl_envs._rollout`."""

import pytest
import torch
from tensordict import NonTensorData, TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import nn

from rl_envs import EnvBase, GymEnv, PendulumEnv, step_mdp
from rl_envs.testing import (
    CountingEnv,
    MultiKeyCountingEnv,
    NestedCountingEnv,
    PixelsCountingEnv,
    TensorDictCountingEnv,
)


def linear_policy() -> TensorDictModule:
    """A bounded policy."""
    torch.manual_seed(0)
    return TensorDictModule(nn.Sequential(nn.Linear(3, 1), nn.Tanh()), in_keys=["observation"], out_keys=["action"])


@pytest.mark.parametrize("name", ["gym", "pendulum"])
def test_rollout_equals_stepping_by_hand(name: str) -> None:
    """A rollout is, bit for bit, what a loop over `step` and `step_mdp` gives, stacked."""
    env: EnvBase = GymEnv("Pendulum-v1") if name == "gym" else PendulumEnv()
    policy = linear_policy()
    env.set_seed(0)
    root: TensorDictBase = env.reset()
    steps = []
    for _ in range(20):
        stepped = env.step(policy(root))
        steps.append(stepped.clone())
        root = step_mdp(stepped)
    env.set_seed(0)
    rolled = env.rollout(policy=policy, max_steps=20)
    assert set(rolled.keys(True, True)) == set(steps[0].keys(True, True))
    assert (rolled == TensorDict.stack(steps, 0)).all()


def test_positional_and_keyword_arguments() -> None:
    """`rollout(steps, policy)` and keywords in any order are the same."""
    env, policy = PendulumEnv((2,), seed=0), linear_policy()
    first = env.rollout(4, policy)
    env.set_seed(0)
    second = env.rollout(policy=policy, max_steps=4)
    assert (first == second).all()
    assert first.batch_size == torch.Size((2, 4))
    assert first.names == [None, "time"]


@pytest.mark.parametrize("make", [CountingEnv, TensorDictCountingEnv])
def test_stops_when_any_is_done(make: type[CountingEnv] | type[TensorDictCountingEnv]) -> None:
    """By default a rollout ends with the step in which an environment of the batch is done."""
    rolled = make(max_steps=3).rollout(10)
    assert rolled["next", "done"].flatten().tolist() == [False, False, True]


def test_goes_on_after_a_reset() -> None:
    """With `break_when_any_done=False`, done rows are reset, and the step before holds the last observation."""
    rolled = CountingEnv((2,), max_steps=[2, 3]).rollout(5, break_when_any_done=False)
    assert rolled["observation"].squeeze(-1).tolist() == [[0, 1, 0, 1, 0], [0, 1, 2, 0, 1]]
    assert rolled["next", "observation"].squeeze(-1).tolist() == [[1, 2, 1, 2, 1], [1, 2, 3, 1, 2]]


def test_runs_until_all_are_done() -> None:
    """With `break_when_all_done=True`, finished rows repeat their last state with no reward."""
    env = CountingEnv((2,), max_steps=[2, 4])
    rolled = env.rollout(10, break_when_any_done=False, break_when_all_done=True)
    assert rolled.batch_size == torch.Size((2, 4))
    assert rolled["next", "observation"].squeeze(-1).tolist() == [[1, 2, 2, 2], [1, 2, 3, 4]]
    assert rolled["next", "done"].squeeze(-1).tolist() == [[False, True, True, True], [False, False, False, True]]
    assert rolled["next", "reward"].squeeze(-1)[0, 2:].tolist() == [0, 0]


def test_starts_where_it_is_told() -> None:
    """With `auto_reset=False`, a rollout goes on from the root it is given."""
    env = CountingEnv(max_steps=9)
    root = step_mdp(env.rollout(2)[-1])
    rolled = env.rollout(2, auto_reset=False, tensordict=root)
    assert rolled["observation"].flatten().tolist() == [2.0, 3.0]
    with pytest.raises(ValueError, match="without tensordict"):
        env.rollout(2, auto_reset=False)


def test_callback_sees_every_step() -> None:
    """The callback is called with the environment and each step."""
    seen: list[float] = []
    CountingEnv().rollout(3, callback=lambda env, step: seen.append(step["next", "observation"].item()))
    assert seen == [1.0, 2.0, 3.0]


def test_lazy_stack_is_equal() -> None:
    """`return_contiguous=False` gives the same steps as a lazy stack."""
    lazy = PendulumEnv((2,), seed=0).rollout(3, linear_policy(), return_contiguous=False)
    dense = PendulumEnv((2,), seed=0).rollout(3, linear_policy())
    assert lazy.names == dense.names
    assert (lazy.contiguous() == dense).all()


@pytest.mark.parametrize("max_steps", [1, 3, 7, 100])
@pytest.mark.parametrize("batch_size", [(), (2,)], ids=str)
def test_roots_are_those_of_the_steps(batch_size: tuple[int, ...], max_steps: int) -> None:
    """However many resets there are, each root of the batch is the one that its step began with."""
    rollouts = []
    for is_contiguous in (True, False):
        torch.manual_seed(0)
        env = CountingEnv(batch_size, max_steps=max_steps)
        rollouts.append(env.rollout(20, break_when_any_done=False, return_contiguous=is_contiguous).contiguous())
    assert (rollouts[0] == rollouts[1]).all()
    assert (rollouts[0]["observation"] == (torch.arange(20) % max_steps).unsqueeze(-1)).all()


def test_set_truncation_marks_the_last_step() -> None:
    """`set_truncation` cuts the last step where it is not done, and no other."""
    rolled = CountingEnv((2,), max_steps=[2, 9]).rollout(2, set_truncation=True)
    assert rolled["next", "done"].squeeze(-1).tolist() == [[False, True], [False, True]]
    assert rolled["next", "truncated"].squeeze(-1).tolist() == [[False, False], [False, True]]
    assert rolled["next", "terminated"].squeeze(-1).tolist() == [[False, True], [False, False]]


def test_recurrent_state_travels_through_next() -> None:
    """What a policy writes under "next" is what it reads at the next step."""

    def policy(data: TensorDictBase) -> TensorDictBase:
        hidden = data.get("hidden", torch.zeros(1))
        data["hidden"] = hidden
        data["action"] = torch.zeros(1)
        data["next", "hidden"] = hidden + 10
        return data

    rolled = CountingEnv().rollout(3, policy)
    assert rolled["hidden"].flatten().tolist() == [0.0, 10.0, 20.0]


def test_gradients_flow_through_a_native_env() -> None:
    """The return of a rollout in a native environment has a gradient in the policy's parameters."""
    policy = linear_policy()
    PendulumEnv(seed=0).rollout(5, policy)["next", "reward"].sum().backward()
    weights = [parameter.grad for parameter in policy.parameters()]
    assert all(grad is not None and bool((grad != 0).any()) for grad in weights)


def test_arguments_are_checked() -> None:
    """Contradictory or empty requests are errors."""
    with pytest.raises(ValueError, match="max_steps too small"):
        CountingEnv().rollout(0)
    with pytest.raises(ValueError, match="break_when_all_done"):
        CountingEnv().rollout(2, break_when_all_done=True)
    with pytest.raises(TypeError, match="unexpected keyword"):
        CountingEnv().rollout(2, polciy=None)  # type: ignore[call-arg]  # a typo is what is tested


def test_auto_cast_moves_data_to_the_policy() -> None:
    """With `auto_cast_to_device` a policy elsewhere reads data on its device, and the env gets its actions back."""
    policy = linear_policy()
    rolled = PendulumEnv(seed=0).rollout(3, policy, auto_cast_to_device=True)
    assert rolled["action"].device.type == "cpu"


def test_out_is_filled_in_place() -> None:
    """Steps are written into `out`, and the result is a view of as many of its steps as were made."""
    env = PendulumEnv((2,), seed=0)
    out = env.fake_tensordict().unsqueeze(-1).expand(2, 6).clone()
    rolled = env.rollout(6, linear_policy(), out=out)
    plain = PendulumEnv((2,), seed=0).rollout(6, linear_policy())
    assert rolled.batch_size == torch.Size((2, 6))
    assert (rolled == plain).all()
    assert rolled["observation"].data_ptr() == out["observation"].data_ptr()
    shorter = CountingEnv(max_steps=2)
    kept = shorter.fake_tensordict().unsqueeze(-1).expand(5).clone()
    part = shorter.rollout(5, out=kept)
    assert part.batch_size == torch.Size((2,))
    assert kept["next", "observation"].flatten().tolist() == [1.0, 2.0, 0.0, 0.0, 0.0]


def test_out_that_does_not_fit() -> None:
    """An `out` of another batch size, without an entry, with one of another form, beside a lazy stack: errors."""
    env = CountingEnv((2,))
    fake = env.fake_tensordict().unsqueeze(-1).expand(2, 3).clone()
    with pytest.raises(ValueError, match="out has another batch size"):
        env.rollout(4, out=fake)
    with pytest.raises(KeyError, match='key "action" missing'):
        env.rollout(3, out=fake.exclude("action"))
    with pytest.raises(ValueError, match=r"is expanded.*Pass out.clone\(\)"):
        env.rollout(3, out=env.fake_tensordict().unsqueeze(-1).expand(2, 3))
    with pytest.raises(TypeError, match='"text" is no tensor'):
        env.rollout(3, out=fake.clone().set("text", NonTensorData("a", batch_size=[2, 3])))
    with pytest.raises(ValueError, match='"action" of out has another form'):
        env.rollout(3, out=fake.clone().set("action", torch.zeros(2, 3, 1, dtype=torch.float64)))
    with pytest.raises(ValueError, match="lazy stack"):
        env.rollout(3, out=fake, return_contiguous=False)
    with pytest.raises(TypeError, match="a TensorDict"):
        env.rollout(3, out={})  # type: ignore[arg-type]  # what is tested


def test_a_plain_network_reads_the_observation() -> None:
    """A plain `nn.Module` reads the only observation, and gives the action."""
    network = nn.Sequential(nn.Linear(3, 1), nn.Tanh())
    wrapped = TensorDictModule(network, in_keys=["observation"], out_keys=["action"])
    plain = PendulumEnv((2,), seed=0).rollout(4, network)
    assert (plain == PendulumEnv((2,), seed=0).rollout(4, wrapped)).all()


def test_a_trusted_module_is_handed_the_tensordict() -> None:
    """With `trust_policy`, and where its argument says so, a plain `nn.Module` gets the TensorDict."""

    class Policy(nn.Module):
        def forward(self, step: TensorDict) -> TensorDict:
            return step.set("action", torch.full((1,), 0.5))

    class Nameless(nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]  # no annotation is what is tested
            return x.set("action", torch.full((1,), 0.5))

    assert CountingEnv().rollout(2, Policy())["action"].flatten().tolist() == [0.5, 0.5]
    assert CountingEnv().rollout(2, Nameless(), trust_policy=True)["action"].flatten().tolist() == [0.5, 0.5]


def test_arguments_name_observations() -> None:
    """The arguments of a plain network are observations of these names."""

    class Policy(nn.Module):
        def forward(self, pixels: torch.Tensor, scale: float = 0.01) -> torch.Tensor:
            return pixels.float().mean((-1, -2, -3)).unsqueeze(-1) * scale

    rolled = PixelsCountingEnv((2,)).rollout(3, Policy())
    assert rolled["action"][0].flatten().tolist() == pytest.approx([0.0, 0.1, 0.2])


def test_done_rows_of_the_start_are_reset() -> None:
    """With `auto_reset=False`, rows of `tensordict` that are done are reset, the others go on."""
    env = CountingEnv((2,), max_steps=[2, 9])
    root = env.step_mdp(env.rollout(2)[:, -1])
    rolled = env.rollout(2, auto_reset=False, tensordict=root)
    assert rolled["observation"].squeeze(-1).tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_set_truncated_is_set_truncation() -> None:
    """Both names mark the last step."""
    assert CountingEnv().rollout(2, set_truncated=True)["next", "truncated"].flatten().tolist() == [False, True]


def test_storing_device() -> None:
    """The steps are kept on `storing_device`, whatever the environment's."""
    rolled = CountingEnv((2,)).rollout(3, storing_device="meta")
    assert rolled.device == rolled["next", "reward"].device == torch.device("meta")


def test_nested_flags_end_a_rollout() -> None:
    """Any flag of any group ends a rollout, resets a row, and is set by `set_truncation`."""
    env = NestedCountingEnv((2,), max_steps=[2, 4])
    assert env.rollout(9).batch_size == torch.Size((2, 2))
    going = NestedCountingEnv((2,), max_steps=[2, 4]).rollout(5, break_when_any_done=False)
    assert going["agents", "observation"][:, :, 0].squeeze(-1).tolist() == [[0, 1, 0, 1, 0], [0, 1, 2, 3, 0]]
    cut = NestedCountingEnv(max_steps=9).rollout(2, set_truncation=True)
    assert cut["next", "agents", "done"].squeeze(-1).tolist() == [[False, False], [True, True]]
    assert cut["next", "agents", "truncated"].squeeze(-1).tolist() == [[False, False], [True, True]]


def test_several_rewards_stop_when_a_row_is_finished() -> None:
    """With `break_when_all_done`, each of several rewards is zero after the end of a row."""
    env = MultiKeyCountingEnv((2,), max_steps=[1, 3])
    rolled = env.rollout(9, break_when_any_done=False, break_when_all_done=True)
    assert rolled.batch_size == torch.Size((2, 3))
    assert rolled["next", "left", "reward"][0, 1:].flatten().tolist() == [0, 0]
    assert rolled["next", "right", "reward"][0, 1:].flatten().tolist() == [0, 0, 0, 0]
    assert (rolled["next", "right", "reward"][1] > 0).all()


def test_steps_of_different_shapes_need_a_lazy_stack() -> None:
    """Entries that change their shape cannot be stacked, and the error says what to do."""

    def policy(data: TensorDictBase) -> TensorDictBase:
        count = int(data["observation"].item()) + 1
        return data.set("action", torch.zeros(1)).set("notes", torch.zeros(count))

    with pytest.raises(ValueError, match=r'"notes".*return_contiguous=False'):
        CountingEnv().rollout(3, policy)
    lazy = CountingEnv().rollout(3, policy, return_contiguous=False)
    assert [step["notes"].numel() for step in lazy.unbind(0)] == [1, 2, 3]


def test_steps_stacked_as_they_come_are_those_of_the_end() -> None:
    """A rollout of several blocks of steps is the lazy stack of its single steps, bit by bit, resets included."""

    def rolled(*, return_contiguous: bool) -> TensorDictBase:
        torch.manual_seed(0)
        env = CountingEnv((2,), max_steps=[3, 50])
        env.set_seed(0)
        return env.rollout(300, break_when_any_done=False, return_contiguous=return_contiguous)

    dense, lazy = rolled(return_contiguous=True), rolled(return_contiguous=False)
    assert dense.batch_size == (2, 300)
    assert bool((dense == lazy.contiguous()).all())


def test_callback_that_is_none() -> None:
    """What cannot be called is refused before the first step."""
    env = PendulumEnv()
    env.reset()
    before = env.get_state()
    with pytest.raises(TypeError, match=r"rollout: callback\. Expected a callable, found str"):
        env.rollout(3, callback="log")  # type: ignore[arg-type]  # what is tested
    after = env.get_state()
    assert all(torch.equal(before[name], after[name]) for name in before)
