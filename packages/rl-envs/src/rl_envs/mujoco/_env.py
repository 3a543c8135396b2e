"""Batches of MuJoCo simulations as one environment."""

import secrets
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rl_envs._counter_random import stream_keys
from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY
from rl_envs.mujoco._draws import Draws
from rl_envs.mujoco._fields import Fields
from rl_envs.mujoco._simulation import Simulation
from rl_envs.mujoco._simulator import Simulator, control_bounds
from rl_specs import Bounded, Composite, FlatDict, ShapeError, TensorMap, Unbounded, message, missing_key


class MujocoEnv(EnvBase):
    """`num_envs` MuJoCo simulations of one model, stepped in one call by MuJoCo's thread pool.

    An author names the model and writes three functions over the whole batch, `_observe`, `_reward` and `_terminated`,
    and `_initial` where episodes do not start at the model's rest. They see `now`, a mapping from MuJoCo's names to
    float64 tensors `[num_envs, ...]`: `qpos`, `qvel`, `sensordata` where the model has sensors, and what
    `Simulation.reads` names. These tensors are overwritten by the next step: compute from them, do not keep them.

    Entries: `"observation"` `[num_envs, k]`; `"action"` float32 `[num_envs, nu]`, clipped to the actuators' ranges;
    `"reward"` `[num_envs, 1]`. The data of env `i` depend on the seed, `i` and its actions, not on the number of
    threads or of envs. The physics is float64 and runs on the CPU.

    Args:
        simulation: the model, the frame skip and the fields that are read.
        num_envs: number of simulations.
        max_episode_steps: steps after which an episode is truncated; None: no limit.
        num_threads: threads of the pool; None: one per core at hand. A step waits until each of them has had its turn:
            where other processes keep the cores busy, take fewer.
        seed: seed of the random streams; None: a random one.
        dtype: dtype of observations and rewards.
        device: device of the tensors that the env returns.
    Raises:
        ImportError: MuJoCo is missing, or older than 3.17.
        ValueError: `num_envs` or `num_threads` below 1; a field that MuJoCo does not have.
        ShapeError: one of the functions returns another shape than it should.
        MissingKeyError: one of the functions uses a field that is not read, or not remembered.
        TypeError: `_terminated` returns no masks; a model of another kind.
        FileNotFoundError: there is no file at the path of the model.
    """

    accepts_mapping = True

    def __init__(
        self,
        simulation: Simulation,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        num_threads: int | None = None,
        seed: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | int | None = None,
    ) -> None:
        for name, value in (
            ("num_envs", num_envs),
            ("num_threads", num_threads),
            ("max_episode_steps", max_episode_steps),
        ):
            if value is not None and value < 1:
                raise ValueError(message(type(self).__name__, f"{name} too small", expected=">= 1", found=value))
        super().__init__(device=device, batch_size=(num_envs,))
        self._moves = self._device is not None and self._device.type != "cpu"
        self._physics = Simulator(simulation, num_envs, num_threads)
        self._remembered = Fields("remembers")
        self._remembered.update({name: self._physics.now[name].clone() for name in simulation.remembers})
        self._time_step = float(self.model.opt.timestep) * simulation.frame_skip
        self._max_episode_steps = max_episode_steps
        self._dtype = dtype
        self._steps = torch.zeros(num_envs, dtype=torch.int64)
        self._resets = torch.zeros(num_envs, dtype=torch.int64)
        self._set_specs()
        self._set_seed(secrets.randbits(31) if seed is None else seed)

    # What an author writes.

    @abstractmethod
    def _observe(self, now: Mapping[str, Tensor]) -> Tensor:
        """Observations `[num_envs, k]`."""

    @abstractmethod
    def _reward(self, before: Mapping[str, Tensor], now: Mapping[str, Tensor], action: Tensor) -> Tensor:
        """Rewards of a step.

        Args:
            before: the fields of `Simulation.remembers` before the step.
            now: all fields, after it.
            action: float64 `[num_envs, nu]`, within the bounds.
        Returns:
            `[num_envs]`.
        """

    @abstractmethod
    def _terminated(self, now: Mapping[str, Tensor]) -> Tensor:
        """Which episodes have come to an end other than by the time limit, bool `[num_envs]`."""

    def _initial(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """First positions `[n, nq]` and velocities `[n, nv]` of `n = draws.num_envs` episodes."""
        return self._rest(draws.num_envs)

    def _rest(self, count: int) -> tuple[Tensor, Tensor]:
        """Positions `[count, nq]` and velocities `[count, nv]` of the model at rest."""
        qpos = torch.from_numpy(self.model.qpos0).to(torch.float64).repeat(count, 1)
        return qpos, torch.zeros(count, int(self.model.nv), dtype=torch.float64)

    # What it can ask for.

    @property
    def model(self) -> Any:
        """The `MjModel`, to look up names and addresses in; a change to it has no effect."""
        return self._physics.model

    @property
    def time_step(self) -> float:
        """Simulated time of one step, in s."""
        return self._time_step

    @property
    def num_threads(self) -> int:
        """Threads of the pool."""
        return self._physics.num_threads

    # The environment.

    def _set_specs(self) -> None:
        batch, device, dtype = self._batch_size, self._device, self._dtype
        low, high = (torch.from_numpy(bound).to(device).expand(*batch, -1) for bound in control_bounds(self.model))
        self.action_spec = Bounded(low, high, device=device, dtype=torch.float32)
        self.reward_spec = Unbounded(shape=torch.Size((*batch, 1)), device=device, dtype=dtype)
        self._own_storages = {
            value.untyped_storage().data_ptr()
            for value in (
                self._physics.rows,
                self._physics.control,
                *self._physics.now.values(),
                *self._remembered.values(),
            )
        }
        shape = self._check_functions()
        observation = Unbounded(shape=shape, device=device, dtype=dtype)
        self.observation_spec = Composite({"observation": observation}, shape=batch, device=device)

    def _check_functions(self) -> torch.Size:
        """Call the three functions once; shape of the observation."""
        now, count = self._physics.now, self._batch_size[0]
        observation = self._observe(now)
        reward = self._reward(self._remembered, now, torch.zeros_like(self._physics.control))
        terminated = self._terminated(now)
        if observation.ndim != 2 or len(observation) != count:
            raise self._wrong_shape("_observe", f"[{count}, k]", observation)
        for name, value in (("_reward", reward), ("_terminated", terminated)):
            if value.shape != (count,):
                raise self._wrong_shape(name, f"[{count}]", value)
        if terminated.dtype != torch.bool:
            found = terminated.dtype
            raise TypeError(message(self._name, "_terminated gives no masks", expected="torch.bool", found=found))
        return observation.shape

    def _wrong_shape(self, name: str, expected: str, value: Tensor) -> ShapeError:
        return ShapeError(
            message(self._name, f"{name} gives another shape", expected=expected, found=list(value.shape))
        )

    def _reset(self, data: TensorMap | None) -> FlatDict:
        mask: Tensor | None = None if data is None else data.get(RESET_KEY, None)
        index = None if mask is None else mask.reshape(-1).cpu().nonzero().squeeze(-1)
        if index is None or len(index):
            where = slice(None) if index is None else index
            self._physics.start(index, *self._first_states(Draws(self._keys[where], self._resets[where])))
            self._steps[where] = 0
            self._resets[where] += 1
        flags = torch.zeros((3, *self._batch_size, 1), dtype=torch.bool, device=self._device)
        done, terminated, truncated = flags.unbind()
        observation = self._handed_out(self._observe(self._physics.now)).to(self._device)
        return {"observation": observation, "done": done, "terminated": terminated, "truncated": truncated}

    def _first_states(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """What `_initial` gives, with the shapes that it should have."""
        qpos, qvel = self._initial(draws)
        for value, count in ((qpos, int(self.model.nq)), (qvel, int(self.model.nv))):
            if value.shape != (draws.num_envs, count):
                raise self._wrong_shape("_initial", f"[{draws.num_envs}, {count}]", value)
        return qpos, qvel

    def _step(self, data: TensorMap) -> FlatDict:
        physics, now = self._physics, self._physics.now
        for name, value in self._remembered.items():
            value.copy_(now[name])
        action = data["action"].detach()
        physics.set_control(action.cpu() if self._moves else action)
        physics.step()
        self._steps += 1
        terminated = self._terminated(now).unsqueeze(-1)
        if self._max_episode_steps is None:
            truncated = torch.zeros_like(terminated)
        else:
            truncated = (self._steps >= self._max_episode_steps).unsqueeze(-1)
        entries: FlatDict = {
            "observation": self._handed_out(self._observe(now)),
            "reward": self._handed_out(self._reward(self._remembered, now, physics.control)).unsqueeze(-1),
            "done": terminated | truncated,
            "terminated": terminated,
            "truncated": truncated,
        }
        return {key: value.to(self._device) for key, value in entries.items()} if self._moves else entries

    def _handed_out(self, value: Tensor) -> Tensor:
        """`value` as the caller gets it, no memory of which is written later."""
        value = value.to(self._dtype)
        return value.clone() if value.untyped_storage().data_ptr() in self._own_storages else value

    def _set_seed(self, seed: int) -> None:
        self._set_stream(seed, 0)

    def _set_stream(self, seed: int, first_index: int) -> None:
        self._keys = stream_keys(seed, torch.arange(first_index, first_index + self._batch_size[0]))
        self._resets = torch.zeros_like(self._resets)

    def _to(self, device: torch.device) -> None:
        self._moves = device.type != "cpu"

    def _close(self) -> None:
        self._physics.close()

    @property
    def has_exact_state(self) -> bool:
        """True."""
        return True

    def get_state(self) -> dict[str, Any]:
        """The simulations, warm starts included; `steps` of the episodes, `keys` and `resets` of the random streams."""
        counts = {"steps": self._steps, "keys": self._keys, "resets": self._resets}
        return {"simulator": self._physics.get_state(), **{name: value.clone() for name, value in counts.items()}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned.

        Raises:
            ValueError: the state is of another model or number of envs.
            MissingKeyError: a part of it is missing.
        """
        for name in ("simulator", "steps", "keys", "resets"):
            if name not in state:
                fix = "Give what get_state of such an environment returned, whole"
                raise missing_key(f"{self._name}.set_state", name, state, fix=fix)
        rows, expected = state["simulator"]["rows"], self._physics.rows
        if rows.shape != expected.shape:
            problem = "a state of another model or number of envs"
            found = list(rows.shape)
            raise ValueError(message(f"{self._name}.set_state", problem, expected=list(expected.shape), found=found))
        self.drive(None)
        self._physics.set_state(state["simulator"])
        self._steps, self._keys, self._resets = (state[name].cpu().clone() for name in ("steps", "keys", "resets"))
