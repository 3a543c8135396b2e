"""The names of the entries of an environment."""

from rl_envs._full_specs import FullSpecs
from rl_envs._reset_masks import reset_keys
from rl_specs import Composite, NestedKey


class SpecKeys(FullSpecs):
    """Names of entries by kind, nested ones included, in the order of the specs."""

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
