"""Steps that are left out."""

from typing import TYPE_CHECKING, ClassVar, final

from tensordict import TensorDictBase

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import no_forward
from rl_envs.transforms._leaf_specs import summed_specs
from rl_envs.transforms._predicates import Predicate, RowPredicate
from rl_envs.transforms._row_steps import RowSteps
from rl_envs.transforms._wiring import leaf_keys
from rl_envs.transforms.transform import ResetCall, StepCall, Transform
from rl_specs import Composite, FlatDict, NestedKey, TensorMap

if TYPE_CHECKING:
    from rl_envs.transforms.transformed_env import TransformedEnv


@final
class ConditionalSkip(Transform):
    """Leaves steps out in the rows in which a condition holds.

    The environment and the transforms before this one do not move there: the step returns the observations and flags of
    its root and rewards of zero. Transforms after this one see that as a step like any other, so a `StepCounter` before
    it counts the steps that were taken, one after it all of them.

    Put it behind the transforms that change observations: they would change those of the root a second time, and are
    refused behind it.

    Where rows differ, the environment has to step some of its rows alone, as a `SerialEnv` does (see
    `EnvBase.steps_rows`).

    Args:
        cond: from the root entries with the actions `[*B]` to a bool, or a tensor of them `[*B]` or `[*B, 1]`: True
            where the step is left out.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self, cond: Predicate) -> None:
        super().__init__()
        self.cond = cond
        self._returned: list[NestedKey] = []

    def _bind(self, specs: EnvSpecs) -> list[str]:
        others = {*leaf_keys(specs.state), *self._carried_before}
        self._returned = [key for key in leaf_keys(specs.observation) if key not in others]
        return []

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return dict.fromkeys(self._returned, False)

    def _wrap(self, env: "TransformedEnv") -> tuple[StepCall, ResetCall]:
        return _Skipping(self, env), env._reset

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return reset_data

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Bounds of a reward, or of 0."""
        return summed_specs(reward_spec, 1, 0)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: there is no environment to step."""
        raise no_forward("ConditionalSkip")

    def __repr__(self) -> str:
        return f"ConditionalSkip(cond={self.cond})"


@final
class _Skipping:
    """The step of an environment behind a `ConditionalSkip`."""

    def __init__(self, transform: ConditionalSkip, env: "TransformedEnv") -> None:
        self._rows = RowSteps("ConditionalSkip", env)
        self._is_skipped = RowPredicate(
            "ConditionalSkip: cond", transform.cond, batch_size=env.batch_size, device=env.device
        )

    def __call__(self, data: TensorMap) -> FlatDict:
        skipped = self._is_skipped(data)
        return self._rows.step_some(data, ~skipped, self._rows.standing(data))
