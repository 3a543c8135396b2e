"""Environments for policies over beliefs: Gaussians of states and actions."""

from typing import ClassVar, final

from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._wiring import absent_keys, leaf_keys
from rl_envs.transforms.transform import Transform
from rl_specs import Composite, LeafSpec, NestedKey, TensorMap, Unbounded, join_key, key_str


@final
class MeanActionSelector(Transform):
    """Gives observations as Gaussians of no width, and takes the mean of Gaussian actions.

    The observation `[*B, D]` becomes `(observation, "mean")` `[*B, D]` and `(observation, "var")` `[*B, D, D]`, a
    covariance of zeros. The environment gets `(action, "mean")` as its action; what else the policy writes under
    the action, such as `"var"`, stays outside.

    Args:
        observation_key: the observation.
        action_key: the action.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self, observation_key: NestedKey = "observation", action_key: NestedKey = "action") -> None:
        super().__init__([observation_key], in_keys_inv=[action_key], out_keys_inv=[join_key(action_key, "mean")])
        key = self.in_keys[0]
        self._mean_key, self._var_key = join_key(key, "mean"), join_key(key, "var")
        self._set_keys([key], [self._mean_key, self._var_key])

    @property
    def observation_key(self) -> NestedKey:
        """The observation."""
        return self.in_keys[0]

    @property
    def action_key(self) -> NestedKey:
        """The action."""
        return self.in_keys_inv[0]

    def _bind(self, specs: EnvSpecs) -> list[str]:
        key, observed = self.observation_key, dict(specs.observation.flat_items())
        problems = absent_keys([key], list(observed), "observation_key", "the environment writes")
        problems += absent_keys([self.action_key], leaf_keys(specs.action), "action_key", "the environment reads")
        if key in dict(specs.state.flat_items()):
            problems.append(f"observation_key: {key_str(key)} is a state that the environment reads back")
        leaf = observed.get(key)
        if leaf is None:
            return problems
        if not isinstance(leaf, LeafSpec) or not leaf.dtype.is_floating_point:
            problems.append(f"observation_key: {key_str(key)} is not floating-point, and has no Gaussian")
        elif len(leaf.shape) != len(specs.observation.shape) + 1:
            problems.append(f"observation_key: {key_str(key)} of shape {tuple(leaf.shape)} is no vector per row")
        return problems

    def _call(self, data: TensorMap) -> TensorMap:
        mean = data.get(self.observation_key, None)
        if not isinstance(mean, Tensor):
            raise self._missing(self.observation_key, data)
        _remove(data, self.observation_key)
        data[self._mean_key] = mean
        data[self._var_key] = mean.new_zeros((*mean.shape, mean.shape[-1]))
        return data

    def _inv_call(self, data: TensorMap) -> TensorMap:
        is_plain = isinstance(data.get(self.action_key, None), Tensor)  # an action in place of its Gaussian
        mean = None if is_plain else data.get(self.out_keys_inv[0], None)
        if mean is None:
            raise self._missing(self.out_keys_inv[0], data)
        _remove(data, self.action_key)
        data[self.action_key] = mean
        observed = data.get(self._mean_key, None)
        if observed is not None:  # for an environment that reads its own observation
            _remove(data, self.observation_key)
            data[self.observation_key] = observed
        return data

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Mean and covariance in place of the observation."""
        leaf = observation_spec.pop(self.observation_key)
        observation_spec[self._mean_key] = leaf
        shape = (*leaf.shape, leaf.shape[-1])
        observation_spec[self._var_key] = Unbounded(shape=shape, dtype=leaf.dtype, device=leaf.device)
        return observation_spec

    def transform_action_spec(self, action_spec: Composite) -> Composite:
        """The mean in place of the action."""
        leaf = action_spec.pop(self.action_key)
        action_spec[self.out_keys_inv[0]] = leaf
        return action_spec

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Unchanged."""
        return reward_spec

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """Unchanged."""
        return state_spec

    def __repr__(self) -> str:
        return f"MeanActionSelector(observation_key={self.observation_key!r}, action_key={self.action_key!r})"


def _remove(data: TensorMap, key: NestedKey) -> None:
    """Take an entry out, with all that lies under it."""
    if isinstance(data, TensorDictBase):
        data.exclude(key, inplace=True)
    elif isinstance(data, dict):
        path = (key,) if isinstance(key, str) else key
        for name in [name for name in data if name == key or (isinstance(name, tuple) and name[: len(path)] == path)]:
            del data[name]
