"""The swing-up pendulum with its state and its constants in the data."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from tensordict import TensorDict

from rl_envs._env_base import EnvBase
from rl_envs._flat import unpack_flat
from rl_envs.pendulum import swing
from rl_specs import Bounded, Composite, FlatDict, NestedKey, TensorMap, TensorSpec, Unbounded

_DEFAULTS = {"max_speed": 8.0, "max_torque": 2.0, "dt": 0.05, "g": 10.0, "m": 1.0, "l": 1.0}


@final
class StatelessPendulumEnv(EnvBase):
    """`PendulumEnv` without memory: every pendulum of a batch of any size may have constants of its own.

    Entries: `"th"` and `"thdot"` float32 `[*B]`, angle in rad within [-pi, pi) (0 is upright) and speed in rad/s;
    `("params", name)` float32 `[*B]`, the constants of `gen_params`; `"action"` float32 `[*B, 1]`, torque in N m. A
    step reads them all, and is differentiable in them. `reset(gen_params(batch_size))` says how many pendulums there
    are; an episode starts as that of a `PendulumEnv`. There is no time limit.

    Args:
        seed: of the first states; None: a random one.
        device: device of the tensors; None: the CPU.
        batch_size: batch shape of the specs, and of the pendulums where `reset` is given no TensorDict.
    """

    accepts_mapping = True
    batch_locked = False

    def __init__(
        self,
        *,
        seed: int | None = None,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] = (),
    ) -> None:
        super().__init__(device=device, batch_size=batch_size)
        batch, place = self._batch_size, self._device or torch.device("cpu")

        def bounded(limit: float, *sizes: int) -> Bounded:
            return Bounded(-limit, limit, shape=torch.Size((*batch, *sizes)), dtype=torch.float32, device=place)

        constant = Unbounded(shape=batch, dtype=torch.float32, device=place)
        entries: dict[NestedKey, TensorSpec] = {"th": bounded(math.pi), "thdot": bounded(_DEFAULTS["max_speed"])}
        entries |= {("params", name): constant for name in _DEFAULTS}
        self.observation_spec = Composite(entries, shape=batch, device=self._device)
        self.state_spec = Composite(entries, shape=batch, device=self._device)
        self.action_spec = bounded(_DEFAULTS["max_torque"], 1)
        self.reward_spec = Unbounded(shape=torch.Size((*batch, 1)), dtype=torch.float32, device=place)
        self._generator = torch.Generator(place)
        self._seed_generator(seed)

    @staticmethod
    def gen_params(g: float = 10.0, batch_size: Sequence[int] | None = None) -> TensorDict:
        """The default constants.

        Args:
            g: gravity in m/s^2.
            batch_size: number of pendulums; None: one, without batch dimensions.
        Returns:
            TensorDict `[*batch_size]` with `"params"`: `max_speed` in rad/s, `max_torque` in N m, `dt` in s, `g`, the
            mass `m` in kg and the length `l` in m. Each pendulum's can be changed.
        """
        size = torch.Size(() if batch_size is None else batch_size)
        values = {name: torch.full(size, value) for name, value in (_DEFAULTS | {"g": g}).items()}
        return TensorDict({"params": TensorDict(values, batch_size=size)}, batch_size=size)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        given = {} if data is None else unpack_flat(data)
        size, device = self._batch_size, self._generator.device
        params: FlatDict = {}
        for name, value in _DEFAULTS.items():
            key: NestedKey = ("params", name)
            params[key] = given[key] if key in given else torch.full(size, value, device=device)
        noise = torch.rand((2, *size), generator=self._generator, device=device) * 2.0 - 1.0
        return {"th": noise[0] * math.pi, "thdot": noise[1].clone(), **params}

    def _step(self, data: TensorMap) -> FlatDict:
        params = {name: data["params", name] for name in _DEFAULTS}
        limit = params["max_torque"]
        torque = data["action"].squeeze(-1).clamp(-limit, limit)
        gain = 3.0 / (params["m"] * params["l"] ** 2)
        pull = 3.0 * params["g"] / (2.0 * params["l"])
        angle, speed, cost = swing(
            data["th"],
            data["thdot"],
            torque,
            pull=pull * params["dt"],
            push=gain * params["dt"],
            time_step=params["dt"],
            max_speed=params["max_speed"],
        )
        done = torch.zeros((*cost.shape, 1), dtype=torch.bool, device=cost.device)
        kept: FlatDict = {("params", name): value for name, value in params.items()}
        return {"th": angle, "thdot": speed, **kept, "reward": -cost.unsqueeze(-1), "done": done}

    def _set_seed(self, seed: int) -> None:
        self._seed_generator(seed)

    def _seed_generator(self, seed: int | None) -> None:
        if seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(seed)

    def _to(self, device: torch.device) -> None:
        if device != self._generator.device:
            seed = self._generator.initial_seed()
            self._generator = torch.Generator(device).manual_seed(seed)

    @property
    def has_exact_state(self) -> bool:
        """True: the pendulums are in the data, and the generator of first states can be read out."""
        return True

    def get_state(self) -> dict[str, Any]:
        """State of the generator of first states, uint8."""
        return {"generator": self._generator.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, on the same kind of device."""
        self.drive(None)
        self._generator.set_state(state["generator"].cpu())
