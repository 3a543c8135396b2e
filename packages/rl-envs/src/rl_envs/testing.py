"""For authors of environments: small environments to test with, and a suite to test an environment against."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs._checks import check_env_specs
from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY
from rl_envs._flat import unpack_flat
from rl_envs._step_mdp import step_mdp
from rl_specs import Bounded, Composite, FlatDict, NestedKey, TensorMap, Unbounded, join_key

_STEPS = 12


@final
class CountingEnv(EnvBase):
    """Counts its steps: the observation is the number of steps since the reset, the reward that number plus the action.

    Args:
        batch_size: batch shape.
        max_steps: steps of an episode, one number or one per row (`[*B]`).
        prefix: keys under which observation, action and reward are nested, `()` for the root.
        device: device of the tensors.
    """

    accepts_mapping = True

    def __init__(
        self,
        batch_size: Sequence[int] = (),
        *,
        max_steps: int | Sequence[Any] = 5,
        prefix: tuple[str, ...] = (),
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(device=device, batch_size=batch_size)
        shape = torch.Size((*self._batch_size, 1))
        self._observation, self._action, self._reward = (
            join_key(*prefix, name) for name in ("observation", "action", "reward")
        )
        count = Unbounded(shape=shape, device=device, dtype=torch.float32)
        self.observation_spec = Composite({self._observation: count}, shape=self._batch_size, device=device)
        action = Bounded(-1.0, 1.0, shape=shape, device=device, dtype=torch.float32)
        self.action_spec = Composite({self._action: action}, shape=self._batch_size, device=device)
        self.reward_spec = Composite({self._reward: count}, shape=self._batch_size, device=device)
        self._limit = torch.as_tensor(max_steps, device=device).expand(self._batch_size).unsqueeze(-1)
        self._count = torch.zeros(shape, device=device)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        mask = None if data is None else data.get(RESET_KEY, None)
        fresh = torch.zeros_like(self._count)
        self._count = fresh if mask is None else torch.where(mask, fresh, self._count)
        return {self._observation: self._count.clone()}

    def _step(self, data: TensorMap) -> FlatDict:
        self._count = self._count + 1
        reward = self._count + data[self._action]
        return {self._observation: self._count.clone(), self._reward: reward, "done": self._count >= self._limit}

    def _set_seed(self, seed: int) -> None:
        self._count = torch.zeros_like(self._count)

    @property
    def has_exact_state(self) -> bool:
        """True."""
        return True

    def get_state(self) -> dict[str, Any]:
        """The count, `[*B, 1]`."""
        return {"count": self._count.clone()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        self._count = state["count"].clone()


@final
class TensorDictCountingEnv(EnvBase):
    """`CountingEnv` written with methods of TensorDict, so that its `_step` has to be handed one.

    Args:
        batch_size: batch shape.
        max_steps: steps of an episode, after which it is truncated.
    """

    def __init__(self, batch_size: Sequence[int] = (), *, max_steps: int = 5) -> None:
        super().__init__(batch_size=batch_size)
        shape = torch.Size((*self._batch_size, 1))
        self.observation_spec = Unbounded(shape=shape, dtype=torch.float32)
        self.action_spec = Bounded(-1.0, 1.0, shape=shape, dtype=torch.float32)
        self._limit = max_steps

    def _reset(self, data: TensorMap | None) -> TensorDict:
        return TensorDict({"observation": torch.zeros(*self._batch_size, 1)}, batch_size=self._batch_size)

    def _step(self, data: TensorMap) -> TensorDict:
        if not isinstance(data, TensorDictBase):
            raise TypeError(f"TensorDictCountingEnv: expected a TensorDict, found {type(data).__name__}.")
        following = data.select("observation").apply(lambda count: count + 1)
        count = following.get("observation")
        following.set("reward", count + data.get("action"))
        return TensorDict({**following, "truncated": count >= self._limit}, batch_size=self._batch_size)

    def _set_seed(self, seed: int) -> None:
        self._seed = seed


class EnvConformance(ABC):
    """What every environment promises. Subclass it in a test module under a name that starts with `Test`.

    ```
    class TestMyEnv(EnvConformance):
        def make_env(self) -> EnvBase:
            return MyEnv()
    ```
    """

    @abstractmethod
    def make_env(self) -> EnvBase:
        """A new environment, made the same way every time."""

    def test_data_are_what_the_specs_say(self) -> None:
        """What a reset, a step and a rollout return fits the specs."""
        with self.make_env() as env:
            check_env_specs(env, seed=0)

    def test_a_seed_fixes_the_data(self) -> None:
        """Two environments with one seed and the same actions return the same, bit for bit."""
        first, second = (_seeded_steps(self.make_env()) for _ in range(2))
        _assert_equal(first, second, "with the same seed")

    def test_flags_agree(self) -> None:
        """`done` is `terminated | truncated` in every group of flags."""
        steps = unpack_flat(_seeded_steps(self.make_env()))
        for key in (key for key in steps if key == "done" or key[-1] == "done"):
            path = (key,) if isinstance(key, str) else key
            terminated, truncated = (steps[join_key(*path[:-1], name)] for name in ("terminated", "truncated"))
            assert torch.equal(steps[key], terminated | truncated), f"{key} is not terminated | truncated"

    def test_returned_tensors_are_not_written_later(self) -> None:
        """What a step has returned stays as it was when further steps are taken."""
        with self.make_env() as env:
            env.set_seed(0)
            stepped = env.rand_step(env.reset())
            before = stepped.clone()
            root = step_mdp(stepped, reward_keys=env.reward_keys, action_keys=env.action_keys)
            for _ in range(3):
                _, root = env.step_and_maybe_reset(env.rand_action(root))
            _assert_equal(before, stepped, "after further steps")

    def test_partial_reset_leaves_other_rows(self) -> None:
        """A reset of some rows changes neither what is returned for the others nor how they go on."""
        with self.make_env() as env, self.make_env() as untouched:
            if not env.batch_size:
                return
            roots = []
            for each in (env, untouched):
                torch.manual_seed(0)
                each.set_seed(0)
                roots.append(each.step_and_maybe_reset(each.rand_action(each.reset()))[1])
            mask = torch.zeros((*env.batch_size, 1), dtype=torch.bool, device=env.device)
            mask[0] = True
            rows = ~mask.reshape(env.batch_size)
            after = env.reset(roots[0].clone().set(RESET_KEY, mask))
            _assert_equal(roots[1][rows], after[rows], "in rows outside the mask of a reset")
            action = env.rand_action().select(*env.action_keys)
            following = [each.step(root.clone().update(action)) for each, root in ((env, after), (untouched, roots[1]))]
            _assert_equal(following[1][rows], following[0][rows], "in the step after a reset of other rows")

    def test_exact_state_goes_on_bitwise(self) -> None:
        """An environment put into the state of another goes on as that one does."""
        with self.make_env() as env, self.make_env() as other:
            if not env.has_exact_state:
                return
            env.set_seed(0)
            other.reset()
            root = env.step_and_maybe_reset(env.rand_action(env.reset()))[1]
            other.load_state_dict(env.state_dict())
            actions = [env.rand_action().select(*env.action_keys) for _ in range(_STEPS)]
            _assert_equal(_steps(env, root, actions), _steps(other, root, actions), "after load_state_dict")

    def test_close_twice(self) -> None:
        """A second `close` does nothing."""
        env = self.make_env()
        env.close()
        env.close()
        assert env.is_closed, "is_closed is False after close()"


def _seeded_steps(env: EnvBase) -> TensorDictBase:
    with env, torch.random.fork_rng():
        torch.manual_seed(0)
        env.set_seed(0)
        return env.rollout(_STEPS, break_when_any_done=False)


def _steps(env: EnvBase, root: TensorDictBase, actions: list[TensorDictBase]) -> TensorDictBase:
    steps = []
    for action in actions:
        stepped, root = env.step_and_maybe_reset(root.copy().update(action))
        steps.append(stepped.clone())
    batch: TensorDictBase = TensorDict.stack(steps, -1)
    return batch


def _assert_equal(first: TensorDictBase, second: TensorDictBase, when: str) -> None:
    a, b = unpack_flat(first), unpack_flat(second)
    assert set(a) == set(b), f"other entries {when}: {sorted(map(str, set(a) ^ set(b)))}"
    differing: list[NestedKey] = [key for key in a if not torch.equal(a[key], b[key])]
    assert not differing, f"entries differ {when}: {differing}"
