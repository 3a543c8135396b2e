"""The specs of an environment, each kind of entry as a Composite."""

from abc import ABC, abstractmethod

import torch

from rl_envs._env_specs import EnvSpecs, complete_done_spec, full_spec
from rl_specs import Composite, TensorSpec


class FullSpecs(ABC):
    """The specs of an environment, from one method that says what they are: every one a Composite, batch included.

    To set one is to replace a field of `EnvSpecs`; a leaf is taken as the only entry of its kind.
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
    def full_observation_spec(self) -> Composite:
        """Spec of the observation entries; shapes start with `batch_size`."""
        return self._env_specs().observation

    @full_observation_spec.setter
    def full_observation_spec(self, spec: TensorSpec) -> None:
        self._replace_spec(observation=full_spec(spec, "observation", self.batch_size))

    @property
    def full_action_spec(self) -> Composite:
        """Spec of the action entries; shapes start with `batch_size`."""
        return self._env_specs().action

    @full_action_spec.setter
    def full_action_spec(self, spec: TensorSpec) -> None:
        self._replace_spec(action=full_spec(spec, "action", self.batch_size))

    @property
    def full_reward_spec(self) -> Composite:
        """Spec of the reward entries; shapes start with `batch_size`."""
        return self._env_specs().reward

    @full_reward_spec.setter
    def full_reward_spec(self, spec: TensorSpec) -> None:
        self._replace_spec(reward=full_spec(spec, "reward", self.batch_size))

    @property
    def full_done_spec(self) -> Composite:
        """Spec of the flags; shapes start with `batch_size`."""
        return self._env_specs().done

    @full_done_spec.setter
    def full_done_spec(self, spec: TensorSpec) -> None:
        self._replace_spec(done=complete_done_spec(spec, self.batch_size, self.device))

    @property
    def full_state_spec(self) -> Composite:
        """Spec of the entries other than actions that a step reads; shapes start with `batch_size`."""
        return self._env_specs().state

    @full_state_spec.setter
    def full_state_spec(self, spec: TensorSpec) -> None:
        self._replace_spec(state=full_spec(spec, "state", self.batch_size))

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
