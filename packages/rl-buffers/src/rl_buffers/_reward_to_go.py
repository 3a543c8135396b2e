"""Steps stored with the reward of the rest of their episode."""

from typing import Any, final

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from rl_specs import NestedKey, ShapeError, SpecError, canonical_key, message, missing_key


@final
class RewardToGo(nn.Module):
    """Keeps steps back until their episode has ended, and stores them with the discounted sum of its later rewards.

        R_t = r_t + gamma * (1 - done_t) * R_{t+1}

    For `append_transform` of a buffer: `extend` and `add` take steps of one sequence in the order of time, in pieces of
    any size. Batches that are read are left alone. What an episode would have given after a truncation is not known and
    counts as nothing.

    Args:
        gamma: discount in [0, 1], per step.
        reward_key: reward, `[T, *F]`.
        done_key: flag that ends an episode; of several elements any one does.
        out_key: name of the sum, `[T, *F]`.
    Raises:
        ValueError: `gamma` is out of range.
    """

    def __init__(
        self,
        gamma: float = 1.0,
        *,
        reward_key: NestedKey = ("next", "reward"),
        done_key: NestedKey = ("next", "done"),
        out_key: NestedKey = "reward_to_go",
    ) -> None:
        super().__init__()
        if not 0.0 <= gamma <= 1.0:
            raise ValueError(message("RewardToGo", "gamma out of range", expected="in [0, 1]", found=gamma))
        self.gamma = float(gamma)
        self.reward_key = canonical_key(reward_key)
        self.done_key = canonical_key(done_key)
        self.out_key = canonical_key(out_key)
        self._kept: TensorDictBase | None = None

    def forward(self, batch: Any) -> Any:
        """`batch` as it is."""
        return batch

    def inv(self, data: TensorDictBase) -> TensorDictBase:
        """The steps, `[T]`, of episodes that have ended by now, with their sums; the others wait.

        Raises:
            ShapeError: the data are not `[T]`.
            MissingKeyError: the reward or the flag is missing.
            SpecError: the steps have other entries than those that wait.
        """
        if data.ndim != 1:
            problem, fix = "shape of the data", "Give it the steps of one sequence, or use one buffer for each"
            raise ShapeError(message("RewardToGo", problem, expected="[T]", found=list(data.shape), fix=fix))
        steps = self._joined(data)
        is_last = self._entry(steps, self.done_key, "done_key").reshape(len(steps), -1).any(1)
        reward = self._entry(steps, self.reward_key, "reward_key")
        ends = is_last.nonzero()
        ready = int(ends[-1]) + 1 if len(ends) else 0
        self._kept = steps[ready:].clone() if ready < len(steps) else None
        out: TensorDictBase = steps[:ready].copy()
        return out.set(self.out_key, rewards_to_go(reward[:ready], is_last[:ready], self.gamma))

    def clear(self) -> None:
        """Forget the steps that wait."""
        self._kept = None

    def _joined(self, data: TensorDictBase) -> TensorDictBase:
        if self._kept is None:
            return data
        if set(self._kept.keys(True, True)) != set(data.keys(True, True)):
            fix = "Call clear() before steps of another kind"
            raise SpecError(message("RewardToGo", "the steps have other entries than those that wait", fix=fix))
        joined: TensorDictBase = TensorDict.cat([self._kept, data], 0)
        return joined

    def _entry(self, steps: TensorDictBase, key: NestedKey, argument: str) -> Tensor:
        value: Tensor | None = steps.get(key, None)
        if value is None:
            raise missing_key("RewardToGo", key, steps.keys(True, True), fix=f"Name another with {argument}=...")
        return value

    def get_extra_state(self) -> dict[str, Any]:
        """The steps that wait."""
        kept = self._kept
        if kept is None:
            return {}
        entries = [([key] if isinstance(key, str) else list(key), kept.get(key)) for key in kept.keys(True, True)]
        return {"count": len(kept), "keys": [key for key, _ in entries], "values": [value for _, value in entries]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_extra_state` returned."""
        self._kept = None
        if state:
            self._kept = TensorDict(batch_size=[state["count"]])
            for key, value in zip(state["keys"], state["values"], strict=True):
                self._kept.set(tuple(key), value)

    def extra_repr(self) -> str:
        """Discount and keys."""
        return f"gamma={self.gamma}, reward_key={self.reward_key}, out_key={self.out_key}"


def rewards_to_go(reward: Tensor, is_last: Tensor, gamma: float) -> Tensor:
    """Discounted sum of the rewards from each step to the end of its episode, by sums over 1, 2, 4, ... steps.

        R_t = r_t + gamma * (1 - is_last_t) * R_{t+1}

    Args:
        reward: `[T, *F]`; integers are summed as floats of torch's default dtype.
        is_last: bool `[T]`; the data end an episode too.
        gamma: discount.
    Returns:
        `[T, *F]`, a new tensor.
    """
    total = reward.clone() if reward.is_floating_point() else reward.to(torch.get_default_dtype())
    count = len(reward)
    factor = torch.where(is_last, 0.0, gamma).to(total.dtype)
    factor[-1:] = 0.0
    factor = factor.reshape(count, *(1,) * (reward.ndim - 1))
    step = 1
    while step < count:
        total[:-step] = total[:-step] + factor[:-step] * total[step:]
        factor[:-step] = factor[:-step] * factor[step:]
        step *= 2
    return total
