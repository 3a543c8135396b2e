"""Steps of another policy between those of the user's."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, final

from tensordict import TensorDictBase
from torch import nn

from rl_envs._env_plan import RESET_KEY
from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import pack_flat, unpack_flat
from rl_envs.transforms._carried import no_forward
from rl_envs.transforms._leaf_specs import summed_specs
from rl_envs.transforms._predicates import Predicate, RowPredicate
from rl_envs.transforms._row_steps import RowSteps
from rl_envs.transforms.transform import ResetCall, StepCall, Transform
from rl_specs import Composite, FlatDict, TensorMap

if TYPE_CHECKING:
    from rl_envs.transforms.transformed_env import TransformedEnv


@final
class ConditionalPolicySwitch(Transform):
    """Lets another policy act where a condition holds after a step or a reset, as an opponent does that moves in turn.

    After a step, the rows in which the condition holds and that are not done are stepped once more, with the actions of
    `policy`; the result takes the place of the first one, and its rewards are added. After a reset, the same, without
    rewards; a row that this ends at once stays done, and a flag of `InitTracker` stays up. The user's policy sees what
    transforms up to this one make of it, and so does `policy`: put this one last.

    Where rows differ, the environment has to step some of its rows alone, as a `SerialEnv` does (see
    `EnvBase.steps_rows`).

    Args:
        policy: from TensorDict to TensorDict, writes the actions.
        condition: from entries `[*B]`, those of `"next"` or of a reset, to a bool, or a tensor of them `[*B]` or
            `[*B, 1]`.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self, policy: Callable[[TensorDictBase], Any], condition: Predicate) -> None:
        super().__init__()
        self.policy = policy
        self.condition = condition

    def _bind(self, specs: EnvSpecs) -> list[str]:
        return []

    def _wrap(self, env: "TransformedEnv") -> tuple[StepCall, ResetCall]:
        switched = _Switched(self, env)
        return switched.step, switched.reset

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return reset_data

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Bounds of one reward, or of a sum of two."""
        return summed_specs(reward_spec, 2)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: there is no environment to step."""
        raise no_forward("ConditionalPolicySwitch")

    def __repr__(self) -> str:
        name = type(self.policy).__name__ if isinstance(self.policy, nn.Module) else self.policy
        return f"ConditionalPolicySwitch(policy={name}, condition={self.condition})"


@final
class _Switched:
    """Step and reset of an environment behind a `ConditionalPolicySwitch`."""

    def __init__(self, transform: ConditionalPolicySwitch, env: "TransformedEnv") -> None:
        self._rows = RowSteps("ConditionalPolicySwitch", env)
        self._reset = env._reset
        self._first_flags = env._env_specs().first_flags
        self._policy = transform.policy
        self._batch_size, self._device = env.batch_size, env.device
        self._holds = RowPredicate(
            "ConditionalPolicySwitch: condition", transform.condition, batch_size=env.batch_size, device=env.device
        )

    def step(self, data: TensorMap) -> FlatDict:
        """One step, and one more where the condition holds."""
        rows = self._rows
        following = rows.step(data)
        done = rows.done_rows(following)
        chosen = self._holds(following) & ~done
        if not rows.may_hold(chosen):
            return following
        root = rows.root_after(data, following)
        further = rows.step_some(self._acted(root), chosen, rows.without_rewards(following), ended=done)
        for key in rows.reward_keys:
            further[key] = following[key] + further[key]
        return further

    def reset(self, data: TensorMap | None) -> FlatDict:
        """The reset inside, and one step where the condition holds."""
        rows = self._rows
        fresh = rows.with_flags(unpack_flat(self._reset(data)))
        mask = None if data is None else data.get(RESET_KEY, None)
        root = fresh
        if data is not None:  # what transforms further out have made of observations is not what is wanted here
            root = {**{key: value for key, value in unpack_flat(data).items() if key != RESET_KEY}, **fresh}
        chosen = self._holds(root) & ~rows.done_rows(root)
        chosen = chosen if mask is None else chosen & mask
        if not rows.may_hold(chosen):
            return fresh
        further = rows.step_some(self._acted(root), chosen, rows.standing(root))
        kept = {key: value for key, value in further.items() if key in fresh and key not in self._first_flags}
        return {**fresh, **kept}

    def _acted(self, root: TensorMap) -> TensorDictBase:
        """The root with the actions of the policy."""
        given = pack_flat(unpack_flat(root), self._batch_size, self._device)
        written = self._policy(given)
        return written if isinstance(written, TensorDictBase) else given
