"""The swing-up pendulum, in torch."""

import math
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from rl_envs._counter_random import stream_keys, uniform
from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY
from rl_specs import Bounded, Composite, FlatDict, ShapeError, TensorMap, message

_MAX_SPEED = 8.0
_MAX_TORQUE = 2.0


@final
class PendulumEnv(EnvBase):
    """A pendulum to be swung up and held, any number at once, on any device, without a time limit of its own.

        cost_t = angle_t^2 + 0.1 speed_t^2 + 0.001 torque_t^2, reward = -cost
        speed_{t+1} = clip(speed_t + (3 g / 2 l sin(angle_t) + 3 / (m l^2) torque_t) dt, -8, 8)
        angle_{t+1} = angle_t + speed_{t+1} dt

    Entries: `"observation"` float32 `[*B, 3]`, cosine and sine of the angle (0 is upright) and the speed in rad/s;
    `"action"` float32 `[*B, 1]`, torque in N m within [-2, 2]. An episode starts at an angle in [-pi, pi) and a speed
    in [-1, 1), functions of the seed, the position of the pendulum in the batch and the number of its resets. No step
    reads a value back from the device. Differentiable in the actions.

    Args:
        batch_size: batch shape.
        device: where to compute; None: the CPU.
        seed: seed of the random streams; None: a random one.
        gravity: in m/s^2.
        mass: in kg.
        length: in m.
        time_step: in s.
    Source: the dynamics of Gymnasium's Pendulum-v1, https://gymnasium.farama.org/environments/classic_control/pendulum/
    """

    accepts_mapping = True

    def __init__(
        self,
        batch_size: Sequence[int] = (),
        *,
        device: torch.device | str | int | None = None,
        seed: int | None = None,
        gravity: float = 10.0,
        mass: float = 1.0,
        length: float = 1.0,
        time_step: float = 0.05,
    ) -> None:
        super().__init__(device=device, batch_size=batch_size)
        batch = self._batch_size
        limit = torch.tensor([1.0, 1.0, _MAX_SPEED], device=self._device).expand(*batch, 3)
        self.observation_spec = Composite({"observation": Bounded(-limit, limit)}, shape=batch, device=self._device)
        shape = torch.Size((*batch, 1))
        self.action_spec = Bounded(-_MAX_TORQUE, _MAX_TORQUE, shape=shape, device=self._device, dtype=torch.float32)
        self._pull = 3.0 * gravity / (2.0 * length) * time_step
        self._push = 3.0 / (mass * length**2) * time_step
        self._time_step = time_step
        self._angle = torch.zeros(batch, device=self._device)
        self._speed = torch.zeros(batch, device=self._device)
        self._resets = torch.zeros(batch, dtype=torch.int64, device=self._device)
        self._set_seed(secrets.randbits(31) if seed is None else seed)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        mask = None if data is None else data.get(RESET_KEY, None)
        angle = uniform(self._keys, self._resets, 0, -math.pi, math.pi)
        speed = uniform(self._keys, self._resets, 1, -1.0, 1.0)
        if mask is None:
            self._angle, self._speed, self._resets = angle, speed, self._resets + 1
        else:
            rows = mask.reshape(self._batch_size)
            self._angle = torch.where(rows, angle, self._angle)
            self._speed = torch.where(rows, speed, self._speed)
            self._resets = self._resets + rows
        return {"observation": self._observation(), **self._flags()}

    def _step(self, data: TensorMap) -> FlatDict:
        torque = data["action"].squeeze(-1).clamp(-_MAX_TORQUE, _MAX_TORQUE)
        self._angle, self._speed, cost = swing(
            self._angle,
            self._speed,
            torque,
            pull=self._pull,
            push=self._push,
            time_step=self._time_step,
            max_speed=_MAX_SPEED,
        )
        return {"observation": self._observation(), "reward": -cost.unsqueeze(-1), **self._flags()}

    def _observation(self) -> Tensor:
        return torch.stack((self._angle.cos(), self._angle.sin(), self._speed), dim=-1)

    def _flags(self) -> FlatDict:
        flags = torch.zeros((3, *self._batch_size, 1), dtype=torch.bool, device=self._device)
        done, terminated, truncated = flags.unbind()
        return {"done": done, "terminated": terminated, "truncated": truncated}

    def _set_seed(self, seed: int) -> None:
        self._set_stream(seed, 0)

    def _set_stream(self, seed: int, first_index: int) -> None:
        count = self._batch_size.numel()
        index = torch.arange(first_index, first_index + count, device=self._device).reshape(self._batch_size)
        self._keys = stream_keys(seed, index)
        self._resets = torch.zeros_like(self._resets)

    def _to(self, device: torch.device) -> None:
        self._angle, self._speed = self._angle.to(device), self._speed.to(device)
        self._keys, self._resets = self._keys.to(device), self._resets.to(device)

    @property
    def has_exact_state(self) -> bool:
        """True."""
        return True

    def get_state(self) -> dict[str, Any]:
        """`angle` and `speed`, float32 `[*B]`; `keys` and `resets` of the random streams, int64 `[*B]`."""
        state = {"angle": self._angle, "speed": self._speed, "keys": self._keys, "resets": self._resets}
        return {name: value.detach().clone() for name, value in state.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, from any device; entries left out stay as they are.

        Raises:
            KeyError: an entry of another name.
            ShapeError: an entry of another batch.
        """
        unknown = sorted(set(state) - {"angle", "speed", "keys", "resets"})
        if unknown:
            expected = "angle, speed, keys, resets"
            raise KeyError(message("PendulumEnv.set_state", "unknown entries", expected=expected, found=unknown))
        for name, value in state.items():
            if value.shape != self._batch_size:
                problem, sizes = f'"{name}" of another batch', (tuple(self._batch_size), tuple(value.shape))
                raise ShapeError(message("PendulumEnv.set_state", problem, expected=sizes[0], found=sizes[1]))
        values = {name: value.to(self._keys.device, copy=True) for name, value in state.items()}
        self.drive(None)
        self._angle = values.get("angle", self._angle)
        self._speed = values.get("speed", self._speed)
        self._keys = values.get("keys", self._keys)
        self._resets = values.get("resets", self._resets)


def swing(
    angle: Tensor,
    speed: Tensor,
    torque: Tensor,
    *,
    pull: float | Tensor,
    push: float | Tensor,
    time_step: float | Tensor,
    max_speed: float | Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of the equations of `PendulumEnv`.

    Args:
        angle: `[*B]`, rad.
        speed: `[*B]`, rad/s.
        torque: `[*B]`, N m, within its limits.
        pull: `3 g dt / (2 l)`.
        push: `3 dt / (m l^2)`.
        time_step: s.
        max_speed: rad/s.
    Returns:
        Next angle and speed, and the cost of the state that was left, each `[*B]`.
    """
    cost = angle**2 + 0.1 * speed**2 + 0.001 * torque**2
    faster = speed + pull * angle.sin() + push * torque
    after = faster.clamp(-max_speed, max_speed)  # type: ignore[arg-type]  # both or none are tensors
    return _wrapped(angle + after * time_step), after, cost


def _wrapped(angle: Tensor) -> Tensor:
    """`angle` in [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2.0 * math.pi) - math.pi
