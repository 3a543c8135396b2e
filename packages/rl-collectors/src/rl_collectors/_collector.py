"""Collect batches of steps with a policy: what is asked for when, and what is made of a batch."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import nn

from rl_collectors._collection_loop import CollectionLoop
from rl_collectors._devices import Devices, move_policy
from rl_collectors._overlap import Overlap, as_overlap
from rl_collectors._source import BatchSource, EnvSource, Policy, Request, Setup
from rl_collectors._step_calls import compile_options
from rl_collectors._weights import copy_weights
from rl_collectors._wiring import check_count, check_exploration
from rl_collectors._worker_source import WorkerSource
from rl_envs import EnvBase, ExplorationType
from rl_specs import message, missing_key
from rl_specs.trajectories import split_trajectories

_STATE_ENTRIES = {"collected_frames", "policy_version", "next_traj_id", "traj_ids", "root", "env_state_dict"}


class Collector:
    """Run a policy in an environment and yield batches `[*B, T]`, resetting what is done.

    Each batch is the caller's: nothing writes to it afterwards. Besides what environment and policy write, a batch has
    `("collector", "traj_ids")`, an id per trajectory that is unique over the whole run, and
    `("collector", "policy_version")`, the number of `update_policy_weights_` calls that preceded the step; both int64
    `[*B, T]`.

    A batch goes on where the one before it stopped. Where that is no more where the environment is, because an
    evaluation ran in it with `env.rollout` or a batch was interrupted, new trajectories begin.

    With `overlap`, collection and learning go on at the same time: a worker process collects the next batch while the
    caller learns from this one. A batch that is handed out was then made with weights that are that many updates old;
    `("collector", "policy_version")` tells. `split_trajs` and `postproc` run in this process. With a torch seed,
    batches are the same in each run, those of environments and transforms that draw from the global streams of Python
    or numpy too.

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
        overlap: number of batches collected ahead of the learner, in a worker process that `create_env_fn` (a callable)
            is called in; 0 waits for each batch, and gives bitwise those of None, which collects in this process. An
            `Overlap` says more. The worker acts with a copy of the policy, whose parameters, buffers and training mode
            are brought up to date each time that a batch is asked for; it computes with one torch thread.
    Raises:
        ValueError: `frames_per_batch` does not divide by the number of environments.
        WorkerError: the worker raised, exited or was killed; the message has its traceback, or exit code or signal.
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
        overlap: Overlap | int | None = None,
    ) -> None:
        self._name = type(self).__name__
        if total_frames != -1:
            check_count(self._name, "total_frames", total_frames, expected="-1 or at least 1", low=1)
        if init_random_frames is not None:
            check_count(
                self._name, "init_random_frames", init_random_frames, expected="at least 0, or -1 for none", low=-1
            )
        check_exploration(self._name, exploration_type)
        devices = Devices.resolve(device, env_device, policy_device, storing_device)
        self._acting_policy = policy if policy is None else move_policy(policy, devices.policy)
        setup = Setup(
            component=self._name,
            create_env_fn=create_env_fn,
            create_env_kwargs=create_env_kwargs,
            max_frames_per_traj=max_frames_per_traj,
            frames_per_batch=frames_per_batch,
            devices=devices,
            compile_options=compile_options(self._name, compile_step),
        )
        self._overlap = as_overlap(self._name, overlap)
        self._source = self._make_source(setup)
        self.frames_per_batch = frames_per_batch
        self.total_frames = total_frames
        self.exploration_type = exploration_type
        self.reset_at_each_iter = reset_at_each_iter
        self.postproc = postproc
        self.split_trajs = split_trajs
        self.init_random_frames = init_random_frames or 0
        self.policy = policy
        self._is_shut_down = False
        self.collected_frames = 0
        self.policy_version = 0

    def _make_source(self, setup: Setup) -> BatchSource:
        if self._overlap is None:
            return CollectionLoop(setup, self._acting_policy)
        return WorkerSource(setup, self._acting_policy, self._overlap)

    @property
    def env(self) -> EnvBase:
        """The environment.

        Raises:
            RuntimeError: with `overlap` it lives in the worker.
        """
        return self._source.env

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
        source = self._source
        if not source.pending:
            self._request()
        batch: TensorDictBase = source.receive()
        self.collected_frames += self.frames_per_batch
        while self._overlap is not None and source.pending < self._overlap.batches and not self._is_all_requested():
            self._request()
        if self.split_trajs:
            batch = split_trajectories(batch)
        return batch if self.postproc is None else self.postproc(batch)

    def _request(self) -> None:
        """Ask for the batch after those that have been asked for."""
        is_random = self._requested_frames() < self.init_random_frames
        request = Request(self.policy_version, is_random, self.exploration_type, self.reset_at_each_iter)
        self._source.request(request)

    def _requested_frames(self) -> int:
        return self.collected_frames + self._source.pending * self.frames_per_batch

    def _is_all_requested(self) -> bool:
        return self.total_frames != -1 and self._requested_frames() >= self.total_frames

    def update_policy_weights_(
        self, policy_or_weights: nn.Module | TensorDictBase | Mapping[str, Any] | None = None
    ) -> None:
        """Act with the newest weights from the next batch that is asked for on, and count the update.

        Args:
            policy_or_weights: where the weights come from: a module, a TensorDict as `TensorDict.from_module` gives, or
                a `state_dict`; None takes those of the policy that the collector was given.
        """
        acting = self._acting_policy
        source = self.policy if policy_or_weights is None else policy_or_weights
        if isinstance(acting, nn.Module) and source is not acting:
            where = f"{self._name}.update_policy_weights_"
            try:
                copy_weights(where, acting, source)
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
        return self._source.set_seed(seed, static_seed)

    def reset(self) -> None:
        """Forget the current trajectories: the next batch starts with a reset; batches made ahead are dropped."""
        self._source.reset()

    def shutdown(self, close_env: bool = True) -> None:
        """Close the environment and refuse further batches; may be called again.

        Args:
            close_env: False leaves an environment in this process open; one in a worker is always closed.
        """
        if not self._is_shut_down:
            self._is_shut_down = True
            self._source.close(close_env)

    def state_dict(self) -> dict[str, Any]:
        """All that the next batch depends on, apart from the policy's weights and the global random streams.

        With `overlap`, waits for the batches that are being collected ahead. What one of them raised is raised when its
        turn comes; the state is then that after the failure.

        Returns:
            Counters, the root at which collection stopped, trajectory ids, and the environment's state; with `overlap`
            of one or more also `"ahead"`: the batches collected ahead, and the worker's global random streams (those of
            Python, numpy and torch on the CPU).
        """
        return {
            "collected_frames": self.collected_frames,
            "policy_version": self.policy_version,
            **self._source.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state; an environment that cannot restore its simulator starts new trajectories.

        Args:
            state: what `state_dict` returned.
        Raises:
            MissingKeyError: it is not the state of a collector.
            ValueError: the state was saved with another number of environments, or with more `overlap`.
        """
        absent = sorted(_STATE_ENTRIES - set(state))
        if absent:
            fix = "Pass what state_dict() of a collector returned"
            raise missing_key(f"{self._name}.load_state_dict", absent[0], state, fix=fix)
        self._source.load_state_dict(state)
        self.collected_frames = int(state["collected_frames"])
        self.policy_version = int(state["policy_version"])


SyncDataCollector = Collector
