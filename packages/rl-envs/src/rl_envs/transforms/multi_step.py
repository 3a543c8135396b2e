"""Steps stored with the reward and the next observation of several steps."""

from typing import Any, final

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._stored import as_trajectories, beside, frame_flags, read_stored, stored_only, under_next
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import NestedKey, SpecError, TensorMap, canonical_key, canonical_keys, key_str, message
from rl_specs.windows import window_lengths, window_returns

_FLAGS = ("done", "terminated", "truncated")


@final
class MultiStepTransform(Transform):
    """Gives a replay buffer the n-step form of the steps that it is to store.

    A step at `t` is stored with what happened in a window of `n_steps` steps, `t` among them, or of fewer where its
    trajectory ends before:

        ("next", reward)        r_t + gamma r_{t+1} + ... + gamma^(l-1) r_{t+l-1}, for l steps in the window
        ("next", reward_orig)   r_t, under the name of the reward with "_orig" added
        ("next", other)         what the last step of the window returned, flags too: `terminated` says whether the
                                state to bootstrap from is terminal
        "steps_to_next_obs"     l, int64 `[*B, T, 1]`
        "gamma"                 gamma^l, the discount of the value to bootstrap from, `[*B, T, 1]`, dtype of the reward

    so that `reward + gamma * ~terminated * value(next)` is the n-step target of each sample. With `n_steps=1` entries
    are as they were.

    Time is the last batch dimension. The last `n_steps - 1` steps of each row wait for those that follow, in the next
    call: what is stored does not depend on how the steps are cut into batches, provided that each row goes on where it
    stopped. Where it does not, its trajectory has to have ended, by a flag or by another trajectory id; else call
    `clear()` in between. Steps of several environments go in as `[B, T]` and come out as `[B, T']`.

    Args:
        n_steps: steps in a window, at least 1; may be changed at any time.
        gamma: discount in [0, 1], per step.
        reward_keys: rewards under `"next"`, default `"reward"`.
        done_key: flag under `"next"` that says that an episode has ended, default `"done"`.
        done_keys: flags under `"next"` that end a window, default `done_key` and, where there are such, `"done"`,
            `"terminated"` and `"truncated"`; of a flag with several elements per step any one does.
        mask_key: entry, bool `[*B, T]`, of steps that are real; the others, padding, are in no window but their own.
            Default `"mask"` where there is one.
        traj_key: entry, int `[*B, T]`, whose change ends a window; ignored where there is none.
    Raises:
        ValueError: `n_steps` or `gamma` is out of range.
    Source: Sutton and Barto 2018, section 7.1, http://incompleteideas.net/book/the-book-2nd.html
    """

    def __init__(
        self,
        n_steps: int,
        gamma: float,
        *,
        reward_keys: Keys | NestedKey | None = None,
        done_key: NestedKey | None = None,
        done_keys: Keys | NestedKey | None = None,
        mask_key: NestedKey | None = None,
        traj_key: NestedKey = ("collector", "traj_ids"),
    ) -> None:
        super().__init__()
        if not 0.0 <= gamma <= 1.0:
            raise ValueError(message("MultiStepTransform", "gamma out of range", expected="in [0, 1]", found=gamma))
        self.n_steps = n_steps
        self.gamma = float(gamma)
        self.reward_keys = canonical_keys("reward" if reward_keys is None else reward_keys)
        self.done_keys = canonical_keys(("done" if done_key is None else done_key) if done_keys is None else done_keys)
        if done_key is not None and canonical_key(done_key) not in self.done_keys:
            self.done_keys.insert(0, canonical_key(done_key))
        self._other_flags = list(_FLAGS) if done_keys is None else []
        self.mask_key = None if mask_key is None else canonical_key(mask_key)
        self.traj_key = canonical_key(traj_key)
        self._kept: TensorDictBase | None = None

    @property
    def n_steps(self) -> int:
        """Steps in a window."""
        return self._n_steps

    @n_steps.setter
    def n_steps(self, n_steps: int) -> None:
        if not isinstance(n_steps, int) or n_steps < 1:
            raise ValueError(message("MultiStepTransform", "n_steps", expected="an integer >= 1", found=repr(n_steps)))
        self._n_steps = n_steps

    def clear(self) -> None:
        """Forget the steps that wait for others."""
        self._kept = None

    def _inv_call(self, data: TensorMap) -> TensorDictBase:
        frames = self._joined(as_trajectories("MultiStepTransform", data))
        ready = max(frames.shape[-1] - self._n_steps + 1, 0)
        stored = self._windowed(frames, self._ends(frames), ready)
        self._kept = frames[..., ready:].clone() if ready < frames.shape[-1] else None
        return stored

    def _joined(self, frames: TensorDictBase) -> TensorDictBase:
        """The steps that waited, and `frames`."""
        kept = self._kept
        if kept is None:
            return frames
        names, known = set(frames.keys(True, True)), set(kept.keys(True, True))
        fix = "Call clear() before steps of another kind"
        if names != known:
            changed = ", ".join(sorted(key_str(key) for key in names ^ known))
            problem = f"the steps have other entries than those before: {changed}"
            raise SpecError(message("MultiStepTransform", problem, fix=fix))
        if kept.shape[:-1] != frames.shape[:-1]:
            problem = "the steps have other rows than those before"
            expected, found = [*kept.shape[:-1], "T"], list(frames.shape)
            raise SpecError(message("MultiStepTransform", problem, expected=expected, found=found, fix=fix))
        joined: TensorDictBase = TensorDict.cat([kept, frames], -1)
        return joined

    def _ends(self, frames: TensorDictBase) -> Tensor:
        """Whether a window must not go on after a step, bool `[*B, T]`."""
        shape = frames.batch_size
        fix = "Store it, or rename with done_keys=[...]"
        flags = [read_stored("MultiStepTransform", frames, under_next(key), fix) for key in self.done_keys]
        found = list(zip(self.done_keys, flags, strict=True))
        others = [(key, frames.get(under_next(key), None)) for key in self._other_flags if key not in self.done_keys]
        found += [(key, flag) for key, flag in others if flag is not None]
        is_last = torch.zeros(shape, dtype=torch.bool, device=flags[0].device)
        for key, flag in found:
            is_last |= frame_flags("MultiStepTransform", key, flag, shape)
        ids = frames.get(self.traj_key, None)
        if ids is not None:
            ids = ids.reshape(shape)
            is_last[..., :-1] |= ids[..., :-1] != ids[..., 1:]
        mask = self._mask(frames)
        if mask is not None:
            is_last |= ~mask
            is_last[..., :-1] |= ~mask[..., 1:]
        return is_last

    def _mask(self, frames: TensorDictBase) -> Tensor | None:
        if self.mask_key is None:
            mask = frames.get("mask", None)
            key: NestedKey = "mask"
        else:
            key = self.mask_key
            mask = read_stored("MultiStepTransform", frames, key, "Store it, or leave mask_key out")
        return None if mask is None else frame_flags("MultiStepTransform", key, mask, frames.batch_size)

    def _windowed(self, frames: TensorDictBase, is_last: Tensor, ready: int) -> TensorDictBase:
        """The first `ready` steps of each row, with what their windows hold."""
        lengths = window_lengths(is_last, self._n_steps)
        steps = lengths[..., :ready]
        ends = steps + torch.arange(ready, device=steps.device) - 1
        out: TensorDictBase = frames[..., :ready]
        following = _taken(frames["next"], ends)
        for key in self.reward_keys:
            fix = "Store it, or rename with reward_keys=[...]"
            reward = read_stored("MultiStepTransform", frames, under_next(key), fix)
            following[_original(key)] = reward.narrow(steps.ndim - 1, 0, ready)
            following[key] = window_returns(reward, lengths, self.gamma).narrow(steps.ndim - 1, 0, ready)
        discount = torch.tensor(self.gamma, dtype=following[self.reward_keys[0]].dtype, device=steps.device)
        out["next"] = following
        out["steps_to_next_obs"] = steps.unsqueeze(-1)
        out["gamma"] = discount.pow(steps).unsqueeze(-1)
        return out

    def _bind(self, specs: EnvSpecs) -> list[str]:
        return stored_only()

    def get_extra_state(self) -> dict[str, Any]:
        """The steps that wait for others."""
        kept = self._kept
        if kept is None:
            return {}
        keys = list(kept.keys(True, True))
        return {
            "batch_size": list(kept.batch_size),
            "keys": [[key] if isinstance(key, str) else list(key) for key in keys],
            "values": [kept[key] for key in keys],
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_extra_state` returned."""
        if not state:
            self._kept = None
            return
        entries = {tuple(key): value for key, value in zip(state["keys"], state["values"], strict=True)}
        self._kept = TensorDict(batch_size=state["batch_size"])
        for key, value in entries.items():
            self._kept.set(key, value)

    def __repr__(self) -> str:
        return f"MultiStepTransform(n_steps={self.n_steps}, gamma={self.gamma}, reward_keys={self.reward_keys})"


def _taken(data: TensorDictBase, positions: Tensor) -> TensorDictBase:
    """Entries of `data`, `[*B, T]`, at `positions`, int64 `[*B, T']`, along time."""
    taken = TensorDict(batch_size=positions.shape, device=data.device)
    for key in data.keys(True, True):
        value = data[key]
        index = beside(positions, value).expand(positions.shape + value.shape[positions.ndim :])
        taken.set(key, value.gather(positions.ndim - 1, index))
    return taken


def _original(key: NestedKey) -> NestedKey:
    return f"{key}_orig" if isinstance(key, str) else (*key[:-1], f"{key[-1]}_orig")
