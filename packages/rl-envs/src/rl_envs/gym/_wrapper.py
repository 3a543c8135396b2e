"""A Gymnasium env, or a `VectorEnv`, as an `EnvBase`."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from rl_envs._closing import closed_on_error
from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY, STEP_KEY
from rl_envs._errors import StateNotSupportedError
from rl_envs._many_envs import check_state_parts
from rl_envs._seeding import stream_seed
from rl_envs.gym._adapted import AdaptedEnv
from rl_envs.gym._backend import Backend, Options
from rl_envs.gym._info_plan import InfoEntry, InfoPlan, mask_entry
from rl_envs.gym._limits import SpaceLimits
from rl_envs.gym._loop import LoopBackend
from rl_envs.gym._request import EnvRequest
from rl_envs.gym._single import SingleBackend
from rl_envs.gym._vector import VectorBackend
from rl_envs.gym.info import BaseInfoDictReader, default_info_dict_reader
from rl_envs.gym.spaces import SpaceSpecs
from rl_specs import (
    Bounded,
    Composite,
    FlatDict,
    NestedKey,
    SpecError,
    TensorMap,
    Unbounded,
    key_str,
    message,
    missing_key,
)

_OWN_NAMES = frozenset({"action", "reward", "done", "terminated", "truncated", "next", RESET_KEY, STEP_KEY})
"""Names at the root of a step that no observation may have."""


_LARGEST_SEED = 2**32 - 1
"""What `np.random.seed` and many simulators take."""


class GymWrapper(EnvBase):
    """A Gymnasium env that takes and gives tensors.

    Observations are under `"observation"`, or under their own names when the space is a `Dict` or `Tuple`; frames under
    `"pixels"`. They keep the dtype of the env. The reward is float32 `[*B, 1]`. The end of an episode by a time limit
    is `truncated`. Actions are handed on in the env's dtype and clipped to its bounds. `rl_envs.gym.spaces` tells the
    tensor form of every space.

    Args:
        env: a `gymnasium.Env`, a list of such with the same spaces, or a `gymnasium.vector.VectorEnv` in any of the
            three autoreset modes. `LegacyGymEnv` and `FuncEnvAdapter` make the like of a `gymnasium.Env` from objects
            of other protocols.
        device: device of the tensors; the env itself runs on the CPU.
        frame_skip: env steps per action; their rewards are added up, and skipping stops at the end of an episode.
        from_pixels: add the rendered frame, uint8 `[*B, H, W, 3]`, under `"pixels"`; the env needs
            `render_mode="rgb_array"`.
        pixels_only: with `from_pixels`, leave the other observations out.
        categorical_action_encoding: discrete spaces as indices rather than one-hot.
        action_mask: name in `info` of a mask over discrete actions, which becomes the entry `"action_mask"`, bool
            `[*B, n]`, True where an action is allowed; everything is where an `info` has none. None: no such entry.
        max_sequence_length: elements that a `Sequence` has at most; needed where a space has one.
        max_graph_nodes: nodes that a `Graph` has at most; likewise.
        max_graph_edges: edges that a `Graph` has at most; likewise.
    Raises:
        TypeError: `env` is none of these.
        ValueError: `frame_skip` below 1; an autoreset mode that is not known; options that a `VectorEnv` does not take.
        SpecError: a space of a kind that has no spec, or without a limit that it needs; a mask over other actions; a
            `Dict` observation with the name of another entry, such as `"reward"`.
        RuntimeError: `from_pixels`, and the env cannot render here.
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
        action_mask: NestedKey | None = None,
        max_sequence_length: int | None = None,
        max_graph_nodes: int | None = None,
        max_graph_edges: int | None = None,
    ) -> None:
        if frame_skip < 1:
            raise ValueError(message(self._name, "frame_skip too small", expected=">= 1", found=frame_skip))
        options = Options(
            frame_skip=frame_skip,
            from_pixels=from_pixels,
            pixels_only=pixels_only,
            categorical=categorical_action_encoding,
            limits=SpaceLimits(max_sequence_length, max_graph_nodes, max_graph_edges),
        )
        self._backend = _backend(env, options)
        self._infos = InfoPlan()
        with closed_on_error([self._backend] if isinstance(env, EnvRequest) else []):
            super().__init__(device=device, batch_size=self._backend.batch_size)
            self._moves = self._device is not None and self._device.type != "cpu"
            self._set_specs(options)
            if action_mask is not None:
                self._add_infos([mask_entry(action_mask, self._backend.action_space)], [])

    def _set_specs(self, options: Options) -> None:
        batch, device, backend = self._batch_size, self._device, self._backend
        specs = SpaceSpecs(device=device, categorical=options.categorical, limits=options.limits)
        observation = specs.of_observation(backend.observation_space, batch)
        self._check_names(observation)
        if options.from_pixels:
            backend.reset(None)
            shape = backend.frame().shape
            if options.pixels_only:
                observation = Composite({}, shape=batch, device=device)
            observation["pixels"] = Bounded(0, 255, shape=shape, dtype=torch.uint8, device=device)
        self.observation_spec = observation
        self.action_spec = Composite({"action": specs.of(backend.action_space, batch)}, shape=batch, device=device)
        self.reward_spec = Unbounded(shape=torch.Size((*batch, 1)), device=device, dtype=torch.float32)

    def _check_names(self, observation: Composite) -> None:
        clashes = [key_str(key) for key in observation.keys() if key in _OWN_NAMES]  # noqa: SIM118
        if clashes:
            problem = "observations with the name of another entry of a step"
            fix = (
                "Rename them inside: gymnasium.wrappers.TransformObservation(env, lambda obs: "
                '{"image": obs["image"], "last_action": obs["action"]}, Dict(image=..., last_action=...)), say'
            )
            expected = f"none of {', '.join(sorted(_OWN_NAMES))}"
            raise SpecError(message(self._name, problem, expected=expected, found=", ".join(clashes), fix=fix))

    @property
    def observation_space(self) -> Any:
        """The Gymnasium space of the observations of one env."""
        return self._backend.observation_space

    @property
    def action_space(self) -> Any:
        """The Gymnasium space of the actions of one env."""
        return self._backend.action_space

    @property
    def unwrapped_envs(self) -> list[Any]:
        """The Gymnasium env of each row; empty where they live in a `VectorEnv`, in other processes or in EnvPool."""
        return self._backend.envs()

    def render(self) -> Tensor:
        """The frames that the envs render now, uint8 `[*B, H, W, 3]`, on the CPU.

        Raises:
            RuntimeError: an env cannot render here; the message says what to do about it.
            ValueError: there are no frames in the env's `render_mode`, or over EnvPool.
        """
        self._check_open("render")
        return self._backend.frame()

    def set_info_dict_reader(
        self, info_dict_reader: BaseInfoDictReader | None = None, ignore_private: bool = True
    ) -> Self:
        """Take entries out of the `info` of every reset and step, as further observations.

        Where a reader does not say the specs of its entries, an env is reset and stepped once to learn them: the next
        thing to do is a reset, and seeds are to be set after this. Entries of several calls add up. Over a `VectorEnv`
        of mode `SAME_STEP` the last step of an episode has what `info["final_info"]` says, and zeros without that.

        Args:
            info_dict_reader: which entries; None: `default_info_dict_reader()`, all that have tensors
                and a name that no other entry has.
            ignore_private: leave out names that start with an underscore, where no reader is given; it has a say of
                its own.
        Returns:
            The env.
        Raises:
            TypeError: `info_dict_reader` is no reader.
            MissingKeyError: an entry without a spec is in neither `info`.
            SpecError: an entry has no tensor, or the name of another entry of the env.
        """
        self._check_open("set_info_dict_reader")
        reader = info_dict_reader or default_info_dict_reader(ignore_private=ignore_private)
        if isinstance(reader, default_info_dict_reader):
            self.drive(None)
            has_specs = reader.keys is not None and set(reader.keys) <= set(reader.info_spec)
            samples = [] if has_specs else self._backend.sample_infos()
            found = reader.found_in(samples)
            taken = self._entry_names() if reader.keys is None else set()
            self._add_infos([InfoEntry(key, key, spec) for key, spec in found.items() if key not in taken], [])
        elif isinstance(reader, BaseInfoDictReader):
            self._add_infos([], [reader])
        else:
            raise TypeError(
                message(
                    f"{self._name}.set_info_dict_reader",
                    "no reader",
                    expected="a BaseInfoDictReader",
                    found=type(reader).__name__,
                    fix='Pass default_info_dict_reader(["name"]), or a subclass of BaseInfoDictReader of your own',
                )
            )
        return self

    def auto_register_info_dict(
        self, ignore_private: bool = True, *, info_dict_reader: BaseInfoDictReader | None = None
    ) -> Self:
        """`set_info_dict_reader` with, by default, every entry that has tensors.

        Args:
            ignore_private: leave out names that start with an underscore, where no reader is given.
            info_dict_reader: which entries; None: all that have tensors.
        Returns:
            The env.
        """
        return self.set_info_dict_reader(info_dict_reader, ignore_private)

    def _add_infos(self, entries: list[InfoEntry], readers: list[BaseInfoDictReader]) -> None:
        plan = InfoPlan(entries, readers)
        batch, added = self._batch_size, plan.specs()
        taken = self._entry_names()
        for key in added:
            if key in taken:
                problem, fix = f"info {key_str(key)} has the name of another entry", "Leave it out of the reader's keys"
                raise SpecError(message(self._name, problem, fix=fix))
        whole = self._infos.extended(entries, readers)
        self._backend.set_infos(whole)
        self._infos = whole
        observation = self.full_observation_spec.clone()
        for key, spec in added.items():
            batched = spec.expand((*batch, *spec.shape)) if batch else spec
            observation[key] = batched if self._device is None else batched.to(self._device)
        self.observation_spec = observation

    def _entry_names(self) -> set[NestedKey]:
        """Names of all entries, and of what they are nested in."""
        specs = self._env_specs()
        return {key for part in (specs.observation, specs.reward, specs.done, specs.action) for key in part.keys(True)}

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
        self._backend.seed([_row_seed(seed, first_index + row) for row in range(rows)])

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
            MissingKeyError: a part of it is missing.
        """
        self._check_state()
        parts = check_state_parts(f"{self._name}.set_state", state, self._batch_size.numel())
        if "pending" not in state:
            fix = "Give what get_state of such an environment returned, whole"
            raise missing_key(f"{self._name}.set_state", "pending", state, fix=fix)
        self.drive(None)
        self._backend.set_states(parts)
        self._backend.seed(state["pending"])

    def _check_state(self) -> None:
        part = self._backend.missing_state()
        if part is not None:
            raise StateNotSupportedError(
                message(
                    self._name, f"has no exact state: {part} cannot be read out", fix="Resume at an episode boundary"
                )
            )


def _row_seed(seed: int, index: int) -> int:
    """Seed of a row: that of the first is `seed` itself, others have 32 bits, which every env takes."""
    return stream_seed(seed, index) & _LARGEST_SEED if index else seed


def _backend(env: Any, options: Options) -> Backend:
    from gymnasium import Env
    from gymnasium.vector import VectorEnv

    if isinstance(env, EnvRequest):
        return env.start(options)
    if isinstance(env, VectorEnv):
        return VectorBackend(env, options)
    for each in env if isinstance(env, list) else [env]:
        if not isinstance(each, Env | AdaptedEnv):
            raise TypeError(
                message(
                    "GymWrapper",
                    "env is no Gymnasium environment",
                    expected="a gymnasium.Env, a list of them, or a VectorEnv",
                    found=f"{type(each).__name__} {each!r}" if isinstance(each, str) else type(each).__name__,
                    fix='Pass gymnasium.make("CartPole-v1"), or use GymEnv("CartPole-v1") for a name; wrap an env of '
                    "Gym's older protocol in LegacyGymEnv, a functional one in FuncEnvAdapter",
                )
            )
    return LoopBackend(env, options) if isinstance(env, list) else SingleBackend(env, options)
