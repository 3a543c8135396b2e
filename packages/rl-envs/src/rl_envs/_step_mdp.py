"""From one step to the root of the next."""

from typing import Any

from tensordict import LazyStackedTensorDict, TensorDictBase

from rl_envs._env_specs import FLAG_NAMES
from rl_specs import NestedKey, canonical_keys, missing_key


def step_mdp(
    tensordict: TensorDictBase,
    next_tensordict: TensorDictBase | None = None,
    keep_other: bool = True,
    exclude_reward: bool = True,
    exclude_done: bool = False,
    exclude_action: bool = True,
    *,
    reward_keys: NestedKey | list[NestedKey] = "reward",
    done_keys: NestedKey | list[NestedKey] | None = None,
    action_keys: NestedKey | list[NestedKey] = "action",
) -> TensorDictBase:
    """The root of the step after this one: the entries under `"next"`, moved up.

    Args:
        tensordict: a step `[*B]`, or several, with `"next"`.
        next_tensordict: where to write; None: a new one.
        keep_other: keep root entries that `"next"` does not have (a hidden state, parameters).
        exclude_reward: leave the rewards out.
        exclude_done: leave the flags out.
        exclude_action: leave the actions out.
        reward_keys: names of the rewards.
        done_keys: names of the flags; None: `done`, `terminated` and `truncated` at the root.
        action_keys: names of the actions.
    Returns:
        Root entries `[*B]`, sharing the tensors of `tensordict`.
    Raises:
        MissingKeyError: there is no `"next"`.
    """
    if isinstance(tensordict, LazyStackedTensorDict) and next_tensordict is None:  # rows may differ
        options = (None, keep_other, exclude_reward, exclude_done, exclude_action)
        keys: dict[str, Any] = {"reward_keys": reward_keys, "done_keys": done_keys, "action_keys": action_keys}
        moved_rows = [step_mdp(row, *options, **keys) for row in tensordict.tensordicts]
        return LazyStackedTensorDict(*moved_rows, stack_dim=tensordict.stack_dim)
    following = tensordict.get("next", None)
    if following is None:
        raise missing_key("step_mdp", "next", tensordict.keys(), fix="Call env.step first")
    rewards = canonical_keys(reward_keys)
    flags = list(FLAG_NAMES) if done_keys is None else canonical_keys(done_keys)
    actions = canonical_keys(action_keys)
    dropped: list[NestedKey] = [*(rewards if exclude_reward else ()), *(flags if exclude_done else ())]
    moved = following.exclude(*dropped).copy()  # nested ones too, which may be written to
    if keep_other:
        kept = tensordict.exclude("next", *actions, *rewards, *flags).copy()  # nested ones too, which are updated
        moved = kept.update(moved)
    if not exclude_action:
        for key in actions:
            value = tensordict.get(key, None)
            if value is not None:
                moved.set(key, value)
    return moved if next_tensordict is None else next_tensordict.update(moved)
