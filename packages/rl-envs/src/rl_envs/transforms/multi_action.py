"""Several actions in one step."""

from typing import TYPE_CHECKING, ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import no_forward
from rl_envs.transforms._leaf_specs import summed_specs
from rl_envs.transforms._row_steps import RowSteps, copied
from rl_envs.transforms.transform import ResetCall, StepCall, Transform
from rl_specs import (
    Bounded,
    Categorical,
    Composite,
    FlatDict,
    NestedKey,
    ShapeError,
    TensorMap,
    TensorSpec,
    Unbounded,
    key_str,
    message,
)

if TYPE_CHECKING:
    from rl_envs.transforms.transformed_env import TransformedEnv


@final
class MultiAction(Transform):
    """Takes a stack of actions one after the other, and gives what they led to as one step.

    Actions are `[*B, N, *A]` with `dim=1`. A row whose episode ends on the way is not stepped further: its entries stay
    those of its last step, and it gets rewards of zero. Flags are those of the last step taken. Transforms before this
    one see every step, those after it one per stack. In a batch whose environment cannot step some of its rows (see
    `EnvBase.steps_rows`), rows that end early are reset and go on unseen.

    Args:
        num_actions: length of the stack, `N`. None: that of the actions which the policy gives. The specs leave it open
            (-1) then, so that random actions have to be drawn by hand.
        dim: where the stack lies, counted from the last batch dimension: 1 is the first one after it.
        stack_rewards: give the rewards of all steps `[*B, N, 1]`; otherwise that of the last step
            taken.
        stack_observations: give the observations after every step `[*B, N, *F]`; otherwise the last. A reset then
            repeats its observation.
    Raises:
        ValueError: `num_actions` or `dim` is not positive.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        *,
        num_actions: int | None = None,
        dim: int = 1,
        stack_rewards: bool = True,
        stack_observations: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("num_actions", num_actions), ("dim", dim)):
            if value is not None and value < 1:
                raise ValueError(message("MultiAction", f"{name} too small", expected=">= 1", found=value))
        if num_actions is None and stack_observations:
            problem = "stack_observations without num_actions: a reset has as many observations as a step has actions"
            raise ValueError(message("MultiAction", problem, fix="Give num_actions"))
        self.num_actions = num_actions
        self.dim = dim
        self.stack_rewards = stack_rewards
        self.stack_observations = stack_observations
        self._at = dim - 1
        self._observed: set[NestedKey] = set()

    def _bind(self, specs: EnvSpecs) -> list[str]:
        self._at = len(specs.action.shape) + self.dim - 1
        self._observed = {key for key, _ in specs.observation.flat_items()}
        stacked = [("action", specs.action)]
        stacked += [("reward", specs.reward)] if self.stack_rewards else []
        stacked += [("observation", specs.observation)] if self.stack_observations else []
        opened = [
            f"stack_{kind}s: {key_str(key)} leaves a size open (shape {tuple(leaf.shape)}), and steps of different "
            f"sizes have no stack. Pass stack_{kind}s=False"
            for kind, composite in stacked[1:]
            for key, leaf in composite.flat_items()
            if -1 in leaf.shape
        ]
        if not opened and self.num_actions is None:
            opened = [
                f"num_actions: {kind} {key_str(key)} is of kind {type(leaf).__name__}, whose sizes cannot be left "
                "open. Give num_actions"
                for kind, composite in stacked
                for key, leaf in composite.flat_items()
                if not isinstance(leaf, Bounded | Unbounded | Categorical)
            ]
        return opened + [
            f"dim: {kind} {key_str(key)} of shape {tuple(leaf.shape)} has no place {self.dim} after the batch"
            for kind, composite in stacked
            for key, leaf in composite.flat_items()
            if len(leaf.shape) < self._at
        ]

    def _wrap(self, env: "TransformedEnv") -> tuple[StepCall, ResetCall]:
        steps = _Unstacked(self, env)
        return steps.step, steps.reset

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return reset_data

    def transform_action_spec(self, action_spec: Composite) -> Composite:
        """Actions with the dimension of the stack."""
        return self._stacked_spec(action_spec)

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Rewards with the dimension of the stack, where they are stacked; 0 in steps that are not taken."""
        if not self.stack_rewards:
            return reward_spec
        return self._stacked_spec(summed_specs(reward_spec, 1, 0))

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Observations with the dimension of the stack, where they are stacked."""
        return self._stacked_spec(observation_spec) if self.stack_observations else observation_spec

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """States that are observations too, with the dimension of the stack where these are stacked."""
        if self.stack_observations:
            for key, leaf in state_spec.flat_items():
                if key in self._observed:
                    state_spec[key] = _repeated_spec(leaf, self._at, self.num_actions)
        return state_spec

    def _stacked_spec(self, composite: Composite) -> Composite:
        for key, leaf in composite.flat_items():
            composite[key] = _repeated_spec(leaf, self._at, self.num_actions)
        return composite

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: there is no environment to step."""
        raise no_forward("MultiAction")

    def __repr__(self) -> str:
        return f"MultiAction(num_actions={self.num_actions}, dim={self.dim})"


def _repeated_spec(spec: TensorSpec, at: int, count: int | None) -> TensorSpec:
    """Spec of a stack of `count` values along the dimension `at`; None: of any number."""
    longer = spec.unsqueeze(at)
    size = torch.Size([*longer.shape[:at], -1 if count is None else count, *longer.shape[at + 1 :]])
    if count is not None:
        return longer.expand(size)
    if isinstance(longer, Bounded):
        return Bounded(longer.low, longer.high, shape=size, device=longer.device, dtype=longer.dtype)
    if isinstance(longer, Categorical):
        return Categorical(longer.n, size, longer.device, longer.dtype)
    return Unbounded(shape=size, device=longer.device, dtype=longer.dtype)


@final
class _Unstacked:
    """Step and reset of an environment behind a `MultiAction`."""

    def __init__(self, transform: MultiAction, env: "TransformedEnv") -> None:
        self._transform = transform
        self._at = transform._at
        self._rows = RowSteps("MultiAction", env)
        self._reset = env._reset
        specs = env._env_specs()
        self._actions = [key for key, _ in specs.action.flat_items()]
        self._observed = [key for key, _ in specs.observation.flat_items()] if transform.stack_observations else []

    def step(self, data: TensorMap) -> FlatDict:
        """Every action of the stack in turn."""
        rows = self._rows
        stacks = {key: self._unbound(key, data[key]) for key in self._actions}
        root, keeps = self._last_only(data), not self._transform.stack_rewards
        taken: list[FlatDict] = []
        lengths = {len(stack) for stack in stacks.values()}
        if len(lengths) > 1:
            listed = ", ".join(f"{key_str(key)}: {len(stack)}" for key, stack in stacks.items())
            raise ShapeError(message("MultiAction", "stacks of different lengths", expected="one length", found=listed))
        for index in range(lengths.pop()):
            for key, stack in stacks.items():
                root[key] = stack[index]
            found = rows.step_running(root, taken[-1], keep_rewards=keeps) if taken else rows.step(root)
            if found is None:
                found = taken[-1] if keeps else rows.without_rewards(taken[-1])
            taken.append(found)
            root = rows.root_after(root, found)
        return self._joined(taken)

    def reset(self, data: TensorMap | None) -> TensorMap:
        """The reset inside, its observations repeated where they are stacked."""
        if not self._observed:
            return self._reset(data)
        found = self._reset(None if data is None else self._last_only(data))
        for key in self._observed:
            found[key] = torch.stack([found[key]] * (self._transform.num_actions or 1), self._at)
        return found

    def _joined(self, taken: list[FlatDict]) -> FlatDict:
        found = dict(taken[-1])
        stacked = [*self._observed, *(self._rows.reward_keys if self._transform.stack_rewards else [])]
        for key in stacked:
            found[key] = torch.stack([step[key] for step in taken], self._at)
        return found

    def _last_only(self, data: TensorMap) -> TensorMap:
        """`data` as the environment inside knows it."""
        root = copied(data)
        for key in self._observed:
            value = root.get(key, None)
            if value is not None:
                root[key] = value.select(self._at, -1)
        return root

    def _unbound(self, key: NestedKey, value: Tensor) -> tuple[Tensor, ...]:
        wanted = self._transform.num_actions
        if value.shape[self._at] == wanted or (wanted is None and value.shape[self._at] > 0):
            return value.unbind(self._at)
        problem = f"action {key_str(key)} is a stack of another length"
        expected, found = f"{wanted or '1 or more'} along dimension {self._at}", tuple(value.shape)
        raise ShapeError(message("MultiAction", problem, expected=expected, found=found))
