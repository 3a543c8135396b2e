"""Actions of which some are not allowed at times."""

from typing import ClassVar, final

from tensordict import TensorDictBase

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import no_forward
from rl_envs.transforms._wiring import absent_keys, leaf_keys
from rl_envs.transforms.transform import ActionMaskPairs, Transform
from rl_specs import NestedKey, TensorMap, canonical_key


@final
class ActionMask(Transform):
    """Declares that an entry says which categories of an action are allowed.

    After each reset and step the mask of the action spec is the one in the data, so that `env.action_spec.rand`,
    `is_in` and `project` follow it. `rand_action`, random rollouts and the random steps of collectors draw from the
    mask in the very data that they are given, also where this transform is in an environment of a `SerialEnv` or
    `ParallelEnv`, each row with its own mask; `step` refuses an action that its input rules out. A place at which
    nothing is allowed, as after the end of a game, counts as one that allows everything. Policies read the entry as any
    other, e.g. as the `mask` of a masked distribution.

    Args:
        action_key: the action, of a discrete spec.
        mask_key: the mask, bool: `[*B, n]`, all categories in a row where the action has several variables. The action
            may be an index `[*B]` or `[*B, 1]`, or one-hot.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self, action_key: NestedKey = "action", mask_key: NestedKey = "action_mask") -> None:
        super().__init__()
        self.action_key = canonical_key(action_key)
        self.mask_key = canonical_key(mask_key)

    def _bind(self, specs: EnvSpecs) -> list[str]:
        observed = [*leaf_keys(specs.observation), *leaf_keys(specs.state)]
        problems = absent_keys([self.action_key], leaf_keys(specs.action), "action_key", "the environment reads")
        return problems + absent_keys([self.mask_key], observed, "mask_key", "the environment writes")

    def transform_action_masks(self, action_masks: ActionMaskPairs) -> ActionMaskPairs:
        """Adds the pair of this transform."""
        others = tuple(pair for pair in action_masks if pair[0] != self.action_key)
        return (*others, (self.action_key, self.mask_key))

    def _reads(self) -> list[NestedKey]:
        return [self.mask_key]

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: there is no action spec to follow the mask."""
        raise no_forward("ActionMask")

    def __repr__(self) -> str:
        return f"ActionMask(action_key={self.action_key!r}, mask_key={self.mask_key!r})"
