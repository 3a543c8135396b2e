"""Collection in this process.

The loop holds the current root as a flat dict and repeats three calls: policy plan, environment plan, batch writer.
What it learns from specs and from the first step (keys, shapes, devices) is learnt once.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from tensordict import TensorDict
from torch import Tensor

from rl_collectors._batch_writer import BatchWriter
from rl_collectors._source import Policy, Request, Setup
from rl_collectors._state import ahead_batches, pack_root, unpack_root
from rl_collectors._step_calls import StepCalls
from rl_collectors._wiring import check_action, check_env, check_frames, check_keys, check_storable
from rl_envs import EnvBase, EnvPlan, plan_policy, set_exploration_type
from rl_specs import FlatDict, message

_TRAJ_IDS = ("collector", "traj_ids")
_VERSION = ("collector", "policy_version")


@final
class CollectionLoop:
    """The `BatchSource` of this process: a batch is collected when it is received.

    Args:
        setup: what collection is made from.
        policy: what acts, on its device; None draws actions from the action spec. It may be replaced between batches.
    Raises:
        ValueError: `frames_per_batch` does not divide by the number of environments.
    """

    def __init__(self, setup: Setup, policy: Policy | None) -> None:
        self._name = setup.component
        self._devices = setup.devices
        self._compile_options = setup.compile_options
        self._env = setup.make_env()
        self._num_steps = check_frames(self._name, setup.frames_per_batch, max(1, self.env.batch_size.numel()))
        self.policy = policy
        self._requests: deque[Request] = deque()
        self._writer: BatchWriter | None = None
        self._plan = self._new_plan()
        self._root: FlatDict | None = None
        self._token = object()
        self._is_wired = False
        self._next_traj_id = torch.zeros((), dtype=torch.int64, device=self.env.device)
        self._traj_ids = torch.zeros(self.env.batch_size, dtype=torch.int64, device=self.env.device)

    def _new_plan(self) -> EnvPlan:
        check_storable(self._name, self.env)
        self._planned_spec = self.env.full_observation_spec
        plan = EnvPlan(self.env, is_branchless=self._compile_options is not None)
        self._calls = StepCalls(self._name, plan, self._compile_options)
        return plan

    @property
    def env(self) -> EnvBase:
        """See `BatchSource`."""
        return self._env

    @property
    def pending(self) -> int:
        """See `BatchSource`."""
        return len(self._requests)

    def request(self, request: Request) -> None:
        """See `BatchSource`."""
        self._requests.append(request)

    def receive(self) -> TensorDict:
        """See `BatchSource`."""
        request = self._requests.popleft()
        with torch.no_grad(), set_exploration_type(request.exploration_type):
            return self._collect(request)

    def _collect(self, request: Request) -> TensorDict:
        root = self._start(request.starts_anew)
        plan, steps = self._plan, self._num_steps
        act = self._action_source(root, is_random=request.is_random)
        act(root)
        if not self._is_wired and not request.is_random and self.policy is not None:
            check_action(self._name, self.env, root)
            self._is_wired = True
        nxt = plan.step(root)
        writer = self._writer_for(root, nxt)
        take, advance = self._calls.of(act)
        write = writer.write
        starts: list[tuple[int, Tensor]] = []
        for step in range(steps):
            if step:
                nxt = take(root)
            write(step, root, nxt)
            root, mask = advance(root, nxt)
            if mask is not None:
                starts.append((step + 1, mask.clone()))
        extra = self._bookkeeping(starts, request.policy_version)
        self._root = root
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

    def _start(self, is_reset: bool) -> FlatDict:
        """The root that the batch begins with."""
        check_env(self._name, self.env)
        is_as_planned = self.env.full_observation_spec is self._planned_spec
        if not is_as_planned:  # a transform was added, or the env was moved
            self._plan = self._new_plan()
        self._root = self._current_root() if is_as_planned else None
        if self._root is None or is_reset:
            rows = torch.ones((*self.env.batch_size, 1), dtype=torch.bool, device=self.env.device)
            self._traj_ids = self._numbered([rows])[-1]
            self._root = self._plan.reset()
        self.env.drive(None)  # signed again once the batch is whole
        return self._root

    def _current_root(self) -> FlatDict | None:
        """The root at which collection stopped; None where others have moved the env since, an evaluation say."""
        return self._root if self.env.driver is self._token else None

    def _numbered(self, starts: list[Tensor]) -> Tensor:
        """Trajectory ids `[K, *B]` after each of `K` resets, fresh ones in its rows; never read back from the device.

        Args:
            starts: the mask of each reset in their order, bool `[*B, 1]`; one at least.
        """
        rows = torch.stack(starts)
        fresh = torch.where(rows, self._next_traj_id - 1 + rows.reshape(-1).cumsum(0).reshape(rows.shape), -1)
        fresh = fresh.reshape(-1, *self._traj_ids.shape)
        self._next_traj_id = self._next_traj_id + rows.sum()
        return torch.maximum(fresh.cummax(0).values, self._traj_ids)  # fresh ids are above all before them

    def _bookkeeping(self, starts: list[tuple[int, Tensor]], policy_version: int) -> FlatDict:
        """Entries that the collector itself adds: who made the step, and which trajectory it belongs to.

        Args:
            starts: the resets within the batch: number of steps before it, and its mask, bool `[*B, 1]`.
            policy_version: number of weight updates before the batch.
        """
        shape = (*self.env.batch_size, self._num_steps)
        ids = self._traj_ids.unsqueeze(-1).expand(shape).clone()
        if starts:
            numbered = self._numbered([mask for _, mask in starts])
            ends = [*(step for step, _ in starts[1:]), self._num_steps]
            for (step, _), end, current in zip(starts, ends, numbered.unsqueeze(-1), strict=True):
                ids[..., step:end] = current
            self._traj_ids = numbered[-1]
        version = torch.full(shape, policy_version, dtype=torch.int64, device=self.env.device)
        return {_TRAJ_IDS: ids, _VERSION: version}

    def _action_source(self, root: FlatDict, *, is_random: bool) -> Callable[[FlatDict], None]:
        """What writes the actions of this batch: the policy, planned anew as its layers may have been replaced."""
        if self.policy is None or is_random:
            return self._plan.random_action
        if not self._is_wired:
            check_keys(self._name, self.env, self.policy, root)
        run = plan_policy(self.policy, batch_size=self.env.batch_size, device=self._devices.policy)
        return self._devices.across(run)

    def set_seed(self, seed: int, static_seed: bool) -> int:
        """See `BatchSource`."""
        return self.env.set_seed(seed, static_seed=static_seed)

    def reset(self) -> None:
        """See `BatchSource`."""
        self._requests.clear()
        self._root = None

    def close(self, close_env: bool) -> None:
        """See `BatchSource`."""
        self.reset()
        if close_env:
            self.env.close()

    def state_dict(self) -> dict[str, Any]:
        """See `BatchSource`: the root at which collection stopped, trajectory ids, and the environment's state."""
        root = self._current_root()
        return {
            "next_traj_id": int(self._next_traj_id),
            "traj_ids": self._traj_ids.clone(),
            "root": None if root is None else pack_root(root),
            "env_state_dict": self.env.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `BatchSource`; an environment that cannot restore its simulator starts new trajectories.

        Raises:
            ValueError: the state was saved with another number of environments, or has batches collected ahead.
        """
        ahead_batches(self._name, state, most=0)
        ids = state["traj_ids"]
        if ids.shape != self._traj_ids.shape:
            problem = "the state was saved with another batch of environments"
            expected, found = tuple(self._traj_ids.shape), tuple(ids.shape)
            fix = "Make the collector with as many environments as the saved one had"
            raise ValueError(message(self._name, problem, expected=expected, found=found, fix=fix))
        self._next_traj_id = torch.full_like(self._next_traj_id, int(state["next_traj_id"]))
        self._traj_ids = ids.to(self._traj_ids.device, copy=True)
        self.env.load_state_dict(state["env_state_dict"])
        self._plan = self._new_plan()
        root = state["root"]
        keeps_root = root is not None and self.env.has_exact_state
        self._root = unpack_root(root, self.env.device) if keeps_root else None
        self.env.drive(self._token)
