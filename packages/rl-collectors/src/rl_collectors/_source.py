"""Where a collector's batches come from: this process, or a worker that may be ahead of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from tensordict import TensorDict

from rl_collectors._devices import Devices
from rl_collectors._wiring import check_env, check_source
from rl_envs import EnvBase, ExplorationType, StepCounter, TransformedEnv
from rl_specs import message

EnvSource: TypeAlias = EnvBase | Callable[..., EnvBase]
Policy: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Request:
    """How a batch is to be collected.

    Args:
        policy_version: number of weight updates before it.
        is_random: draw the actions from the action spec.
        exploration_type: how the policy acts.
        starts_anew: begin with a reset of everything.
    """

    policy_version: int
    is_random: bool
    exploration_type: ExplorationType
    starts_anew: bool


class BatchSource(Protocol):
    """Collects batches `[*B, T]` in the order in which they are asked for."""

    @property
    def env(self) -> EnvBase:
        """The environment, where it is in this process."""

    @property
    def pending(self) -> int:
        """Number of batches asked for and not received."""

    def request(self, request: Request) -> None:
        """Ask for a batch, made with the policy's weights of this moment or later."""

    def receive(self) -> TensorDict:
        """The oldest batch asked for, the caller's own."""

    def set_seed(self, seed: int, static_seed: bool) -> int:
        """Seed the environments, after the batches that have been asked for; returns a seed for the next collector."""

    def reset(self) -> None:
        """Drop the batches asked for, and start the next one with a reset."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next batch depends on, apart from the policy's weights and this process's random state."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""

    def close(self, close_env: bool) -> None:
        """Collect no more."""


@dataclass(frozen=True)
class Setup:
    """What collection is made from.

    Args:
        component: who collects, for messages.
        create_env_fn: an environment, or a callable that makes one.
        create_env_kwargs: its keyword arguments.
        max_frames_per_traj: see `Collector`.
        frames_per_batch: over all environments.
        devices: of environment, policy and batches.
        compile_options: arguments of `torch.compile` for the steps; None does not compile them.
    """

    component: str
    create_env_fn: EnvSource
    create_env_kwargs: Mapping[str, Any] | None
    max_frames_per_traj: int | None
    frames_per_batch: int
    devices: Devices
    compile_options: dict[str, Any] | None

    def make_env(self) -> EnvBase:
        """The environment, on its device and with its limit."""
        source, kwargs = self.create_env_fn, self.create_env_kwargs
        if isinstance(source, EnvBase):
            if kwargs:
                problem, expected = (
                    "create_env_kwargs given together with an environment",
                    "a callable as create_env_fn",
                )
                fix, found = "Pass the callable that makes the environment", type(source).__name__
                raise TypeError(message(self.component, problem, expected=expected, found=found, fix=fix))
            env = source
        else:
            check_source(self.component, source)
            env = source(**(kwargs or {}))
        check_env(self.component, env)
        device = self.devices.env
        if device is not None and env.device != device:
            env = env.to(device)
        if self.max_frames_per_traj is not None and self.max_frames_per_traj > 0:
            limit = StepCounter(max_steps=self.max_frames_per_traj, step_count_key=("collector", "step_count"))
            env = TransformedEnv(env, limit)
        return env
