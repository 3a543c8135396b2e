"""The specs of one row of an environment."""

from typing import cast

from rl_envs._env_specs import leaf_view, unbatched_view
from rl_envs._full_specs import FullSpecs
from rl_specs import Composite, TensorSpec


class UnbatchedSpecs(FullSpecs):
    """The specs without the batch dimensions of the environment, as views that are not set."""

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

    def _row(self, spec: Composite) -> Composite:
        return cast(Composite, unbatched_view(spec, len(self.batch_size)))
