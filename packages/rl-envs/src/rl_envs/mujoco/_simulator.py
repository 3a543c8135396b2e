"""Many simulations of one model, stepped by MuJoCo's own threads in one call."""

import os
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from rl_envs.mujoco._fields import Fields
from rl_envs.mujoco._simulation import AFTER_THE_STEP, Simulation, load_model
from rl_specs import FlatDict, message, near_matches

Array = np.ndarray[Any, Any]


@final
class Simulator:
    """`num_envs` simulations; each is a row of numbers that decides how it goes on.

    Results are those of a loop over one `MjData` per simulation, bit for bit, with any number of threads.

    Args:
        simulation: what is simulated and read.
        num_envs: number of simulations.
        num_threads: threads of the pool, the caller's included; None: one per core at hand.
    Attributes:
        rows: float64 `[num_envs, K]`, MuJoCo's integration state: positions, velocities, controls, warm start, ...
        now: the fields that are read, `[num_envs, ...]`. Views of `rows` or buffers that every step writes.
        control: float64 `[num_envs, nu]`, a view of `rows`.
    """

    def __init__(self, simulation: Simulation, num_envs: int, num_threads: int | None) -> None:
        batches = _batches()
        self.model = load_model(simulation.model)
        names = _names(simulation, self.model, batches)
        self._computed_after = [name for name in names if name in AFTER_THE_STEP]
        threads = min(available_cores() if num_threads is None else num_threads, num_envs)
        self._batch: Any = batches.Batch(self.model, num_envs, threads, bool(self._computed_after))
        self._stage = _stage(simulation.is_current)
        self._frame_skip = simulation.frame_skip
        self._scratch: Any = _scratch(self.model) if self._computed_after else None
        self.rows = torch.from_numpy(self._batch.state)
        self._control: Array = self._batch.bind("ctrl")
        self.control = torch.from_numpy(self._control)
        self._low, self._high = control_bounds(self.model)
        self._first_row = self.rows[0].clone()
        self.now = Fields("reads")
        self._buffers: FlatDict = {}
        self._copied: list[tuple[Array, Array]] = []
        self._computed: list[tuple[str, Array]] = []
        for name in names:
            self._bind(name)
        self._qpos, self._qvel = self.now["qpos"], self.now["qvel"]
        self.forward(None)

    def _bind(self, name: str) -> None:
        source = self._batch.bind(name)
        if np.may_share_memory(source, self._batch.state):
            self.now[name] = torch.from_numpy(source)
            return
        buffer = np.zeros_like(source)
        self.now[name] = self._buffers[name] = torch.from_numpy(buffer)
        if name in AFTER_THE_STEP:
            self._computed.append((name, buffer))
        else:
            self._copied.append((buffer, source))

    @property
    def num_threads(self) -> int:
        """Threads of the pool, the caller's included."""
        return int(self._batch.nthread)

    def set_control(self, action: Tensor) -> None:
        """Take `action`, `[num_envs, nu]` on the CPU, into `control`, clipped to the bounds in its own precision."""
        np.minimum(np.maximum(action.numpy(), self._low), self._high, out=self._control)

    def step(self) -> None:
        """Advance every simulation by one action, taken from `control`."""
        self._batch.step(nstep=self._frame_skip, stage=self._stage)
        for buffer, source in self._copied:
            np.copyto(buffer, source)
        if self._computed:
            self._compute_after()

    def start(self, index: Tensor | None, qpos: Tensor, qvel: Tensor) -> None:
        """Start simulations anew.

        Args:
            index: int64 `[n]`, ascending, which ones; None: all.
            qpos: float64 `[n, nq]`.
            qvel: float64 `[n, nv]`.
        """
        where = slice(None) if index is None else index
        self.rows[where] = self._first_row
        self._qpos[where] = qpos
        self._qvel[where] = qvel
        self.forward(None if index is None else index.to(torch.int32).numpy())

    def forward(self, index: Array | None) -> None:
        """Compute the fields of the present state; those of `mj_rnePostConstraint` are zero until the next step."""
        self._batch.forward(index)
        where = slice(None) if index is None else index
        for buffer, source in self._copied:
            buffer[where] = source[where]
        for _, buffer in self._computed:
            buffer[where] = 0.0

    def _compute_after(self) -> None:
        import mujoco  # type: ignore[import-untyped]  # ships no types

        model, scratch = self.model, self._scratch
        for row in range(len(self.rows)):
            self._batch.get_data(row, scratch)
            mujoco.mj_rnePostConstraint(model, scratch)
            for name, buffer in self._computed:
                buffer[row] = getattr(scratch, name)

    def get_state(self) -> FlatDict:
        """Copies of `rows` and of the fields that are no part of them."""
        return {"rows": self.rows.clone(), **{name: value.clone() for name, value in self._buffers.items()}}

    def set_state(self, state: FlatDict) -> None:
        """Write what `get_state` returned."""
        self.rows.copy_(state["rows"])
        for name, value in self._buffers.items():
            value.copy_(state[name])

    def close(self) -> None:
        """Release the simulations and their threads."""
        self._batch = self._scratch = None
        self._copied, self._computed, self._control = [], [], np.empty(0)
        self.rows = self.control = self._qpos = self._qvel = torch.empty(0)
        self.now.clear()
        self._buffers.clear()


def control_bounds(model: Any) -> tuple[Array, Array]:
    """Lower and upper bounds of the controls, float32 `[nu]`; infinite for actuators without a range."""
    is_limited = model.actuator_ctrllimited != 0
    low, high = model.actuator_ctrlrange.astype(np.float32).T
    return np.where(is_limited, low, np.float32(-np.inf)), np.where(is_limited, high, np.float32(np.inf))


def available_cores() -> int:
    """Number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not a Linux system
        return os.cpu_count() or 1


def _batches() -> Any:
    """The module `mujoco.batch`."""
    fix = 'Install it: pip install "rl-envs[mujoco]" "mujoco>=3.17"'
    try:
        from mujoco import batch
    except ImportError as error:
        expected = "MuJoCo 3.17 or newer, which has mujoco.batch"
        raise ImportError(message("MujocoEnv", "no mujoco.batch", expected=expected, found=error, fix=fix)) from error
    return batch


def _stage(is_current: bool) -> int:
    import mujoco

    return int(mujoco.mjtStage.mjSTAGE_VEL if is_current else mujoco.mjtStage.mjSTAGE_NONE)


def _scratch(model: Any) -> Any:
    import mujoco

    return mujoco.MjData(model)


def _names(simulation: Simulation, model: Any, batches: Any) -> list[str]:
    """Fields to read, each once."""
    sensors = ("sensordata",) if model.nsensordata else ()
    names = list(dict.fromkeys(("qpos", "qvel", *sensors, *simulation.reads, *simulation.remembers)))
    known = sorted(batches.DATA_FIELDS)
    for name in names:
        if name not in known:
            fix = near_matches(name, known).strip() or "See mujoco.batch.DATA_FIELDS"
            problem = "a field that MjData does not have, or not with a fixed shape"
            raise ValueError(message("Simulation", problem, found=name, fix=fix))
    return names
