"""The spec accessors of an environment: every one a view of `EnvSpecs`, or a replacement of one of its fields."""

from abc import ABC, abstractmethod
from typing import cast

import torch

from rl_envs._env_specs import EnvSpecs, complete_done_spec, full_spec, leaf_view, unbatched_view
from rl_envs._reset_masks import reset_keys
from rl_specs import Composite, NestedKey, TensorSpec


class SpecViews(ABC):
    """The specs of an environment, from one method that says what they are.

    `x_spec` is the leaf when there is one entry, else the Composite (`observation_spec` is always the Composite);
    `full_x_spec` is always the Composite; `*_unbatched` leaves out the batch dimensions of the env.
    """

    @property
    @abstractmethod
    def batch_size(self) -> torch.Size:
        """Batch shape of the env."""

    @abstractmethod
    def _env_specs(self) -> EnvSpecs:
        """Specs of the env, read by every accessor; a wrapper overrides this alone."""

    @property
    @abstractmethod
    def device(self) -> torch.device | None:
        """Device of the env."""

    @abstractmethod
    def _replace_spec(self, **changed: Composite) -> None:
        """Replace fields of `EnvSpecs`, by name."""

    @property
    def observation_spec(self) -> Composite:
        """Spec of what a reset and a step return, one entry per observation."""
        return self._env_specs().observation

    @observation_spec.setter
    def observation_spec(self, spec: TensorSpec) -> None:
        self._replace_spec(observation=full_spec(spec, "observation", self.batch_size))

    @property
    def action_spec(self) -> TensorSpec:
        """Spec of the action: the leaf when there is one entry, else the Composite."""
        return leaf_view(self._env_specs().action)

    @action_spec.setter
    def action_spec(self, spec: TensorSpec) -> None:
        self._replace_spec(action=full_spec(spec, "action", self.batch_size))

    @property
    def reward_spec(self) -> TensorSpec:
        """Spec of the reward: the leaf when there is one entry, else the Composite."""
        return leaf_view(self._env_specs().reward)

    @reward_spec.setter
    def reward_spec(self, spec: TensorSpec) -> None:
        self._replace_spec(reward=full_spec(spec, "reward", self.batch_size))

    @property
    def done_spec(self) -> TensorSpec:
        """Spec of the flags `done`, `terminated` and `truncated`."""
        return leaf_view(self._env_specs().done)

    @done_spec.setter
    def done_spec(self, spec: TensorSpec) -> None:
        self._replace_spec(done=complete_done_spec(spec, self.batch_size, self.device))

    @property
    def state_spec(self) -> Composite:
        """Spec of the entries other than actions that a step reads."""
        return self._env_specs().state

    @state_spec.setter
    def state_spec(self, spec: TensorSpec) -> None:
        self._replace_spec(state=full_spec(spec, "state", self.batch_size))

    def _row(self, spec: Composite) -> Composite:
        return cast(Composite, unbatched_view(spec, len(self.batch_size)))

    @property
    def full_observation_spec(self) -> Composite:
        """Spec of the observation entries; shapes start with `batch_size`."""
        return self._env_specs().observation

    @full_observation_spec.setter
    def full_observation_spec(self, spec: Composite) -> None:
        self.observation_spec = spec

    @property
    def full_action_spec(self) -> Composite:
        """Spec of the action entries; shapes start with `batch_size`."""
        return self._env_specs().action

    @full_action_spec.setter
    def full_action_spec(self, spec: Composite) -> None:
        self.action_spec = spec

    @property
    def full_reward_spec(self) -> Composite:
        """Spec of the reward entries; shapes start with `batch_size`."""
        return self._env_specs().reward

    @full_reward_spec.setter
    def full_reward_spec(self, spec: Composite) -> None:
        self.reward_spec = spec

    @property
    def full_done_spec(self) -> Composite:
        """Spec of the flags; shapes start with `batch_size`."""
        return self._env_specs().done

    @full_done_spec.setter
    def full_done_spec(self, spec: Composite) -> None:
        self.done_spec = spec

    @property
    def full_state_spec(self) -> Composite:
        """Spec of the entries other than actions that a step reads; shapes start with `batch_size`."""
        return self._env_specs().state

    @full_state_spec.setter
    def full_state_spec(self, spec: Composite) -> None:
        self.state_spec = spec

    @property
    def input_spec(self) -> Composite:
        """What a step reads: `full_action_spec` and `full_state_spec`."""
        return self._env_specs().input_spec()

    @property
    def output_spec(self) -> Composite:
        """What a step returns: `full_observation_spec`, `full_reward_spec` and `full_done_spec`."""
        return self._env_specs().output_spec()

    @property
    def specs(self) -> Composite:
        """All of them: `input_spec` and `output_spec`."""
        specs = self._env_specs()
        return Composite({"output_spec": specs.output_spec(), "input_spec": specs.input_spec()}, shape=self.batch_size)

    @property
    def has_dynamic_specs(self) -> bool:
        """Whether a spec leaves a size open (-1 in its shape), so that steps may differ in size."""
        specs = self._env_specs()
        return any(spec.is_dynamic for spec in (specs.observation, specs.action, specs.reward, specs.done, specs.state))

    @property
    def full_observation_spec_unbatched(self) -> Composite:
        """`full_observation_spec` of one row."""
        return self._row(self.full_observation_spec)

    @property
    def full_action_spec_unbatched(self) -> Composite:
        """`full_action_spec` of one row."""
        return self._row(self.full_action_spec)

    @property
    def full_reward_spec_unbatched(self) -> Composite:
        """`full_reward_spec` of one row."""
        return self._row(self.full_reward_spec)

    @property
    def full_done_spec_unbatched(self) -> Composite:
        """`full_done_spec` of one row."""
        return self._row(self.full_done_spec)

    @property
    def full_state_spec_unbatched(self) -> Composite:
        """`full_state_spec` of one row."""
        return self._row(self.full_state_spec)

    @property
    def observation_spec_unbatched(self) -> Composite:
        """`observation_spec` of one row."""
        return self.full_observation_spec_unbatched

    @property
    def action_spec_unbatched(self) -> TensorSpec:
        """`action_spec` of one row: the leaf when there is one action."""
        return leaf_view(self.full_action_spec_unbatched)

    @property
    def reward_spec_unbatched(self) -> TensorSpec:
        """`reward_spec` of one row: the leaf when there is one reward."""
        return leaf_view(self.full_reward_spec_unbatched)

    @property
    def done_spec_unbatched(self) -> TensorSpec:
        """`done_spec` of one row."""
        return leaf_view(self.full_done_spec_unbatched)

    @property
    def state_spec_unbatched(self) -> Composite:
        """`state_spec` of one row."""
        return self.full_state_spec_unbatched

    @property
    def input_spec_unbatched(self) -> Composite:
        """`input_spec` of one row."""
        return self._row(self.input_spec)

    @property
    def output_spec_unbatched(self) -> Composite:
        """`output_spec` of one row."""
        return self._row(self.output_spec)

    @property
    def observation_keys(self) -> list[NestedKey]:
        """Names of the observation entries."""
        return _keys(self.full_observation_spec)

    @property
    def action_keys(self) -> list[NestedKey]:
        """Names of the action entries."""
        return _keys(self.full_action_spec)

    @property
    def reward_keys(self) -> list[NestedKey]:
        """Names of the reward entries."""
        return _keys(self.full_reward_spec)

    @property
    def done_keys(self) -> list[NestedKey]:
        """Names of the flags."""
        return _keys(self.full_done_spec)

    @property
    def reset_keys(self) -> list[NestedKey]:
        """Names of the masks that `reset` takes, one per group of flags: `"_reset"`, `("agents", "_reset")`, ...."""
        return reset_keys(self.done_keys)

    @property
    def state_keys(self) -> list[NestedKey]:
        """Names of the entries other than actions that a step reads."""
        return _keys(self.full_state_spec)

    @property
    def action_key(self) -> NestedKey:
        """Name of the only action entry."""
        return _only(self.action_keys, "action")

    @property
    def reward_key(self) -> NestedKey:
        """Name of the only reward entry."""
        return _only(self.reward_keys, "reward")

    @property
    def done_key(self) -> NestedKey:
        """Name of the only `done` flag."""
        flags = [key for key in self.done_keys if (key if isinstance(key, str) else key[-1]) == "done"]
        return _only(flags, "done")


def _keys(spec: Composite) -> list[NestedKey]:
    return [key for key, _ in spec.flat_items()]


def _only(keys: list[NestedKey], kind: str) -> NestedKey:
    if len(keys) != 1:
        raise KeyError(f"{kind}_key: the environment has {len(keys)} {kind} entries, {keys}. Use {kind}_keys.")
    return keys[0]
