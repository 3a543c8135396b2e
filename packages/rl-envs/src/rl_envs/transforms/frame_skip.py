"""Actions that hold for several steps."""

from typing import TYPE_CHECKING, ClassVar, final

from tensordict import TensorDictBase

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import no_forward
from rl_envs.transforms._leaf_specs import summed_specs
from rl_envs.transforms._row_steps import RowSteps
from rl_envs.transforms.transform import ResetCall, StepCall, Transform
from rl_specs import Composite, FlatDict, TensorMap, message

if TYPE_CHECKING:
    from rl_envs.transforms.transformed_env import TransformedEnv


@final
class FrameSkipTransform(Transform):
    """Takes each action several times and adds up the rewards.

    A row whose episode ends on the way is not stepped further; its entries are those of its last step. Transforms
    before this one see every frame, those after it one step per action. In a batch whose environment cannot step some
    of its rows (see `EnvBase.steps_rows`), rows that end early are reset and go on unseen.

    Args:
        frame_skip: steps per action.
    Raises:
        ValueError: `frame_skip` is not positive.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self, frame_skip: int = 1) -> None:
        super().__init__()
        if frame_skip < 1:
            raise ValueError(message("FrameSkipTransform", "frame_skip too small", expected=">= 1", found=frame_skip))
        self.frame_skip = frame_skip

    def _bind(self, specs: EnvSpecs) -> list[str]:
        return []

    def _wrap(self, env: "TransformedEnv") -> tuple[StepCall, ResetCall]:
        return _Repeated(self, RowSteps("FrameSkipTransform", env)), env._reset

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return reset_data

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Bounds of a sum of one to `frame_skip` rewards."""
        return summed_specs(reward_spec, self.frame_skip)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: there is no environment to step."""
        raise no_forward("FrameSkipTransform")

    def __repr__(self) -> str:
        return f"FrameSkipTransform(frame_skip={self.frame_skip})"


@final
class _Repeated:
    """The step of an environment behind a `FrameSkipTransform`."""

    def __init__(self, transform: FrameSkipTransform, rows: RowSteps) -> None:
        self._transform = transform
        self._rows = rows

    def __call__(self, data: TensorMap) -> FlatDict:
        rows = self._rows
        following = rows.step(data)
        for _ in range(self._transform.frame_skip - 1):
            further = rows.step_running(rows.root_after(data, following), following)
            if further is None:
                break
            for key in rows.reward_keys:
                further[key] = following[key] + further[key]
            following = further
        return following
