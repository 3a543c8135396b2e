"""Collect batches of steps with a policy, in one process.

The collector holds the current root as a flat dict and repeats three calls: policy plan, environment plan, batch
writer. What it learns from specs and from the first step (keys, shapes, devices) is learnt once.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from rl_collectors._batch_writer import BatchWriter
from rl_collectors._devices import Devices, move_policy
from rl_collectors._split import split_trajectories
from rl_collectors._state import pack_root, unpack_root
from rl_collectors._step_calls import StepCalls, compile_options
from rl_collectors._wiring import check_action, check_count, check_env, check_frames, check_keys, check_source
from rl_envs import EnvBase, EnvPlan, ExplorationType, StepCounter, TransformedEnv, plan_policy, set_exploration_type
from rl_specs import FlatDict, message, missing_key

EnvSource: TypeAlias = EnvBase | Callable[..., EnvBase]
Policy: TypeAlias = Callable[..., Any]

_TRAJ_IDS = ("collector", "traj_ids")
_VERSION = ("collector", "policy_version")
_STATE_ENTRIES = {"collected_frames", "policy_version", "next_traj_id", "traj_ids", "root", "env_state_dict"}


class Collector:
    """Run a policy in an environment and yield batches `[*B, T]`, resetting what is done.

    Each batch is the caller's: nothing writes to it afterwards. Besides what environment and policy write, a batch has
    `("collector", "traj_ids")`, an id per trajectory that is unique over the whole run, and
    `("collector", "policy_version")`, the number of `update_policy_weights_` calls that preceded the step; both int64
    `[*B, T]`.

    A batch goes on where the one before it stopped. Where that is no more where the environment is, because an
    evaluation ran in it with `env.rollout` or a batch was interrupted, new trajectories begin.

    Args:
        create_env_fn: an environment, or a callable that makes one.
        policy: module or callable from TensorDict to TensorDict; None draws actions from the action spec.
        frames_per_batch: frames in a batch, over all environments; a multiple of their number.
        total_frames: frames after which iteration ends (the last batch is whole); -1 never ends.
        create_env_kwargs: keyword arguments of `create_env_fn`.
        device: default of the three devices below.
        env_device: device of the data that the environment gives and takes.
        policy_device: device that the policy runs on; a policy that lives elsewhere is copied there, and
            `update_policy_weights_` brings the copy up to date.
        storing_device: device of the batches.
        max_frames_per_traj: steps after which a trajectory is truncated; None or a number below 1 never truncates.
        init_random_frames: frames at the start whose actions are drawn from the action spec, in whole batches.
        split_trajs: yield trajectories padded to one length, see `split_trajectories`.
        exploration_type: how the policy acts; `RANDOM` samples its distribution.
        reset_at_each_iter: start each batch with a reset of everything.
        postproc: called on each batch; what it returns is yielded.
        compile_step: run the steps under `torch.compile`, from the second batch on: policy and environment as one
            function, carrying over and resets as another. For policies and environments in torch. True, or further
            arguments of `torch.compile`. Actions keep their distribution; with a backend that generates kernels they
            are other draws than without.
    Raises:
        ValueError: `frames_per_batch` does not divide by the number of environments.
        WiringError: at the first batch, when policy and environment do not fit; all differences in one report.
    """

    def __init__(
        self,
        create_env_fn: EnvSource,
        policy: Policy | None = None,
        *,
        frames_per_batch: int,
        total_frames: int = -1,
        create_env_kwargs: Mapping[str, Any] | None = None,
        device: torch.device | str | int | None = None,
        env_device: torch.device | str | int | None = None,
        policy_device: torch.device | str | int | None = None,
        storing_device: torch.device | str | int | None = None,
        max_frames_per_traj: int | None = None,
        init_random_frames: int | None = None,
        split_trajs: bool = False,
        exploration_type: ExplorationType = ExplorationType.RANDOM,
        reset_at_each_iter: bool = False,
        postproc: Callable[[TensorDictBase], TensorDictBase] | None = None,
        compile_step: bool | Mapping[str, Any] = False,
    ) -> None:
        self._name = type(self).__name__
        self._compile_options = compile_options(self._name, compile_step)
        self._devices = Devices.resolve(device, env_device, policy_device, storing_device)
        self.env = self._make_env(create_env_fn, create_env_kwargs, max_frames_per_traj)
        self.frames_per_batch = frames_per_batch
        self._num_steps = check_frames(self._name, frames_per_batch, max(1, self.env.batch_size.numel()))
        if total_frames != -1:
            check_count(self._name, "total_frames", total_frames, expected="-1 or at least 1", low=1)
        if init_random_frames is not None:
            check_count(
                self._name, "init_random_frames", init_random_frames, expected="at least 0, or -1 for none", low=-1
            )
        _check_exploration(self._name, exploration_type)
        self.total_frames = total_frames
        self.exploration_type = exploration_type
        self.reset_at_each_iter = reset_at_each_iter
        self.postproc = postproc
        self.split_trajs = split_trajs
        self.init_random_frames = init_random_frames or 0
        self.policy = policy
        self._acting_policy = policy if policy is None else move_policy(policy, self._devices.policy)
        self._writer: BatchWriter | None = None
        self._plan = self._new_plan()
        self._root: FlatDict | None = None
        self._token = object()
        self._is_wired = False
        self._is_shut_down = False
        self.collected_frames = 0
        self.policy_version = 0
        self._next_traj_id = torch.zeros((), dtype=torch.int64, device=self.env.device)
        self._traj_ids = torch.zeros(self.env.batch_size, dtype=torch.int64, device=self.env.device)

    def _make_env(
        self, source: EnvSource, kwargs: Mapping[str, Any] | None, max_frames_per_traj: int | None
    ) -> EnvBase:
        if isinstance(source, EnvBase):
            if kwargs:
                raise TypeError(
                    message(
                        self._name,
                        "create_env_kwargs given together with an environment",
                        expected="a callable as create_env_fn",
                        found=type(source).__name__,
                        fix="Pass the callable that makes the environment",
                    )
                )
            env = source
        else:
            check_source(self._name, source)
            env = source(**(kwargs or {}))
        check_env(self._name, env)
        if self._devices.env is not None and env.device != self._devices.env:
            env = env.to(self._devices.env)
        if max_frames_per_traj is not None and max_frames_per_traj > 0:
            limit = StepCounter(max_steps=max_frames_per_traj, step_count_key=("collector", "step_count"))
            env = TransformedEnv(env, limit)
        return env

    def _new_plan(self) -> EnvPlan:
        self._planned_spec = self.env.full_observation_spec
        plan = EnvPlan(self.env, is_branchless=self._compile_options is not None)
        self._calls = StepCalls(self._name, plan, self._compile_options)
        return plan

    def __iter__(self) -> Iterator[TensorDictBase]:
        while self.total_frames == -1 or self.collected_frames < self.total_frames:
            yield self.rollout()

    def __len__(self) -> int:
        """Number of batches of a whole run."""
        if self.total_frames == -1:
            raise TypeError(message(self._name, "endless, so it has no length", fix="Pass total_frames"))
        return -(-self.total_frames // self.frames_per_batch)

    def rollout(self) -> TensorDictBase:
        """Collect one batch.

        Returns:
            TensorDict `[*B, T]` (or `[N, L]` with `split_trajs`), after `postproc`.
        """
        if self._is_shut_down:
            raise RuntimeError(message(self._name, "already shut down", fix="Make a new collector"))
        with torch.no_grad(), set_exploration_type(self.exploration_type):
            batch: TensorDictBase = self._collect()
        self.collected_frames += self.frames_per_batch
        if self.split_trajs:
            batch = split_trajectories(batch)
        return batch if self.postproc is None else self.postproc(batch)

    def _collect(self) -> TensorDict:
        root = self._start()
        plan, steps = self._plan, self._num_steps
        act = self._action_source(root)
        act(root)
        self._check_first_action(root)
        nxt = plan.step(root)
        writer = self._writer_for(root, nxt)
        take, advance = self._calls.of(act)
        write = writer.write
        ids, ids_changed = self._traj_ids, []
        for step in range(steps):
            if step:
                nxt = take(root)
            write(step, root, nxt)
            root, mask = advance(root, nxt)
            if mask is not None:
                ids = self._renumber(ids, mask)
                ids_changed.append((step + 1, ids))
        extra = self._bookkeeping(ids_changed)
        self._root, self._traj_ids = root, ids
        self.env.drive(self._token)
        return writer.finish(extra)

    def _writer_for(self, root: FlatDict, nxt: FlatDict) -> BatchWriter:
        """A writer at the start of a batch: that of the batch before, where the layout is the same."""
        device, steps = self._devices.storing, self._num_steps
        writer = self._writer
        if writer is None or not writer.fits(root, nxt, steps, device):
            writer = BatchWriter(root, nxt, batch_size=self.env.batch_size, num_steps=steps, device=device)
            self._writer = writer
        writer.start()
        return writer

    def _start(self) -> FlatDict:
        """The root that the batch begins with."""
        check_env(self._name, self.env)
        is_as_planned = self.env.full_observation_spec is self._planned_spec
        if not is_as_planned:  # a transform was added, or the env was moved
            self._plan = self._new_plan()
        self._root = self._current_root() if is_as_planned else None
        if self._root is None or self.reset_at_each_iter:
            rows = torch.ones((*self.env.batch_size, 1), dtype=torch.bool, device=self.env.device)
            self._traj_ids = self._renumber(self._traj_ids, rows)
            self._root = self._plan.reset()
        self.env.drive(None)  # signed again once the batch is whole
        return self._root

    def _current_root(self) -> FlatDict | None:
        """The root at which collection stopped; None where others have moved the env since, an evaluation say."""
        return self._root if self.env.driver is self._token else None

    def _renumber(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Trajectory ids with fresh ones in the rows of `mask`; never read back from the device."""
        rows = mask.reshape(ids.shape)
        order = rows.reshape(-1).cumsum(0).reshape(ids.shape)
        fresh = torch.where(rows, self._next_traj_id + order - 1, ids)
        self._next_traj_id = self._next_traj_id + rows.sum()
        return fresh

    def _bookkeeping(self, changes: list[tuple[int, Tensor]]) -> FlatDict:
        """Entries that the collector itself adds: who made the step, and which trajectory it belongs to."""
        shape = (*self.env.batch_size, self._num_steps)
        ids = self._traj_ids.unsqueeze(-1).expand(shape).clone()
        for step, current in changes:
            ids[..., step:] = current.unsqueeze(-1)
        version = torch.full(shape, self.policy_version, dtype=torch.int64, device=self.env.device)
        return {_TRAJ_IDS: ids, _VERSION: version}

    def _action_source(self, root: FlatDict) -> Callable[[FlatDict], None]:
        """What writes the actions of this batch: the policy, planned anew as its layers may have been replaced."""
        policy = self._acting_policy
        if policy is None or self.collected_frames < self.init_random_frames:
            return self._plan.random_action
        if not self._is_wired:
            check_keys(self._name, self.env, policy, root)
        run = plan_policy(policy, batch_size=self.env.batch_size, device=self._devices.policy)
        return self._devices.across(run)

    def _check_first_action(self, root: FlatDict) -> None:
        is_random = self._acting_policy is None or self.collected_frames < self.init_random_frames
        if not self._is_wired and not is_random:
            check_action(self._name, self.env, root)
            self._is_wired = True

    def update_policy_weights_(
        self, policy_or_weights: nn.Module | TensorDictBase | Mapping[str, Any] | None = None
    ) -> None:
        """Act with the newest weights from the next step on, and count the update.

        Args:
            policy_or_weights: where the weights come from: a module, a TensorDict as `TensorDict.from_module` gives, or
                a `state_dict`; None takes those of the policy that the collector was given.
        """
        acting = self._acting_policy
        source = self.policy if policy_or_weights is None else policy_or_weights
        if isinstance(acting, nn.Module) and source is not acting:
            where = f"{self._name}.update_policy_weights_"
            try:
                _copy_weights(where, acting, source)
            except (KeyError, RuntimeError) as error:
                problem = f"the weights do not fit the policy ({error})"
                fix = "Pass the policy that the collector was given, a copy of it, or its state_dict()"
                raise ValueError(message(where, problem, found=type(source).__name__, fix=fix)) from error
        self.policy_version += 1

    def set_seed(self, seed: int, static_seed: bool = False) -> int:
        """Seed the environments; each draws from a stream of its own.

        Args:
            seed: seed of the first environment.
            static_seed: return `seed` itself.
        Returns:
            A seed for the next collector.
        """
        return self.env.set_seed(seed, static_seed=static_seed)

    def reset(self) -> None:
        """Forget the current trajectories: the next batch starts with a reset."""
        self._root = None

    def shutdown(self, close_env: bool = True) -> None:
        """Close the environment and refuse further batches; may be called again."""
        if not self._is_shut_down:
            self._is_shut_down = True
            self._root = None
            if close_env:
                self.env.close()

    def state_dict(self) -> dict[str, Any]:
        """All that the next batch depends on, apart from the policy's weights and torch's random state.

        Returns:
            Counters, the root at which collection stopped, trajectory ids, and the environment's state.
        """
        root = self._current_root()
        return {
            "collected_frames": self.collected_frames,
            "policy_version": self.policy_version,
            "next_traj_id": int(self._next_traj_id),
            "traj_ids": self._traj_ids.clone(),
            "root": None if root is None else pack_root(root),
            "env_state_dict": self.env.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state; an environment that cannot restore its simulator starts new trajectories.

        Args:
            state: what `state_dict` returned.
        Raises:
            MissingKeyError: it is not the state of a collector.
            ValueError: the state was saved with another number of environments.
        """
        absent = sorted(_STATE_ENTRIES - set(state))
        if absent:
            fix = "Pass what state_dict() of a collector returned"
            raise missing_key(f"{self._name}.load_state_dict", absent[0], state, fix=fix)
        ids = state["traj_ids"]
        if ids.shape != self._traj_ids.shape:
            raise ValueError(
                message(
                    self._name,
                    "the state was saved with another batch of environments",
                    expected=tuple(self._traj_ids.shape),
                    found=tuple(ids.shape),
                    fix="Make the collector with as many environments as the saved one had",
                )
            )
        self.collected_frames = int(state["collected_frames"])
        self.policy_version = int(state["policy_version"])
        self._next_traj_id = torch.full_like(self._next_traj_id, int(state["next_traj_id"]))
        self._traj_ids = ids.to(self._traj_ids.device, copy=True)
        self.env.load_state_dict(state["env_state_dict"])
        self._plan = self._new_plan()
        root = state["root"]
        keeps_root = root is not None and self.env.has_exact_state
        self._root = unpack_root(root, self.env.device) if keeps_root else None
        self.env.drive(self._token)


def _copy_weights(where: str, module: nn.Module, source: object) -> None:
    if isinstance(source, TensorDictBase):
        own: TensorDictBase = TensorDict.from_module(module)
        own.data.copy_(source.data)
    elif isinstance(source, nn.Module):
        module.load_state_dict(source.state_dict())
    elif isinstance(source, Mapping):
        module.load_state_dict(source)
    else:
        expected, fix = "a module, a TensorDict of parameters, or a state_dict", "Pass the policy itself"
        raise TypeError(message(where, "weights", expected=expected, found=type(source).__name__, fix=fix))


def _check_exploration(component: str, value: object) -> None:
    if not isinstance(value, ExplorationType):
        choices = ", ".join(f"ExplorationType.{choice.name}" for choice in ExplorationType)
        fix = "Pass ExplorationType.RANDOM to sample"
        raise TypeError(
            message(component, "exploration_type", expected=f"one of {choices}", found=repr(value), fix=fix)
        )


SyncDataCollector = Collector
