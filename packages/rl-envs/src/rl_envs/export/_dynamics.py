"""An environment as Gymnasium sees it: entries in numpy, one reward, two flags and an info."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from rl_envs._env_base import EnvBase
from rl_envs._env_plan import EnvPlan, flag_groups, outermost
from rl_envs.export._ports import (
    action_ports,
    check_single_reward,
    chosen_reward,
    inside,
    joint_space,
    nested,
    observation_ports,
    outside,
)
from rl_specs import FlatDict, NestedKey, SpecError, canonical_key, message


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of `to_gymnasium`, which says what they mean."""

    reward_key: NestedKey | None = None
    info_keys: Sequence[NestedKey] = ()
    sum_rewards: bool = False
    render_mode: str | None = None


class Dynamics:
    """Runs an environment for an export; the numbers of a step are those of `env.step`.

    Args:
        env: the environment.
        options: which entries stand for what.
    """

    def __init__(self, env: EnvBase, options: ExportOptions) -> None:
        dims = len(env.batch_size)
        if env._env_specs().rows:
            problem, fix = "the environments differ, and a VectorEnv has one space for all", "Export each of them"
            raise SpecError(message("to_gymnasium_vector", problem, fix=fix))
        self.env = env
        self.plan = EnvPlan(env)
        self.dims = dims
        self._observations, self._infos = observation_ports(env.full_observation_spec, dims, options.info_keys)
        self._actions = action_ports(env.full_action_spec, dims)
        self.observation_space = joint_space(self._observations)
        self.action_space = joint_space(self._actions)
        rewards = [canonical_key(key) for key in env.reward_keys]
        self._reward = chosen_reward(rewards, options.reward_key)
        if not options.sum_rewards:
            check_single_reward(self._reward, env.full_reward_spec[self._reward], dims)
        self._other_rewards = [key for key in rewards if key != self._reward]
        groups = outermost(flag_groups([canonical_key(key) for key in env.done_keys]))
        self._terminated = [terminated for _, terminated, _ in groups]
        self._truncated = [truncated for _, _, truncated in groups]

    def start(self, seed: int | None) -> FlatDict:
        """Root entries after a reset of everything."""
        if seed is not None:
            self.env.set_seed(seed)
        return self.plan.reset()

    def act(self, root: FlatDict, action: Any) -> FlatDict:
        """Write an action of the space into `root` and return what the step returns.

        Raises:
            ValueError: the action has another form than those of the space.
        """
        try:
            root.update(inside(self._actions, action))
        except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            problem, fix = "step: no action of the action space", "Pass what action_space.sample() is like"
            found = f"{action!r} ({str(error).splitlines()[0]})"
            raise ValueError(
                message("to_gymnasium", problem, expected=self.action_space, found=found, fix=fix)
            ) from error
        return self.plan.step(root)

    def observation(self, entries: FlatDict) -> Any:
        """The observation as a value of the space (of a batch of them)."""
        return outside(self._observations, entries)

    def info(self, entries: FlatDict) -> dict[str, Any]:
        """The entries that go into the info."""
        values = {port.key: port.convert(entries[port.key]) for port in self._infos}
        for key in self._other_rewards:
            if key in entries:
                members = entries[key].detach().flatten(self.dims).squeeze(-1)
                values[key] = np.array(members.cpu().numpy())
        return nested(values)

    def reward(self, following: FlatDict) -> np.ndarray[Any, Any]:
        """The reward, float64 `[*B]`, summed over its members."""
        return following[self._reward].detach().flatten(self.dims).sum(-1).double().cpu().numpy()

    def flags(self, following: FlatDict) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Whether an episode is terminated, and truncated: any of the outermost flags, bool `[*B]`."""
        return self._any(following, self._terminated), self._any(following, self._truncated)

    def _any(self, following: FlatDict, keys: list[NestedKey]) -> np.ndarray[Any, Any]:
        found: list[Tensor] = [following[key].flatten(self.dims).any(-1) for key in keys]
        result = found[0]
        for flag in found[1:]:
            result = result | flag
        return np.array(result.cpu().numpy())
