"""Steps with the reward and the next observation of several steps."""

from typing import Any, final

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from rl_specs import NestedKey, ShapeError, canonical_key, message, missing_key
from rl_specs.windows import window_lengths, window_returns

_FLAGS = ("done", "terminated", "truncated")


@final
class MultiStep(nn.Module):
    """Gives each step of a batch what happened in a window of up to `n_steps` more steps after it.

    A step at `t` gets, in a window of `l <= n_steps + 1` steps, of which it is the first,

        ("next", reward)           r_t + gamma r_{t+1} + ... + gamma^(l-1) r_{t+l-1}
        ("next", original_reward)  r_t
        ("next", other)            what the last step of the window returned, flags too: `terminated` says whether the
                                   state to bootstrap from is terminal
        "steps_to_next_obs"        l, int64 `[*B, T, 1]`
        "gamma"                    gamma^l, what to discount the next value by, `[*B, T, 1]`, dtype of the reward

    so that `reward + gamma * ~terminated * value(next)` is the target of each step. A window ends with its trajectory
    and with the batch: no step before or after the batch is looked at. With `n_steps=0` a batch is returned as it is.

    It is a transform of batches: a collector's `postproc`, or appended to a buffer that draws slices, whose ends
    `SliceSampler` flags. The first step of each slice of `n_steps + 1` steps then has its full window, or all that is
    left of its trajectory with `span=(False, True)` and `strict_length=False`.

    Args:
        gamma: discount in [0, 1], per step.
        n_steps: how many steps to look ahead, at least 0.
        reward_key: reward under `"next"`.
        traj_key: entry, `[*B, T]`, whose change ends a window; ignored where there is none.
        mask_key: entry, bool `[*B, T]`, of steps that are real; padding is in no window but its own. Ignored where
            there is none.
    Raises:
        ValueError: `gamma` or `n_steps` is out of range.
    Source: Sutton and Barto 2018, section 7.1, http://incompleteideas.net/book/the-book-2nd.html
    """

    def __init__(
        self,
        gamma: float,
        n_steps: int,
        *,
        reward_key: NestedKey = "reward",
        traj_key: NestedKey = ("collector", "traj_ids"),
        mask_key: NestedKey = ("collector", "mask"),
    ) -> None:
        super().__init__()
        if not 0.0 <= gamma <= 1.0:
            raise ValueError(message("MultiStep", "gamma out of range", expected="in [0, 1]", found=gamma))
        if not isinstance(n_steps, int) or n_steps < 0:
            raise ValueError(message("MultiStep", "n_steps", expected="an integer >= 0", found=repr(n_steps)))
        self.gamma = float(gamma)
        self.n_steps = n_steps
        self.reward_key = canonical_key(reward_key)
        self.traj_key = canonical_key(traj_key)
        self.mask_key = canonical_key(mask_key)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The batch, `[*B, T]`, time last, with the entries above; the one given is not changed.

        Raises:
            ShapeError: the batch has no dimension of time.
            MissingKeyError: the reward is missing, or all flags are.
        """
        if self.n_steps == 0:
            return tensordict
        if tensordict.ndim == 0:
            raise ShapeError(message("MultiStep", "the batch has no dimension of time", expected="[*B, T]", found="[]"))
        shape = tensordict.batch_size
        following = tensordict.get("next", TensorDict(batch_size=shape))
        if self.reward_key not in following.keys(True):
            key = ("next", *((self.reward_key,) if isinstance(self.reward_key, str) else self.reward_key))
            raise missing_key("MultiStep", key, tensordict.keys(True, True), fix="Rename with reward_key=...")
        reward: Tensor = following.get(self.reward_key)
        lengths = window_lengths(self._ends(tensordict, following), self.n_steps + 1)
        ends = lengths + torch.arange(shape[-1], device=lengths.device) - 1
        moved = _taken(following, ends)
        moved.set("original_reward", reward.clone())
        moved.set(self.reward_key, window_returns(reward, lengths, self.gamma))
        out: TensorDictBase = tensordict.copy()
        out.set("next", moved)
        out.set("steps_to_next_obs", lengths.unsqueeze(-1))
        dtype = reward.dtype if reward.is_floating_point() else torch.get_default_dtype()
        out.set("gamma", torch.tensor(self.gamma, dtype=dtype, device=lengths.device).pow(lengths).unsqueeze(-1))
        return out

    def _ends(self, data: TensorDictBase, following: TensorDictBase) -> Tensor:
        """Whether a window must not go on after a step, bool `[*B, T]`."""
        shape = data.batch_size
        flags = [following.get(name) for name in _FLAGS if name in following]
        if not flags:
            fix = "A window ends with its trajectory: store the flags of each step"
            raise missing_key("MultiStep", ("next", "done"), data.keys(True, True), fix=fix)
        is_last = torch.stack([flag.reshape(*shape, -1).any(-1) for flag in flags]).any(0)
        if self.traj_key in data.keys(True):
            ids = data.get(self.traj_key).reshape(*shape, -1)
            is_last[..., :-1] |= (ids[..., 1:, :] != ids[..., :-1, :]).any(-1)
        if self.mask_key in data.keys(True):
            mask = data.get(self.mask_key).reshape(*shape, -1).all(-1)
            is_last |= ~mask
            is_last[..., :-1] |= ~mask[..., 1:]
        return is_last

    def extra_repr(self) -> str:
        """Discount and steps."""
        return f"gamma={self.gamma}, n_steps={self.n_steps}"


def _taken(data: TensorDictBase, positions: Tensor) -> TensorDict:
    """Entries of `data`, `[*B, T]`, at `positions`, int64 `[*B, T]`, along time."""
    out = TensorDict(batch_size=data.batch_size, device=data.device)
    time = positions.ndim - 1
    for key in data.keys(True, True):
        value: Any = data.get(key)
        index = positions.reshape(*positions.shape, *(1,) * (value.ndim - positions.ndim)).expand(value.shape)
        out.set(key, value.gather(time, index))
    return out
