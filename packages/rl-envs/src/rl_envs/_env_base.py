"""The environment: what an author writes, and what everyone calls."""

import secrets
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs._env_plan import RESET_KEY, EnvPlan
from rl_envs._env_specs import EnvSpecs, default_done_spec, full_spec
from rl_envs._errors import ClosedEnvError, StateNotSupportedError
from rl_envs._fake_data import fake_tensordict
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs._input_checks import check_reset_mask, check_step_input, check_tensordict
from rl_envs._rollout import rollout
from rl_envs._seeding import next_seed, stream_seed
from rl_envs._spec_views import SpecViews
from rl_specs import Composite, NestedKey, TensorMap, Unbounded, message, resolve_device


class EnvBase(SpecViews):
    """An environment over TensorDicts.

    An author sets `observation_spec` and `action_spec` (and, where the defaults do not fit, `reward_spec`, `done_spec`,
    `state_spec`) in `__init__`, and writes `_reset`, `_step` and `_set_seed`.

    Args:
        device: device of every tensor that the env returns; None: the CPU, with TensorDicts that declare no device.
        batch_size: batch shape of the env; every entry starts with it.
    """

    accepts_mapping: bool = False
    """Whether `_step` and `_reset` use nothing of their data but `[key]`, `[key] = value` and `get`."""

    def __init__(self, *, device: torch.device | str | int | None = None, batch_size: Sequence[int] = ()) -> None:
        self._device = None if device is None else resolve_device(device)
        self._batch_size = torch.Size(batch_size)
        self._is_closed = False
        self._training = True
        empty = Composite({}, shape=self._batch_size, device=self._device)
        reward = Unbounded(shape=torch.Size((*self._batch_size, 1)), device=self._device, dtype=torch.float32)
        self._specs = EnvSpecs(
            observation=empty,
            action=empty,
            reward=full_spec(reward, "reward", self._batch_size),
            done=default_done_spec(self._batch_size, self._device),
            state=empty,
        )
        self._plan_and_specs: tuple[EnvPlan, EnvSpecs] | None = None
        self._driver: object | None = None

    # What an author writes.

    @abstractmethod
    def _reset(self, data: TensorMap | None) -> TensorMap:
        """Start episodes.

        Args:
            data: None to start all of them; else a mapping with the mask `"_reset"`, bool `[*B, 1]`.
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

    @abstractmethod
    def _set_seed(self, seed: int) -> None:
        """Restart the random stream of the env from `seed`."""

    def _set_stream(self, seed: int, first_index: int) -> None:
        """Seed the envs of this batch as envs `first_index, first_index + 1, ...` of a larger one.

        An env that holds several overrides this, so that env `i` draws from the stream of `(seed, i)`.
        """
        self._set_seed(stream_seed(seed, first_index))

    def _to(self, device: torch.device) -> None:
        """Move what the env holds to `device`; the specs have moved already."""

    def _close(self) -> None:
        """Release what the env holds; called once."""

    def _set_training(self, mode: bool) -> None:
        """Pass the mode on to what the env is made of."""

    def _repr_fields(self) -> dict[str, object]:
        """What `repr` shows before the batch size and the device."""
        return {}

    # Specs.

    def _env_specs(self) -> EnvSpecs:
        return self._specs

    def _replace_spec(self, **changed: Composite) -> None:
        for name, spec in changed.items():
            self._specs = replace(self._specs, **{name: spec})  # type: ignore[arg-type]  # names of composites alone

    # Attributes.

    @property
    def batch_size(self) -> torch.Size:
        """Batch shape of the env."""
        try:
            return self._batch_size
        except AttributeError:
            fix = "Call super().__init__(device=..., batch_size=...) first in __init__, before setting specs"
            problem = "used before EnvBase was initialised"
            raise RuntimeError(message(f"{self._name}.__init__", problem, fix=fix)) from None

    @property
    def device(self) -> torch.device | None:
        """Device of every tensor that the env returns; None: the CPU, undeclared."""
        return self._device

    @property
    def is_closed(self) -> bool:
        """Whether `close` has been called."""
        return self._is_closed

    @property
    def training(self) -> bool:
        """Mode set by `train` and `eval`."""
        return self._training

    @property
    def has_exact_state(self) -> bool:
        """Whether `get_state` and `set_state` exist, so that a run can be resumed in the middle of an episode."""
        return False

    @property
    def steps_rows(self) -> bool:
        """Whether `_step` advances the rows of a mask `"_step"` alone, bool `[*B, 1]`, where its data hold one.

        What such a step returns for the other rows is of no meaning. Of use to what skips steps in some rows.
        """
        return False

    @property
    def driver(self) -> object | None:
        """Who moved the simulator last: the token given to `drive`, None after `reset`, `step` or `rollout`."""
        return self._simulator()._driver

    def drive(self, driver: object | None) -> None:
        """Sign as the last one who moved the simulator.

        A collector that finds another name under its batch knows that the simulator is not where it left it.
        """
        self._simulator()._driver = driver

    def _carried_keys(self) -> dict[NestedKey, bool]:
        """Root entries, besides actions and states, that a step reads back; True where nobody may write over them."""
        return {}

    def _simulator(self) -> "EnvBase":
        """The env that is moved: itself, or the one inside a wrapper."""
        return self

    # Interaction.

    def reset(self, tensordict: TensorDictBase | None = None, *, seed: int | None = None) -> TensorDict:
        """Start episodes: all of them, or those that the mask `"_reset"` of `tensordict` names.

        Args:
            tensordict: None, or root entries `[*B]`; with `"_reset"`, bool `[*B, 1]` or `[*B]`, rows outside the mask
                keep the entries given.
            seed: passed to `set_seed` first.
        Returns:
            Root entries `[*B]`: observations and flags, and whatever else `tensordict` held.
        Raises:
            ClosedEnvError: the env has been closed.
            ShapeError: the mask has another shape.
        """
        self._check_open("reset")
        self.drive(None)
        if seed is not None:
            self.set_seed(seed)
        if tensordict is None:
            return self._packed(self._plan().reset(None))
        check_tensordict(f"{self._name}.reset", tensordict)
        entries = {key: value for key, value in unpack_flat(tensordict).items() if key[0] != "next"}
        mask = entries.pop(RESET_KEY, None)
        if mask is None:
            return self._packed({**entries, **self._plan().reset(None)})
        entries[RESET_KEY] = check_reset_mask(mask, batch_size=self._batch_size, component=self._name)
        return self._packed(self._plan().reset(entries))

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
        stepped = self.step(tensordict)
        entries = unpack_flat(stepped)
        root = {key: value for key, value in entries.items() if key[0] != "next"}
        following = unpack_flat(stepped["next"])
        return stepped, self._packed(EnvPlan(self).advance(root, following)[0])

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Write actions drawn from the action spec.

        Args:
            tensordict: where to write; masks of actions that it holds are respected. None: an empty one.
        Returns:
            `tensordict` with the actions.
        """
        data = TensorDict({}, batch_size=self._batch_size, device=self._device) if tensordict is None else tensordict
        specs = self._env_specs()
        if specs.action_masks:
            self._plan().follow_masks(data)
        for key, spec in specs.action.flat_items():
            data.set(key, spec.rand())
        return data

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
        return_contiguous: bool = True,
        tensordict: TensorDictBase | None = None,
        set_truncation: bool = False,
    ) -> TensorDictBase:
        """Steps of `policy` in the env, in one batch.

        Args:
            max_steps: number of steps at most.
            policy: from TensorDict to TensorDict, writes the actions; None: actions drawn from the spec.
            callback: called after each step with the env and the entries of the step `[*B]`.
            auto_reset: start with a reset; otherwise `tensordict` is where to start.
            auto_cast_to_device: move what the policy reads to the policy's device, and the actions back.
            break_when_any_done: stop as soon as an env of the batch is done. Otherwise done envs are reset and go on.
            break_when_all_done: run until every env of the batch has been done once; an env that is done stays as it
                is, its flags set. Needs `break_when_any_done=False`.
            return_contiguous: stack the steps; otherwise return a lazy stack of them.
            tensordict: root entries to start from, with `auto_reset=False`.
            set_truncation: mark the last step `truncated` (and `done`) where it is not done.
        Returns:
            Steps `[*B, T]`; the last batch dimension is named `"time"`. Differentiable where env and policy are.
        """
        self._check_open("rollout")
        self.drive(None)
        return rollout(
            self,
            max_steps,
            policy,
            callback=callback,
            auto_reset=auto_reset,
            auto_cast_to_device=auto_cast_to_device,
            break_when_any_done=break_when_any_done,
            break_when_all_done=break_when_all_done,
            return_contiguous=return_contiguous,
            tensordict=tensordict,
            set_truncation=set_truncation,
        )

    def fake_tensordict(self) -> TensorDict:
        """One step `[*B]` of zeros, with every entry that a step has."""
        return fake_tensordict(self._env_specs(), self._batch_size, self._device)

    # Seeds, state, life.

    def set_seed(self, seed: int | None = None, static_seed: bool = False, *, first_index: int = 0) -> int:
        """Restart the random streams; effective from the next reset.

        Args:
            seed: non-negative; None: a random one.
            static_seed: return `seed` itself.
            first_index: position of the first env of this batch in a larger one: env `i` of that one draws from the
                stream of `(seed, i)` however the envs are spread.
        Returns:
            A seed for what is seeded next.
        """
        self._check_open("set_seed")
        chosen = secrets.randbits(31) if seed is None else int(seed)
        if chosen < 0:
            raise ValueError(message(f"{self._name}.set_seed", "negative seed", expected=">= 0", found=chosen))
        self._set_stream(chosen, first_index)
        return chosen if static_seed else next_seed(chosen)

    def get_state(self) -> dict[str, Any]:
        """Everything that decides how the simulator goes on, random streams included.

        Raises:
            StateNotSupportedError: the simulator cannot be read out; see `has_exact_state`.
        """
        raise StateNotSupportedError(
            message(self._name, "has no exact state", fix="Restart it at an episode boundary with reset()")
        )

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, in this or another object of the same make.

        Raises:
            StateNotSupportedError: the simulator cannot be written; see `has_exact_state`.
        """
        raise StateNotSupportedError(
            message(self._name, "has no exact state", fix="Restart it at an episode boundary with reset()")
        )

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: `get_state` where the env has one. Loadable with `torch.load(weights_only=True)`."""
        return {"simulator": self.get_state()} if self.has_exact_state else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned; from an empty one, the next episode starts with a reset."""
        unknown = sorted(set(state) - {"simulator"})
        if unknown:
            raise KeyError(f"{self._name}.load_state_dict: unknown entries {unknown}; known: ['simulator'].")
        if "simulator" in state:
            self.set_state(state["simulator"])

    def train(self, mode: bool = True) -> Self:
        """Set training mode."""
        self._training = mode
        self._set_training(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode: transforms stop to update their statistics."""
        return self.train(False)

    def to(self, device: torch.device | str | int) -> Self:
        """Move the env: from the next reset on, its tensors are on `device`."""
        self._device = resolve_device(device)
        self._specs = self._specs.to(self._device)
        self._to(self._device)
        return self

    def close(self) -> None:
        """Release what the env holds. Calling it again does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        fields = {**self._repr_fields(), "batch_size": self.batch_size, "device": self.device}
        return f"{self._name}({', '.join(f'{name}={value}' for name, value in fields.items())})"

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _check_open(self, method: str) -> None:
        if self._is_closed:
            raise ClosedEnvError(message(f"{self._name}.{method}", "the env is closed", fix="Make a new one"))

    def _plan(self) -> EnvPlan:
        specs = self._env_specs()
        if self._plan_and_specs is None or self._plan_and_specs[1] is not specs:
            self._plan_and_specs = (EnvPlan(self), specs)
        return self._plan_and_specs[0]

    def _packed(self, entries: Any) -> TensorDict:
        return pack_flat(entries, self._batch_size, self.device)
