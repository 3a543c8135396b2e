"""A Gymnasium env, or a `VectorEnv`, as an `EnvBase`."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY
from rl_envs._env_specs import full_spec
from rl_envs._errors import StateNotSupportedError
from rl_envs._many_envs import check_state_parts
from rl_envs._seeding import stream_seed
from rl_envs.gym._backend import Backend, Options
from rl_envs.gym._loop import LoopBackend
from rl_envs.gym._request import EnvRequest
from rl_envs.gym._single import SingleBackend
from rl_envs.gym._vector import VectorBackend
from rl_envs.gym.spaces import spec_from_space
from rl_specs import Bounded, Composite, FlatDict, TensorMap, TensorSpec, Unbounded, message


class GymWrapper(EnvBase):
    """A Gymnasium env that takes and gives tensors.

    Observations are under `"observation"`, or under their own names when the space is a `Dict`; frames under
    `"pixels"`. They keep the dtype of the env. The reward is float32 `[*B, 1]`. The end of an episode by a time limit
    is `truncated`. Actions are handed on in the env's dtype and clipped to its bounds.

    Args:
        env: a `gymnasium.Env`, a list of such with the same spaces, or a `gymnasium.vector.VectorEnv` in any of the
            three autoreset modes.
        device: device of the tensors; the env itself runs on the CPU.
        frame_skip: env steps per action; their rewards are added up, and skipping stops at the end of an episode.
        from_pixels: add the rendered frame, uint8 `[*B, H, W, 3]`, under `"pixels"`; the env needs
            `render_mode="rgb_array"`.
        pixels_only: with `from_pixels`, leave the other observations out.
        categorical_action_encoding: discrete spaces as indices rather than one-hot.
    Raises:
        TypeError: `env` is none of these.
        ValueError: `frame_skip` below 1; an autoreset mode that is not known; options that a `VectorEnv` does not take.
        SpecError: a space of a kind that has no spec.
    """

    accepts_mapping = True

    def __init__(
        self,
        env: Any,
        *,
        device: torch.device | str | int | None = None,
        frame_skip: int = 1,
        from_pixels: bool = False,
        pixels_only: bool = True,
        categorical_action_encoding: bool = False,
    ) -> None:
        if frame_skip < 1:
            raise ValueError(message(self._name, "frame_skip too small", expected=">= 1", found=frame_skip))
        options = Options(
            frame_skip=frame_skip,
            from_pixels=from_pixels,
            pixels_only=pixels_only,
            categorical=categorical_action_encoding,
        )
        self._backend = _backend(env, options)
        super().__init__(device=device, batch_size=self._backend.batch_size)
        self._moves = self._device is not None and self._device.type != "cpu"
        self._set_specs(options)

    def _set_specs(self, options: Options) -> None:
        batch, device, backend = self._batch_size, self._device, self._backend

        def spec_of(space: Any) -> TensorSpec:
            return spec_from_space(space, batch_size=batch, device=device, categorical=options.categorical)

        observation = full_spec(spec_of(backend.observation_space), "observation", batch)
        if options.from_pixels:
            backend.reset(None)
            shape = backend.frame().shape
            pixels = Bounded(0, 255, shape=shape, dtype=torch.uint8, device=device)
            observation = full_spec(pixels, "pixels", batch) if options.pixels_only else observation.clone()
            observation["pixels"] = pixels
        self.observation_spec = observation
        self.action_spec = Composite({"action": spec_of(backend.action_space)}, shape=batch, device=device)
        self.reward_spec = Unbounded(shape=torch.Size((*batch, 1)), device=device, dtype=torch.float32)

    @property
    def unwrapped_envs(self) -> list[Any]:
        """The Gymnasium env of each row; empty where they live in a `VectorEnv`, in other processes or in EnvPool."""
        return self._backend.envs()

    def _reset(self, data: TensorMap | None) -> FlatDict:
        mask: Tensor | None = None if data is None else data.get(RESET_KEY, None)
        if mask is None:
            return self._moved(self._backend.reset(None))
        rows = mask.cpu().numpy().reshape(-1)
        if not rows.any():
            return {key: spec.zero() for key, spec in self.full_observation_spec.flat_items()}
        return self._moved(self._backend.reset(rows))

    def _step(self, data: TensorMap) -> FlatDict:
        entries = self._backend.step(data)
        return self._moved(entries) if self._moves else entries

    def _moved(self, entries: FlatDict) -> FlatDict:
        if not self._moves:
            return entries
        return {key: value.to(self._device) for key, value in entries.items()}

    def _to(self, device: torch.device) -> None:
        self._moves = device.type != "cpu"

    def _set_seed(self, seed: int) -> None:
        self._set_stream(seed, 0)

    def _set_stream(self, seed: int, first_index: int) -> None:
        rows = self._batch_size.numel()
        self._backend.seed([stream_seed(seed, first_index + row) for row in range(rows)])

    def _close(self) -> None:
        self._backend.close()

    def _repr_fields(self) -> dict[str, object]:
        return {"env": self._backend.env_id()}

    @property
    def has_exact_state(self) -> bool:
        """Whether the simulator can be read out: MuJoCo, and envs whose state is plain values."""
        return self._backend.missing_state() is None

    def get_state(self) -> dict[str, Any]:
        """Simulators, wrappers and random generators, as tensors and plain values.

        Raises:
            StateNotSupportedError: an env holds something that cannot be read out; the message says what.
        """
        self._check_state()
        return {"envs": self._backend.states(), "pending": self._backend.pending_seeds()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` of an env made the same way returned.

        Raises:
            StateNotSupportedError: see `get_state`.
            ValueError: the state is of another number of envs, or of other envs.
        """
        self._check_state()
        self._backend.set_states(check_state_parts(f"{self._name}.set_state", state, self._batch_size.numel()))
        self._backend.seed(state["pending"])

    def _check_state(self) -> None:
        part = self._backend.missing_state()
        if part is not None:
            raise StateNotSupportedError(
                message(
                    self._name, f"has no exact state: {part} cannot be read out", fix="Resume at an episode boundary"
                )
            )


def _backend(env: Any, options: Options) -> Backend:
    from gymnasium import Env
    from gymnasium.vector import VectorEnv

    if isinstance(env, EnvRequest):
        return env.start(options)
    if isinstance(env, VectorEnv):
        return VectorBackend(env, options)
    for each in env if isinstance(env, list) else [env]:
        if not isinstance(each, Env):
            raise TypeError(
                message(
                    "GymWrapper",
                    "env is no Gymnasium environment",
                    expected="a gymnasium.Env, a list of them, or a VectorEnv",
                    found=f"{type(each).__name__} {each!r}" if isinstance(each, str) else type(each).__name__,
                    fix='Pass gymnasium.make("CartPole-v1"), or use GymEnv("CartPole-v1") for a name',
                )
            )
    return LoopBackend(env, options) if isinstance(env, list) else SingleBackend(env, options)
