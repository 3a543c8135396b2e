"""The spec accessors of an environment: every one a view of `EnvSpecs`, or a replacement of one of its fields."""

from rl_envs._env_specs import leaf_view
from rl_envs._spec_keys import SpecKeys
from rl_envs._unbatched_specs import UnbatchedSpecs
from rl_specs import Composite, TensorSpec


class SpecViews(SpecKeys, UnbatchedSpecs):
    """The specs of an environment, from one method that says what they are.

    `x_spec` is the leaf when there is one entry, else the Composite (`observation_spec` is always the Composite);
    `full_x_spec` is always the Composite; `*_unbatched` leaves out the batch dimensions of the env.
    """

    @property
    def observation_spec(self) -> Composite:
        """Spec of what a reset and a step return, one entry per observation."""
        return self._env_specs().observation

    @observation_spec.setter
    def observation_spec(self, spec: TensorSpec) -> None:
        self.full_observation_spec = spec

    @property
    def action_spec(self) -> TensorSpec:
        """Spec of the action: the leaf when there is one entry, else the Composite."""
        return leaf_view(self._env_specs().action)

    @action_spec.setter
    def action_spec(self, spec: TensorSpec) -> None:
        self.full_action_spec = spec

    @property
    def reward_spec(self) -> TensorSpec:
        """Spec of the reward: the leaf when there is one entry, else the Composite."""
        return leaf_view(self._env_specs().reward)

    @reward_spec.setter
    def reward_spec(self, spec: TensorSpec) -> None:
        self.full_reward_spec = spec

    @property
    def done_spec(self) -> TensorSpec:
        """Spec of the flags `done`, `terminated` and `truncated`."""
        return leaf_view(self._env_specs().done)

    @done_spec.setter
    def done_spec(self, spec: TensorSpec) -> None:
        self.full_done_spec = spec

    @property
    def state_spec(self) -> Composite:
        """Spec of the entries other than actions that a step reads."""
        return self._env_specs().state

    @state_spec.setter
    def state_spec(self, spec: TensorSpec) -> None:
        self.full_state_spec = spec
