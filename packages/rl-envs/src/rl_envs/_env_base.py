"""The environment: what an author writes, and what everyone calls."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from tensordict import LazyStackedTensorDict, TensorDict, TensorDictBase

from rl_envs._env_life import EnvLife
from rl_envs._env_plan import RESET_KEY, EnvPlan
from rl_envs._env_specs import EnvSpecs
from rl_envs._fake_data import fake_tensordict
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs._gym_registry import register_gym
from rl_envs._input_checks import check_root, check_step_input, check_tensordict
from rl_envs._mixed_envs import write_random_rows
from rl_envs._reset_masks import done_rows, keep_members, masked_entries, take_reset_masks, whole_rows
from rl_envs._rollout import RolloutOptions, rollout
from rl_envs._step_mdp import step_mdp
from rl_specs import NestedKey, TensorMap, TensorSpec, resolve_device

if TYPE_CHECKING:
    from rl_envs.transforms import Transform


class EnvBase(EnvLife):
    """An environment over TensorDicts.

    An author sets `observation_spec` and `action_spec` (and, where the defaults do not fit, `reward_spec`, `done_spec`,
    `state_spec`) in `__init__`, and writes `_reset`, `_step` and `_set_seed`.

    Args:
        device: device of every tensor that the env returns; None: the CPU, with TensorDicts that declare no device.
        batch_size: batch shape of the env; every entry starts with it.
    """

    accepts_mapping: bool = False
    """Whether `_step` and `_reset` use nothing of their data but `[key]`, `[key] = value` and `get`."""

    resets_members: bool = False
    """Whether `_reset` follows masks of groups such as `("agents", "_reset")`; otherwise whole rows start anew."""

    def __init__(self, *, device: torch.device | str | int | None = None, batch_size: Sequence[int] = ()) -> None:
        super().__init__(device=device, batch_size=batch_size)
        self._plan_and_specs: tuple[EnvPlan, EnvSpecs] | None = None
        self._driver: object | None = None

    # What an author writes.

    @abstractmethod
    def _reset(self, data: TensorMap | None) -> TensorMap:
        """Start episodes.

        Args:
            data: None, or the root entries that there are. With the mask `"_reset"` among them, bool `[*B, 1]`, its
                rows start; without it, all rows. Where groups of entries have flags of their own, a mask such as
                `("agents", "_reset")`, bool `[*B, n, 1]`, can name the members that start.
        Returns:
            Observations (and flags, where an episode may start done) of the whole batch; the caller keeps the rows of
            the mask. The state of the env outside the mask does not change.
        """

    @abstractmethod
    def _step(self, data: TensorMap) -> TensorMap:
        """Advance every env of the batch by one step.

        Args:
            data: the root entries, with the actions.
        Returns:
            Next observations, rewards, and the flags that the env knows (`done` alone is taken for a termination).
        """

    def _random_action(self, data: TensorMap, specs: Sequence[tuple[NestedKey, TensorSpec]]) -> None:
        """Write random actions into the root entries; overridden where what is allowed depends on the entries."""
        if self._specs.rows:
            write_random_rows(data, self._specs.rows)
            return
        for key, spec in specs:
            data[key] = spec.rand()

    @property
    def _draws_any_action(self) -> bool:
        """Whether random actions come from the specs alone, so that those of many steps can be drawn at once."""
        return not self._specs.rows and type(self)._random_action is EnvBase._random_action

    # Attributes.

    @property
    def steps_rows(self) -> bool:
        """Whether `_step` advances the rows of a mask `"_step"` alone, bool `[*B, 1]`, where its data hold one.

        What such a step returns for the other rows is of no meaning. Of use to what skips steps in some rows.
        """
        return False

    @property
    def driver(self) -> object | None:
        """Who moved the simulator last: the token given to `drive`, None after `reset`, `step`, `rollout` or
        `set_state`."""
        return self._simulator()._driver

    def drive(self, driver: object | None) -> None:
        """Sign as the last one who moved the simulator.

        A collector that finds another name under its batch knows that the simulator is not where it left it.
        """
        self._simulator()._driver = driver

    def _carried_keys(self) -> dict[NestedKey, bool]:
        """Root entries, besides actions, that a step reads back, so that nobody may write over them.

        True where an entry is a number that is counted or summed up, such as the return so far, and no observation:
        what is done to every observation is not done to it, and it may be cast.
        """
        return {}

    def _simulator(self) -> "EnvBase":
        """The env that is moved: itself, or the one inside a wrapper."""
        return self

    # Interaction.

    def reset(self, tensordict: TensorDictBase | None = None, *, seed: int | None = None) -> TensorDict:
        """Start episodes: all of them, or those that the mask `"_reset"` of `tensordict` names.

        Args:
            tensordict: None, or root entries `[*B]`, which the env may read (parameters, a state to start from). With
                `"_reset"`, bool `[*B, 1]` or `[*B]`, rows outside the mask keep the entries given. A mask of a group
                with flags of its own (see `reset_keys`), such as `("agents", "_reset")`, bool `[*B, n, 1]` or
                `[*B, n]`, keeps the entries of members outside it; one at the root decides for all.
            seed: passed to `set_seed` first.
        Returns:
            Root entries `[*B]`: observations and flags, and whatever else `tensordict` held.
        Raises:
            ClosedEnvError: the env has been closed.
            ShapeError: the mask has another shape, or `tensordict` another batch size.
            KeyError: a mask of a group that has no flags.
            ValueError: a mask of some members of a row, and the env starts whole rows (see `resets_members`).
        """
        if self._is_of_other_size(tensordict):
            with self._resized(tensordict.batch_size):
                return self.reset(tensordict, seed=seed)
        self._check_open("reset")
        self.drive(None)
        if seed is not None:
            self.set_seed(seed)
        plan = self._plan()
        if tensordict is None:
            return self._packed(plan.reset(None))
        check_root(f"{self._name}.reset", tensordict, self._batch_size)
        entries = {key: value for key, value in unpack_flat(tensordict).items() if key[0] != "next"}
        done = self._env_specs().done
        masks = take_reset_masks(entries, component=self._name, done=done, batch_size=self._batch_size)
        if masks is not None and not self.resets_members:
            masks = whole_rows(masks, component=self._name)
        if masks is None:
            return self._packed({**entries, **plan.reset(entries or None)})
        merged = plan.reset(masked_entries(entries, masks))
        return self._packed(keep_members(merged, entries, masks) if masks.members else merged)

    def step(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Advance by one step.

        Args:
            tensordict: root entries `[*B]` with the actions.
        Returns:
            `tensordict`, with what the step returned under `"next"`.
        Raises:
            ClosedEnvError: the env has been closed.
            MissingKeyError: an action, or an entry of `state_spec`, is missing.
            ShapeError, DTypeError, DeviceError: one has another shape, dtype or device than its spec.
            SpecError: an action on the CPU is outside its bounds by more than rounding.
        """
        if self._is_of_other_size(tensordict):
            with self._resized(tensordict.batch_size):
                return self.step(tensordict)
        self._check_open("step")
        self.drive(None)
        specs = self._env_specs()
        if specs.action_masks:
            check_tensordict(f"{self._name}.step", tensordict)
            self._plan().follow_masks(tensordict)
        check_step_input(self._name, tensordict, specs, self._batch_size)
        root = {key: value for key, value in unpack_flat(tensordict).items() if key[0] != "next"}
        result = self._packed(self._plan().step(root))
        before = tensordict.get("next", None)
        tensordict.set("next", result if before is None else before.copy().update(result))
        return tensordict

    def step_and_maybe_reset(self, tensordict: TensorDictBase) -> tuple[TensorDictBase, TensorDict]:
        """One step, then a reset of the rows that are done.

        Args:
            tensordict: root entries `[*B]` with the actions.
        Returns:
            `tensordict` with `"next"`, whose observations are those before the reset; and the root of the next step.
        """
        if self._is_of_other_size(tensordict):
            with self._resized(tensordict.batch_size):
                return self.step_and_maybe_reset(tensordict)
        stepped = self.step(tensordict)
        entries = unpack_flat(stepped)
        root = {key: value for key, value in entries.items() if key[0] != "next"}
        following = unpack_flat(stepped["next"])
        return stepped, self._packed(EnvPlan(self).advance(root, following)[0])

    def step_mdp(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The root of the step after this one, with the names of this env's entries; see `rl_envs.step_mdp`.

        Args:
            tensordict: a step `[*B]`, or several, with `"next"`.
        Returns:
            Root entries, sharing the tensors of `tensordict`.
        """
        return step_mdp(
            tensordict, reward_keys=self.reward_keys, done_keys=self.done_keys, action_keys=self.action_keys
        )

    def any_done(self, tensordict: TensorDictBase) -> bool:
        """Whether any `done` flag of the root entries `tensordict` is set. On an accelerator this waits for it."""
        rows = done_rows(unpack_flat(tensordict), self.done_keys, len(tensordict.batch_size))
        return rows is not None and bool(rows.any())

    def maybe_reset(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Reset the rows whose `done` flag is set.

        Args:
            tensordict: root entries `[*B]`, such as `step_mdp` returns.
        Returns:
            Root entries `[*B]`; `tensordict` itself where no row is done.
        """
        if self._is_of_other_size(tensordict):
            with self._resized(tensordict.batch_size):
                return self.maybe_reset(tensordict)
        entries = unpack_flat(tensordict)
        mask = done_rows(entries, self.done_keys, len(self._batch_size))
        if mask is None or not bool(mask.any()):
            return tensordict
        return self.reset(self._packed({**entries, RESET_KEY: mask}))

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Write actions drawn from the action spec.

        Args:
            tensordict: where to write; masks of actions that it holds are respected. None: an empty one.
        Returns:
            `tensordict` with the actions.
        """
        if self._is_of_other_size(tensordict):
            with self._resized(tensordict.batch_size):
                return self.rand_action(tensordict)
        specs = self._env_specs()
        data = self._without_entries(specs) if tensordict is None else tensordict
        if specs.action_masks:
            self._plan().follow_masks(data)
        self._random_action(data, specs.action.flat_items())
        return data

    def cardinality(self, tensordict: TensorDictBase | None = None) -> int | float:
        """Number of different actions of one row, `math.inf` where they cannot be counted.

        Args:
            tensordict: root entries with a mask of actions, to count those that it allows; such a mask has to be the
                same in all rows.
        """
        if tensordict is None:
            return self.full_action_spec.cardinality()
        return len(self.all_actions(tensordict))

    def all_actions(self, tensordict: TensorDictBase | None = None) -> TensorDict:
        """Every action, `[cardinality, *B]`, each the same in all rows.

        Args:
            tensordict: root entries with a mask of actions, the same in all rows: those that it allows.
        Raises:
            SpecError: the actions cannot be listed, or rows allow different ones.
        """
        specs = self._env_specs()
        if tensordict is not None and specs.action_masks:
            self._plan().follow_masks(tensordict)
        actions: TensorDict = specs.action.enumerate(use_mask=tensordict is not None)
        return actions

    def _without_entries(self, specs: EnvSpecs) -> TensorDictBase:
        if not specs.rows:
            return TensorDict({}, batch_size=self._batch_size, device=self._device)
        rows = [TensorDict({}, batch_size=self._batch_size[1:], device=self._device) for _ in specs.rows]
        return LazyStackedTensorDict(*rows, stack_dim=0)

    def rand_step(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """One step with actions drawn from the action spec."""
        return self.step(self.rand_action(tensordict))

    def rollout(
        self,
        max_steps: int,
        policy: Callable[..., Any] | None = None,
        *,
        callback: Callable[["EnvBase", TensorDictBase], None] | None = None,
        auto_reset: bool = True,
        auto_cast_to_device: bool = False,
        break_when_any_done: bool = True,
        break_when_all_done: bool = False,
        return_contiguous: bool | None = None,
        tensordict: TensorDictBase | None = None,
        set_truncation: bool = False,
        set_truncated: bool = False,
        out: TensorDictBase | None = None,
        trust_policy: bool = False,
        storing_device: torch.device | str | int | None = None,
    ) -> TensorDictBase:
        """Steps of `policy` in the env, in one batch.

        Args:
            max_steps: number of steps at most.
            policy: from TensorDict to TensorDict, writes the actions; None: actions drawn from the spec, those of
                many steps at once where all are allowed (`env.rand_action` draws step by step). A plain
                `nn.Module` is taken for the network between: the arguments of its `forward` are observations of these
                names (the only observation, whatever its one argument is called), and it returns the actions.
            callback: called after each step with the env and the entries of the step `[*B]`.
            auto_reset: start with `reset(tensordict)`; otherwise `tensordict` is where to start, and its rows that are
                done are reset.
            auto_cast_to_device: move what the policy reads to the policy's device, and the actions back.
            break_when_any_done: stop as soon as an env of the batch is done. Otherwise done envs are reset and go on.
            break_when_all_done: run until every env of the batch has been done once; an env that is done stays as it
                is, its flags set. Needs `break_when_any_done=False`.
            return_contiguous: stack the steps; otherwise return a lazy stack of them, whose shapes may differ. None:
                stack them, unless the specs leave a size open (see `has_dynamic_specs`).
            tensordict: root entries to start from, with `auto_reset=False`, or to hand to the reset, such as parameters
                or, for an env that is not `batch_locked`, a batch size.
            set_truncation: mark the last step `truncated` (and `done`) where it is not done.
            set_truncated: the same.
            out: TensorDict `[*B, max_steps]` to write the steps into, such as an earlier rollout or one in shared
                memory; the result is a view of its first steps.
            trust_policy: hand the TensorDict to a plain `nn.Module` as it is.
            storing_device: where to keep the steps; None: where the env has its tensors.
        Returns:
            Steps `[*B, T]`; the last batch dimension is named `"time"`. Differentiable where env and policy are, unless
            `out` is given.
        Raises:
            ValueError: arguments that contradict each other.
            ShapeError, MissingKeyError: `out` does not fit the steps.
        """
        options = RolloutOptions(
            callback=callback,
            auto_reset=auto_reset,
            auto_cast_to_device=auto_cast_to_device,
            break_when_any_done=break_when_any_done,
            break_when_all_done=break_when_all_done,
            return_contiguous=return_contiguous,
            tensordict=tensordict,
            set_truncation=set_truncation or set_truncated,
            out=out,
            trust_policy=trust_policy,
            storing_device=None if storing_device is None else resolve_device(storing_device),
        )
        self._check_open("rollout")
        self.drive(None)
        if self._is_of_other_size(tensordict):
            with self._resized(tensordict.batch_size):
                return rollout(self, max_steps, policy, options)
        return rollout(self, max_steps, policy, options)

    def fake_tensordict(self) -> TensorDict:
        """One step `[*B]` of zeros, with every entry that a step has."""
        return fake_tensordict(self._env_specs(), self._batch_size, self._device)

    @classmethod
    def register_gym(
        cls,
        id: str,  # Gymnasium's own name for it
        *,
        entry_point: Callable[..., "EnvBase"] | None = None,
        transform: "Transform | None" = None,
        reward_key: NestedKey | None = None,
        info_keys: Sequence[NestedKey] | None = None,
        sum_rewards: bool = False,
        reward_threshold: float | None = None,
        nondeterministic: bool = False,
        max_episode_steps: int | None = None,
        order_enforce: bool = True,
        disable_env_checker: bool = False,
        **kwargs: Any,
    ) -> None:
        """Register this class, or `entry_point`, with Gymnasium; `kwargs` are for its constructor.

        See `rl_envs.register_gym`, which says what the other arguments are.
        """
        register_gym(
            id,
            cls if entry_point is None else entry_point,
            transform=transform,
            reward_key=reward_key,
            info_keys=info_keys,
            sum_rewards=sum_rewards,
            reward_threshold=reward_threshold,
            nondeterministic=nondeterministic,
            max_episode_steps=max_episode_steps,
            order_enforce=order_enforce,
            disable_env_checker=disable_env_checker,
            kwargs=kwargs,
        )

    def _plan(self) -> EnvPlan:
        specs = self._env_specs()
        if self._plan_and_specs is None or self._plan_and_specs[1] is not specs:
            self._plan_and_specs = (EnvPlan(self), specs)
        return self._plan_and_specs[0]

    def _packed(self, entries: Any) -> TensorDict:
        return pack_flat(entries, self._batch_size, self.device)
