"""What every environment promises, as tests."""

import warnings
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs._checks import check_env_specs, outside_specs
from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY
from rl_envs._errors import ClosedEnvError, StateNotSupportedError
from rl_envs._flat import unpack_flat
from rl_envs._ragged import spread
from rl_envs._reset_masks import done_rows
from rl_envs.export import to_gymnasium, to_gymnasium_vector
from rl_envs.testing._steps import assert_equal, first_steps, seeded, seeded_steps, steps_of
from rl_specs import NestedKey, ShapeError, canonical_key, join_key

_STEPS = 12


class EnvConformance(ABC):
    """What every environment promises. Subclass it in a test module under a name that starts with `Test`.

    ```
    class TestMyEnv(EnvConformance):
        def make_env(self) -> EnvBase:
            return MyEnv()
    ```
    """

    goes_on: ClassVar[tuple[NestedKey, ...]] = ()
    """Entries of the root that a seed does not restart, such as numbers of trajectories or what statistics scale."""

    @abstractmethod
    def make_env(self) -> EnvBase:
        """A new environment, made the same way every time."""

    # Data.

    def test_data_are_what_the_specs_say(self) -> None:
        """What a reset, a step and a rollout return fits the specs."""
        with self.make_env() as env:
            check_env_specs(env, seed=0)

    def test_values_stay_in_their_specs(self) -> None:
        """No step of a few episodes has a NaN, or a value outside of its spec."""
        env = self.make_env()
        for index, step in enumerate(seeded_steps(env, _STEPS).unbind(-1)):
            entries = unpack_flat(step)
            tensors = {key: value for key, value in spread(entries).items() if isinstance(value, torch.Tensor)}
            unknown = [key for key, value in tensors.items() if bool((value != value).any())]
            assert not unknown, f"NaN in step {index}: {unknown}"
            found = outside_specs("root", env, entries, is_root=True)
            found += outside_specs("next", env, entries, is_root=False)
            said = [f"{each.entry}: expected {each.expected}, found {each.found}" for each in found]
            assert not found, f"outside of the specs in step {index}: {'; '.join(said)}"

    def test_flags_agree(self) -> None:
        """`done` is `terminated | truncated` in every group of flags."""
        for step in seeded_steps(self.make_env(), _STEPS).unbind(-1):
            entries = unpack_flat(step)
            for key in (key for key in entries if key == "done" or key[-1] == "done"):
                path = (key,) if isinstance(key, str) else key
                terminated, truncated = (entries[join_key(*path[:-1], name)] for name in ("terminated", "truncated"))
                assert torch.equal(entries[key], terminated | truncated), f"{key} is not terminated | truncated"

    def test_returned_tensors_are_not_written_later(self) -> None:
        """What a step has returned stays as it was when further steps are taken."""
        with self.make_env() as env:
            env.set_seed(0)
            stepped = env.rand_step(env.reset())
            before = stepped.clone()
            root = env.step_mdp(stepped)
            for _ in range(3):
                _, root = env.step_and_maybe_reset(env.rand_action(root))
            assert_equal(before, stepped, "after further steps")

    def test_tensors_of_the_user_are_left_alone(self) -> None:
        """A step changes nothing of its input but `"next"`; what is written into its data later does not reach it."""
        with self.make_env() as env, self.make_env() as other:
            root, same = seeded(env), seeded(other)
            for _ in range(3):
                action = env.rand_action(root.clone()).select(*env.action_keys)
                given, untouched = root.clone().update(action.clone()), same.clone().update(action)
                before = given.clone()
                _, following = env.step_and_maybe_reset(given)
                assert_equal(before, given.exclude("next"), "in the input of a step")
                _, same = other.step_and_maybe_reset(untouched)
                root = following.clone()
                when = "where data of earlier steps are overwritten"
                assert_equal(untouched["next"], given["next"], when)
                assert_equal(same, root, when)
                for data in (given, following):
                    data.apply_(torch.zeros_like)

    # Seeds and state.

    def test_a_seed_fixes_the_data(self) -> None:
        """Two environments with one seed and the same actions return the same, bit for bit."""
        first, second = (seeded_steps(self.make_env(), _STEPS) for _ in range(2))
        assert_equal(first, second, "with the same seed")

    def test_a_seed_restarts_the_data(self) -> None:
        """An environment that is seeded again returns again what it returned."""
        with self.make_env() as env, torch.random.fork_rng():
            runs = []
            for _ in range(2):
                torch.manual_seed(0)
                env.set_seed(0)
                steps = env.rollout(_STEPS, break_when_any_done=False).clone()
                runs.append(steps.exclude(*self.goes_on, *(join_key("next", key) for key in self.goes_on)))
            assert_equal(runs[0], runs[1], "after another set_seed with the same seed (see _set_seed and goes_on)")

    def test_draws_are_its_own(self) -> None:
        """What a seeded environment returns does not depend on the global generator of torch."""
        when = "with another torch.manual_seed; draw from a generator that _set_seed seeds"
        with self.make_env() as env, self.make_env() as other, torch.random.fork_rng():
            roots: list[TensorDictBase] = []
            for seed, each in enumerate((env, other)):
                torch.manual_seed(seed)
                each.set_seed(0)
                roots.append(each.reset())
            assert_equal(roots[0], roots[1], when)
            for _ in range(_STEPS):
                action = env.rand_action(roots[0].clone()).select(*env.action_keys)
                pairs = [
                    each.step_and_maybe_reset(root.copy().update(action.clone()))
                    for each, root in zip((env, other), roots, strict=True)
                ]
                assert_equal(pairs[0][0], pairs[1][0], when)
                roots = [root for _, root in pairs]

    def test_a_seed_gives_a_seed(self) -> None:
        """`set_seed` returns the same seed for the same seed, and the seed itself when it is static."""
        with self.make_env() as env:
            assert env.set_seed(3) == env.set_seed(3), "another seed each time"
            assert env.set_seed(3, static_seed=True) == 3, "a static seed changed"

    def test_exact_state_goes_on_bitwise(self) -> None:
        """An environment put into the state of another goes on as that one does."""
        with self.make_env() as env, self.make_env() as other:
            if not env.has_exact_state:
                return
            env.set_seed(0)
            other.reset()
            root = env.step_and_maybe_reset(env.rand_action(env.reset()))[1]
            other.drive("someone")
            other.set_state(env.get_state())
            assert other.driver is None, "set_state moved the environment under someone; call self.drive(None) there"
            other.load_state_dict(env.state_dict())
            actions = [env.rand_action().select(*env.action_keys) for _ in range(_STEPS)]
            assert_equal(steps_of(env, root, actions), steps_of(other, root, actions), "after load_state_dict")

    def test_a_state_that_is_missing_is_said_to_be(self) -> None:
        """An environment without an exact state says so with its way out, and its `state_dict` can be loaded."""
        with self.make_env() as env, self.make_env() as other:
            env.reset()
            other.load_state_dict(env.state_dict())
            if env.has_exact_state:
                return
            refusal = _refusal(env)
            assert refusal is not None, "has_exact_state is False, and get_state returns a state"
            assert "episode boundary" in refusal, f"the message gives no way out: {refusal}"

    # Resets.

    def test_partial_reset_leaves_other_rows(self) -> None:
        """A reset of some rows changes neither what is returned for the others nor how they go on."""
        with self.make_env() as env, self.make_env() as untouched:
            if not env.batch_size:
                return
            roots = [each.step_and_maybe_reset(action)[1] for each, action in first_steps(env, untouched)]
            mask = torch.zeros((*env.batch_size, 1), dtype=torch.bool, device=env.device)
            mask[0] = True
            rows = ~mask.reshape(env.batch_size)
            after = env.reset(roots[0].clone().set(RESET_KEY, mask))
            assert_equal(roots[1][rows], after[rows], "in rows outside the mask of a reset")
            action = env.rand_action(after.clone()).select(*env.action_keys)
            following = [each.step(root.clone().update(action)) for each, root in ((env, after), (untouched, roots[1]))]
            assert_equal(following[1][rows], following[0][rows], "in the step after a reset of other rows")

    def test_reset_of_no_row_changes_nothing(self) -> None:
        """A reset with an empty mask returns the root that it was given, and the environment goes on as before."""
        with self.make_env() as env, self.make_env() as untouched:
            roots = [each.step_and_maybe_reset(action)[1] for each, action in first_steps(env, untouched)]
            mask = torch.zeros((*env.batch_size, 1), dtype=torch.bool, device=env.device)
            after = env.reset(roots[0].clone().set(RESET_KEY, mask))
            assert_equal(roots[1], after, "after a reset of no row")
            action = env.rand_action(after.clone()).select(*env.action_keys)
            following = [each.step(root.clone().update(action)) for each, root in ((env, after), (untouched, roots[1]))]
            assert_equal(following[1], following[0], "in the step after a reset of no row")

    # Rollouts.

    def test_rollout_is_a_loop_over_steps(self) -> None:
        """A rollout of `rand_action` with resets is what it and `step_and_maybe_reset` give one after the other."""
        rolled = seeded_steps(self.make_env(), _STEPS, draws_each_step=True)
        with self.make_env() as env, torch.random.fork_rng():
            torch.manual_seed(0)
            env.set_seed(0)
            root: TensorDictBase = env.reset()
            steps = []
            for _ in range(_STEPS):
                stepped, root = env.step_and_maybe_reset(env.rand_action(root))
                steps.append(stepped.clone())
            assert_equal(rolled, TensorDict.maybe_dense_stack(steps, len(env.batch_size)), "in a rollout")

    def test_rollout_until_all_are_done(self) -> None:
        """With `break_when_all_done`, a row that is done stays done, and the rollout ends when all are."""
        with self.make_env() as env, torch.random.fork_rng():
            torch.manual_seed(0)
            env.set_seed(0)
            steps = env.rollout(_STEPS, break_when_any_done=False, break_when_all_done=True)
            dims = len(env.batch_size)
            found = [done_rows(unpack_flat(step["next"]), env.done_keys, dims) for step in _unbound(steps, dims)]
            done = torch.stack([rows for rows in found if rows is not None])
            assert torch.equal(done, done.cummax(0).values), "a row that was done is done no longer"
            assert not done[:-1].flatten(1).all(1).any(), "the rollout went on after all rows were done"

    def test_truncation_of_the_last_step(self) -> None:
        """With `set_truncation`, the last step of a rollout is done everywhere, truncated where it was not done."""
        with self.make_env() as env, torch.random.fork_rng():
            torch.manual_seed(0)
            env.set_seed(0)
            steps = env.rollout(2, set_truncation=True)
            last = unpack_flat(_unbound(steps, len(env.batch_size))[-1]["next"])
            for key in (key for key in last if key == "done" or key[-1] == "done"):
                path = (key,) if isinstance(key, str) else key
                terminated, truncated = (last[join_key(*path[:-1], name)] for name in ("terminated", "truncated"))
                assert last[key].all(), f"{key} of the last step is not set"
                assert (terminated | truncated).all(), f"{key} of the last step has no reason"

    def test_batch_size_of_the_data(self) -> None:
        """A batch-locked environment refuses data of another batch size; any other takes them, and stays as it is."""
        with self.make_env() as env:
            own, specs = env.batch_size, env.full_action_spec
            wider = TensorDict({}, batch_size=(3, *own), device=env.device)
            if env.batch_locked:
                assert _refuses(env, env.rand_action().expand((3, *own))), "a step took data of another batch size"
                return
            steps = env.rollout(_STEPS, tensordict=wider, break_when_any_done=False)
            assert steps.batch_size == torch.Size((3, *own, _STEPS)), f"rollout of batch size {steps.batch_size}"
            assert env.batch_size == own, "another batch size afterwards"
            assert env.full_action_spec == specs, "other specs afterwards"

    # Specs.

    def test_specs_can_be_expanded_and_moved(self) -> None:
        """Specs with dimensions in front, and those of the environment moved to the CPU, hold the same values."""
        with self.make_env() as env:
            for spec in (env.full_action_spec, env.full_observation_spec, env.full_done_spec):
                shape = torch.Size((3, *spec.shape))
                wider = spec.expand(shape)
                assert wider.shape == shape, "an expanded spec has another shape"
                if wider.is_dynamic:
                    continue
                assert wider.rand().batch_size == shape, "a random value of an expanded spec has another batch size"
                assert wider.is_in(wider.rand()), "a random value of an expanded spec is not in it"
            assert env.to("cpu") is env
            assert env.device == torch.device("cpu"), "to() set another device"
            check_env_specs(env, seed=0)

    # Border and life.

    def test_gymnasium_takes_it(self) -> None:
        """Exported, it passes Gymnasium's own checker; a batch steps as a `VectorEnv`."""
        env = self.make_env()
        names = [canonical_key(key) for key in env.reward_keys]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if env.has_dynamic_specs:
                assert _has_no_space(env), "exported, though values of any size have no space"
            elif not env.batch_size:
                _check_exported(env, names[0])
            elif len(env.batch_size) == 1 and not env._env_specs().rows:  # a VectorEnv has one space
                _check_vector(env, names[0])
        env.close()

    def test_close_twice(self) -> None:
        """A second `close` does nothing, and a closed environment refuses to be used."""
        env = self.make_env()
        env.close()
        env.close()
        assert env.is_closed, "is_closed is False after close()"
        try:
            env.reset()
        except ClosedEnvError:
            return
        raise AssertionError("a closed environment was reset")


def _unbound(steps: TensorDictBase, dim: int) -> list[TensorDictBase]:
    return list(steps.unbind(dim))


def _refusal(env: EnvBase) -> str | None:
    try:
        env.get_state()
    except StateNotSupportedError as error:
        return str(error)
    return None


def _refuses(env: EnvBase, data: TensorDictBase) -> bool:
    try:
        env.step(data)
    except ShapeError:
        return True
    return False


def _has_no_space(env: EnvBase) -> bool:
    """Whether the export is refused."""
    try:
        to_gymnasium(env, reward_key=env.reward_keys[0], sum_rewards=True)
    except ShapeError:
        return True
    return False


def _check_exported(env: EnvBase, reward_key: NestedKey) -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(to_gymnasium(env, reward_key=reward_key, sum_rewards=True), skip_render_check=True)


def _check_vector(env: EnvBase, reward_key: NestedKey) -> None:
    exported = to_gymnasium_vector(env, reward_key=reward_key, sum_rewards=True)
    observation, _ = exported.reset(seed=0)
    assert observation in exported.observation_space, "an observation outside the space"
    exported.action_space.seed(0)
    for _ in range(_STEPS):
        observation, reward, terminated, truncated, info = exported.step(exported.action_space.sample())
        assert observation in exported.observation_space, "an observation outside the space"
        assert reward.shape == terminated.shape == truncated.shape == (exported.num_envs,), "another shape"
        assert ("final_obs" in info) == bool((terminated | truncated).any()), "no last observation of an episode"
