"""The collector: its batches, its books, its errors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import (
    NormalParamExtractor,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
)
from torch import nn
from torch.distributions import Independent, Normal

from rl_collectors import Collector, SyncDataCollector, WiringError
from rl_envs import (
    DoubleToFloat,
    EnvBase,
    ExcludeTransform,
    GymEnv,
    PendulumEnv,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    VecNorm,
    set_exploration_type,
    step_mdp,
)
from rl_envs import ExplorationType as Exploration
from rl_envs.testing import GrowingEnv, TextCountingEnv
from rl_specs import FlatDict, TensorMap, Unbounded


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same weights and samples in each run."""
    torch.manual_seed(0)


class DiagonalNormal(Independent):  # type: ignore[type-arg]  # generic in the stubs alone
    """A normal over the last dimension, with a deterministic sample."""

    def __init__(self, loc: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__(Normal(loc, scale, validate_args=False), 1, validate_args=False)
        self.deterministic_sample = loc


def squashed_policy() -> TensorDictModule:
    """A deterministic policy for Pendulum."""
    network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1), nn.Tanh())
    return TensorDictModule(network, in_keys=["observation"], out_keys=["action"])


def sampling_policy() -> ProbabilisticTensorDictSequential:
    """A stochastic policy for Pendulum, of small scale."""
    linear = nn.Linear(3, 2)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    network = nn.Sequential(linear, NormalParamExtractor(scale_mapping="biased_softplus_0.05"))
    return ProbabilisticTensorDictSequential(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        ProbabilisticTensorDictModule(
            in_keys=["loc", "scale"],
            out_keys=["action"],
            distribution_class=DiagonalNormal,
            return_log_prob=True,
            log_prob_key="sample_log_prob",
        ),
    )


def function_policy() -> Callable[[TensorDictBase], TensorDictBase]:
    """A policy that is not a module."""

    def act(data: TensorDictBase) -> TensorDictBase:
        return data.set("action", data["observation"][..., :1] * 0.5)

    return act


def transformed(env: EnvBase, limit: int = 7) -> TransformedEnv:
    """The usual transforms, with short episodes so that resets fall inside a batch."""
    out = TransformedEnv(env)
    for transform in (VecNorm(in_keys=["observation"]), RewardSum(), StepCounter(max_steps=limit), DoubleToFloat()):
        out.append_transform(transform)
    return out


ENVS: dict[str, Callable[[], EnvBase]] = {
    "gym": lambda: GymEnv("Pendulum-v1"),
    "gym-transformed": lambda: transformed(GymEnv("Pendulum-v1")),
    "gym-3": lambda: transformed(GymEnv("Pendulum-v1", num_envs=3)),
    "serial-2": lambda: transformed(SerialEnv(2, lambda: GymEnv("Pendulum-v1"))),
    "native": lambda: transformed(PendulumEnv()),
    "native-4": lambda: transformed(PendulumEnv(batch_size=(4,))),
    "native-2x2": lambda: transformed(PendulumEnv(batch_size=(2, 2))),
}
POLICIES: dict[str, Callable[[], Any]] = {
    "deterministic": squashed_policy,
    "sampling": sampling_policy,
    "function": function_policy,
}


def by_hand(env: EnvBase, policy: Callable[[TensorDictBase], TensorDictBase], steps: int) -> TensorDictBase:
    """Rollout through the public calls alone."""
    slices = []
    with torch.no_grad(), set_exploration_type(Exploration.RANDOM):
        root: TensorDictBase = env.reset()
        for _ in range(steps):
            step = env.step(policy(root))
            slices.append(step.clone())
            root = step_mdp(step)
            done = root["done"]
            if done.any():
                root = env.reset(root.set("_reset", done.clone()))
    stacked: TensorDictBase = TensorDict.stack(slices, len(env.batch_size))
    return stacked


@pytest.mark.parametrize("policy_kind", POLICIES)
@pytest.mark.parametrize("env_kind", ENVS)
def test_batches_equal_stepping_by_hand(env_kind: str, policy_kind: str) -> None:
    """A batch is bitwise what the public step, policy and reset give, with resets in the middle."""
    torch.manual_seed(0)
    policy = POLICIES[policy_kind]()
    env, reference_env = ENVS[env_kind](), ENVS[env_kind]()
    env.set_seed(3)
    reference_env.set_seed(3)
    frames = 20 * max(1, env.batch_size.numel())
    collector = Collector(env, policy, frames_per_batch=frames, total_frames=frames)
    torch.manual_seed(1)
    (batch,) = list(collector)
    torch.manual_seed(1)
    reference = by_hand(reference_env, policy, 20)
    assert batch.batch_size == reference.batch_size
    keys = set(batch.keys(True, True)) - {("collector", "traj_ids"), ("collector", "policy_version")}
    assert keys == set(reference.keys(True, True))
    for key in keys:
        assert torch.equal(batch[key], reference[key]), key
    collector.shutdown()


def test_batches_continue_where_the_last_one_stopped() -> None:
    """Two batches of 10 steps hold the same steps as one batch of 20."""
    policy = squashed_policy()
    batches = []
    for frames in (10, 20):
        env = transformed(GymEnv("Pendulum-v1"))
        env.set_seed(0)
        collected = list(Collector(env, policy, frames_per_batch=frames, total_frames=20))
        batches.append(torch.cat([batch["next", "observation"] for batch in collected]))
    assert torch.equal(*batches)


def test_last_dimension_is_named_time() -> None:
    """Batches are `[*B, T]` with the time dimension named."""
    batch = next(iter(Collector(PendulumEnv(batch_size=(4,)), squashed_policy(), frames_per_batch=12)))
    assert batch.batch_size == (4, 3)
    assert batch.names == [None, "time"]
    assert batch["next", "reward"].shape == (4, 3, 1)
    assert batch["collector", "traj_ids"].shape == (4, 3)


def test_a_batch_belongs_to_the_caller() -> None:
    """Collecting on leaves earlier batches as they were."""
    iterator = iter(Collector(PendulumEnv(batch_size=(2,)), squashed_policy(), frames_per_batch=8))
    first = next(iterator)
    copy = first.clone()
    next(iterator)
    assert (first == copy).all()


def test_trajectory_ids_are_unique_over_the_run() -> None:
    """An id names one trajectory, across environments and short batches, and stays with it from batch to batch."""
    env = transformed(PendulumEnv(batch_size=(3,)), limit=5)
    collected = TensorDict.cat(list(Collector(env, squashed_policy(), frames_per_batch=9, total_frames=90)), -1)
    ids, done = collected["collector", "traj_ids"], collected["next", "done"].squeeze(-1)
    assert len(set(ids.flatten().tolist())) == 3 * 6
    for row in range(3):
        changes = ids[row, 1:] != ids[row, :-1]
        assert torch.equal(changes, done[row, :-1])
        others = torch.cat([ids[other] for other in range(3) if other != row])
        assert not torch.isin(ids[row], others).any()


class EndsInPlace(EnvBase):
    """Ends the episodes of other rows in each step, and writes the flag into the same tensor each time."""

    accepts_mapping = True

    def __init__(self) -> None:
        super().__init__(batch_size=(3,))
        self.observation_spec = Unbounded(shape=(3, 1))
        self.action_spec = Unbounded(shape=(3, 1))
        self.reward_spec = Unbounded(shape=(3, 1))
        self._ends = torch.zeros(3, 1, dtype=torch.bool)
        self._clock = 0

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return {"observation": torch.zeros(3, 1)}

    def _step(self, data: TensorMap) -> FlatDict:
        self._clock += 1
        self._ends[:, 0] = torch.tensor([self._clock % 2 == 0, self._clock % 3 == 0, self._clock == 5])
        return {"observation": torch.ones(3, 1), "reward": torch.ones(3, 1), "done": self._ends}

    def _set_seed(self, seed: int) -> None:
        pass


def test_trajectory_ids_count_up_row_by_row() -> None:
    """Fresh ids go to the rows that are reset, in their order, step by step and from batch to batch."""
    env = EndsInPlace()
    collected = TensorDict.cat(list(Collector(env, None, frames_per_batch=12, total_frames=36)), -1)
    expected, ids, fresh = [], [0, 1, 2], 3
    for step in range(1, 13):
        expected.append(list(ids))
        for row, ends in enumerate([step % 2 == 0, step % 3 == 0, step == 5]):
            if ends:
                ids[row], fresh = fresh, fresh + 1
    assert collected["collector", "traj_ids"].T.tolist() == expected


def test_versions_count_weight_updates() -> None:
    """Each batch carries the number of weight updates before it."""
    collector = Collector(PendulumEnv(), squashed_policy(), frames_per_batch=4, total_frames=12)
    versions = []
    for batch in collector:
        versions.append(batch["collector", "policy_version"].unique().tolist())
        collector.update_policy_weights_()
    assert versions == [[0], [1], [2]]


def test_new_weights_act_at_once() -> None:
    """With the weights set to zero the next actions are zero."""
    policy = squashed_policy()
    collector = Collector(PendulumEnv(), policy, frames_per_batch=4)
    iterator = iter(collector)
    assert next(iterator)["action"].abs().sum() > 0
    for parameter in policy.parameters():
        nn.init.zeros_(parameter)
    collector.update_policy_weights_()
    assert next(iterator)["action"].abs().sum() == 0


@pytest.mark.parametrize("form", ["module", "tensordict", "state_dict"])
def test_weights_come_in_any_form(form: str) -> None:
    """Weights are taken from a module, a TensorDict or a state dict."""
    other = squashed_policy()
    policy = squashed_policy()
    collector = Collector(PendulumEnv(), policy, frames_per_batch=4)
    collector.update_policy_weights_(
        {"module": other, "tensordict": TensorDict.from_module(other), "state_dict": other.state_dict()}[form]
    )
    for mine, theirs in zip(policy.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_iteration_ends_at_total_frames() -> None:
    """The last batch is whole, and the length is known beforehand."""
    collector = SyncDataCollector(PendulumEnv(), None, frames_per_batch=8, total_frames=20)
    assert len(collector) == 3
    assert [batch.numel() for batch in collector] == [8, 8, 8]
    assert collector.collected_frames == 24


def test_random_frames_come_first() -> None:
    """The first `init_random_frames` frames are drawn from the action spec, later ones by the policy."""
    collector = Collector(PendulumEnv(), sampling_policy(), frames_per_batch=8, total_frames=24, init_random_frames=10)
    assert ["sample_log_prob" in batch for batch in collector] == [False, False, True]


def test_exploration_type_decides_how_the_policy_acts() -> None:
    """The default samples; DETERMINISTIC takes the location."""
    env = PendulumEnv()
    sampled = Collector(env, sampling_policy(), frames_per_batch=8).rollout()
    assert not torch.equal(sampled["action"], sampled["loc"])
    fixed = Collector(env, sampling_policy(), frames_per_batch=8, exploration_type=Exploration.DETERMINISTIC).rollout()
    assert torch.equal(fixed["action"], fixed["loc"])


def test_long_trajectories_are_truncated() -> None:
    """`max_frames_per_traj` truncates, and never terminates."""
    batch = Collector(PendulumEnv(), None, frames_per_batch=10, max_frames_per_traj=4).rollout()
    assert batch["next", "truncated"].squeeze(-1).nonzero().squeeze(-1).tolist() == [3, 7]
    assert not batch["next", "terminated"].any()


def test_reset_at_each_iter_starts_anew() -> None:
    """Each batch starts new trajectories."""
    batches = list(
        Collector(
            PendulumEnv(), None, frames_per_batch=4, total_frames=8, reset_at_each_iter=True, max_frames_per_traj=9
        )
    )
    assert [int(batch["collector", "step_count"][0]) for batch in batches] == [0, 0]
    assert [batch["collector", "traj_ids"].unique().tolist() for batch in batches] == [[0], [1]]


def test_postproc_has_the_last_word() -> None:
    """What postproc returns is what is yielded."""
    collector = Collector(PendulumEnv(), None, frames_per_batch=4, postproc=lambda batch: batch.select("action"))
    assert set(next(iter(collector)).keys()) == {"action"}


def test_split_trajectories_are_padded() -> None:
    """With `split_trajs` each row is one trajectory and the mask marks its steps."""
    collector = Collector(PendulumEnv(), None, frames_per_batch=10, max_frames_per_traj=4, split_trajs=True)
    batch = collector.rollout()
    assert batch.batch_size == (3, 4)
    assert batch["collector", "mask"].sum(-1).tolist() == [4, 4, 2]
    assert batch["collector", "traj_ids"][:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("env_kind", ["gym-transformed", "gym-3", "native-4"])
def test_resume_is_bitwise(env_kind: str) -> None:
    """A new collector that loads a saved state yields the batches that the first would have yielded."""
    policy = squashed_policy()
    env = ENVS[env_kind]()
    env.set_seed(5)
    frames = 9 * max(1, env.batch_size.numel())
    collector = Collector(env, policy, frames_per_batch=frames)
    collector.rollout()
    state = collector.state_dict()
    expected = collector.rollout()
    resumed = Collector(ENVS[env_kind](), policy, frames_per_batch=frames)
    resumed.load_state_dict(state)
    found = resumed.rollout()
    assert resumed.collected_frames == 2 * frames
    for key in expected.keys(True, True):
        assert torch.equal(found[key], expected[key]), key


def test_state_of_another_batch_of_envs_is_refused() -> None:
    """A state saved with four environments does not load into three."""
    saved = Collector(PendulumEnv(batch_size=(4,)), None, frames_per_batch=4)
    saved.rollout()
    other = Collector(PendulumEnv(batch_size=(3,)), None, frames_per_batch=3)
    with pytest.raises(ValueError, match=r"another batch of environments.*Expected \(3,\), found \(4,\)"):
        other.load_state_dict(saved.state_dict())


def test_frames_must_divide_by_the_number_of_envs() -> None:
    """The message names the nearest numbers that work."""
    with pytest.raises(ValueError, match=r"multiple of 4, found 10\. Pass frames_per_batch=8 or 12"):
        Collector(PendulumEnv(batch_size=(4,)), None, frames_per_batch=10)


def test_wiring_mistakes_come_in_one_report() -> None:
    """A key that nobody writes and an action that nobody reads are reported together, with the near matches."""
    policy = TensorDictModule(nn.Linear(3, 1), in_keys=["observations"], out_keys=["actions"])
    collector = Collector(PendulumEnv(), policy, frames_per_batch=4)
    with pytest.raises(WiringError) as error:
        collector.rollout()
    assert 'reads "observations"' in str(error.value)
    assert 'Did you mean "observation"?' in str(error.value)
    assert 'reads the action from "action"' in str(error.value)


@pytest.mark.parametrize(
    ("write", "pattern"),
    [
        (lambda td: td, 'wrote no "action"'),
        (lambda td: td.set("action", torch.zeros(3)), r"shape \(3,\) where \(1,\) is expected"),
        (lambda td: td.set("action", torch.zeros(1, dtype=torch.float64)), "dtype torch.float64 where torch.float32"),
        (lambda td: td.set("action", torch.full((1,), 9.0)), "outside of the action spec"),
    ],
)
def test_first_action_is_checked(write: Callable[[TensorDictBase], TensorDictBase], pattern: str) -> None:
    """An action that is missing, misshapen, of another dtype or out of bounds is refused at the first step."""
    with pytest.raises(WiringError, match=pattern):
        Collector(PendulumEnv(), write, frames_per_batch=4).rollout()


def test_a_policy_that_returns_a_tensor_is_told_to_wrap_it() -> None:
    """A bare function of tensors gets an error with the fix."""
    with pytest.raises(TypeError, match="TensorDictModule"):
        Collector(PendulumEnv(), lambda td: td["observation"], frames_per_batch=4).rollout()


def test_env_source_is_checked() -> None:
    """Something else than an environment, or arguments for an environment that is made already, are refused."""
    with pytest.raises(TypeError, match="create_env_fn gave no environment"):
        Collector(lambda: 3, None, frames_per_batch=4)  # type: ignore[arg-type,return-value]  # the mistake under test
    with pytest.raises(TypeError, match="create_env_kwargs"):
        Collector(PendulumEnv(), None, frames_per_batch=4, create_env_kwargs={"g": 9.8})
    made = Collector(PendulumEnv, None, frames_per_batch=4, create_env_kwargs={"batch_size": (2,)})
    assert made.env.batch_size == (2,)


def test_unknown_arguments_are_errors() -> None:
    """A misspelt argument does not pass silently."""
    with pytest.raises(TypeError, match="frames_per_batches"):
        Collector(PendulumEnv(), None, frames_per_batches=4)  # type: ignore[call-arg]  # the mistake under test


def test_shutdown_is_final_and_may_be_repeated() -> None:
    """After shutdown the environment is closed and no batch comes."""
    collector = Collector(PendulumEnv(), None, frames_per_batch=4)
    collector.shutdown()
    collector.shutdown()
    with pytest.raises(RuntimeError, match="already shut down"):
        collector.rollout()


def test_seeds_are_handed_on() -> None:
    """Two collectors with one seed collect the same, and the returned seed is another."""
    batches = []
    for _ in range(2):
        collector = Collector(PendulumEnv(batch_size=(2,)), squashed_policy_with_seed(), frames_per_batch=4)
        assert collector.set_seed(11) != 11
        batches.append(collector.rollout())
    assert (batches[0] == batches[1]).all()


def squashed_policy_with_seed() -> TensorDictModule:
    """The same policy each time."""
    torch.manual_seed(0)
    return squashed_policy()


@pytest.mark.parametrize("limit", [None, 50])
@pytest.mark.parametrize("use", ["rollout", "step", "other collector", "view"])
def test_trajectories_do_not_go_through_what_others_do_in_the_env(use: str, limit: int | None) -> None:
    """After an evaluation in the same env a new trajectory begins, with its own id; no transition joins the two."""
    env = TransformedEnv(GymEnv("Pendulum-v1"), StepCounter())
    env.set_seed(0)
    collector = Collector(env, None, frames_per_batch=5, max_frames_per_traj=limit)
    first, second = collector.rollout(), collector.rollout()
    assert torch.equal(first["next", "observation"][-1], second["observation"][0])
    if use == "rollout":
        env.rollout(3)
    elif use == "step":
        env.rand_step(env.reset())
    elif use == "other collector":
        Collector(env, None, frames_per_batch=3).rollout()
    else:
        TransformedEnv(env, RewardSum()).rollout(3)
    root = collector.state_dict()["root"]
    third = collector.rollout()
    assert root is None
    assert third["step_count"].flatten().tolist() == [0, 1, 2, 3, 4]
    assert third["collector", "traj_ids"].unique().tolist() == [1]
    fourth = collector.rollout()
    assert torch.equal(third["next", "observation"][-1], fourth["observation"][0])
    assert fourth["collector", "traj_ids"].unique().tolist() == [1]


def test_an_interrupted_batch_leaves_no_trajectory_behind() -> None:
    """When the policy fails in the middle of a batch, the next batch starts with a reset."""
    calls = 0

    def policy(data: TensorDictBase) -> TensorDictBase:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return data.set("action", torch.zeros(1))

    collector = Collector(TransformedEnv(PendulumEnv(), StepCounter()), policy, frames_per_batch=5)
    collector.rollout()
    with pytest.raises(KeyboardInterrupt):
        collector.rollout()
    assert collector.rollout()["step_count"].flatten().tolist() == [0, 1, 2, 3, 4]


def test_a_transform_added_later_is_in_the_next_batch() -> None:
    """Transforms may be added between batches: the next one has their entries, and begins new trajectories."""
    env = TransformedEnv(PendulumEnv((2,), seed=0), StepCounter())
    collector = Collector(env, None, frames_per_batch=6)
    first = collector.rollout()
    env.append_transform(RewardSum())
    second = collector.rollout()
    torch.testing.assert_close(second["next", "episode_reward"], second["next", "reward"].cumsum(1))
    assert second["step_count"].squeeze(-1).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert not set(first["collector", "traj_ids"].flatten().tolist()) & set(
        second["collector", "traj_ids"].flatten().tolist()
    )
    assert torch.equal(collector.rollout()["observation"][:, 0], second["next", "observation"][:, -1])


def test_a_replaced_network_acts_at_once() -> None:
    """A network put in the place of the policy's first one makes the actions from the next batch on."""
    policy = TensorDictModule(nn.Linear(3, 1), in_keys=["observation"], out_keys=["action"])
    collector = Collector(PendulumEnv((2,), seed=0), policy, frames_per_batch=4)
    collector.rollout()
    policy.module = nn.Linear(3, 1)
    for parameter in policy.parameters():
        nn.init.zeros_(parameter)
    assert (collector.rollout()["action"] == 0).all()


def test_entries_that_no_batch_can_hold() -> None:
    """Text and observations of any size are named with a way out, which works."""
    for make, pattern in ((TextCountingEnv, '"text" of text or objects'), (GrowingEnv, '"points" of any size')):
        with pytest.raises(WiringError, match=pattern):
            next(iter(Collector(make, None, frames_per_batch=4, total_frames=8)))
    silent = Collector(
        lambda: TransformedEnv(TextCountingEnv(), ExcludeTransform("text")), None, frames_per_batch=4, total_frames=4
    )
    assert next(iter(silent))["count"].flatten().tolist() == [0.0, 1.0, 2.0, 3.0]
