"""Steps to compare environments by."""

from typing import Any

import torch
from tensordict import LazyStackedTensorDict, TensorDict, TensorDictBase
from torch import Tensor

from rl_envs._env_base import EnvBase
from rl_envs._flat import unpack_flat
from rl_envs._ragged import spread
from rl_specs import NestedKey


def seeded(env: EnvBase) -> TensorDictBase:
    """The root after a reset, the environment and torch's generator seeded."""
    torch.manual_seed(0)
    env.set_seed(0)
    return env.reset()


def seeded_steps(env: EnvBase, count: int, *, draws_each_step: bool = False) -> TensorDictBase:
    """Random steps `[*B, count]` with resets, everything seeded; the environment is closed.

    A rollout without a policy may draw the actions of many steps at once, which are not those of `rand_action` then.
    """
    with env, torch.random.fork_rng():
        torch.manual_seed(0)
        env.set_seed(0)
        policy = env.rand_action if draws_each_step else None
        return env.rollout(count, policy, break_when_any_done=False)


def first_steps(*envs: EnvBase) -> list[tuple[EnvBase, TensorDictBase]]:
    """Each environment after a reset with one seed, beside its root with the same random action."""
    found = []
    for env in envs:
        root = seeded(env)
        found.append((env, env.rand_action(root)))
    return found


def steps_of(env: EnvBase, root: TensorDictBase, actions: list[TensorDictBase]) -> TensorDictBase:
    """Steps `[*B, T]` with these actions, from `root`."""
    steps = []
    for action in actions:
        stepped, root = env.step_and_maybe_reset(root.copy().update(action))
        steps.append(stepped.clone())
    batch: TensorDictBase = TensorDict.maybe_dense_stack(steps, -1)
    return batch


def assert_equal(first: TensorDictBase, second: TensorDictBase, when: str) -> None:
    """Compare all entries bit by bit.

    Raises:
        AssertionError: there are other entries, or some differ; the message names them.
    """
    if isinstance(first, LazyStackedTensorDict):  # whose steps may differ in size
        dim = first.stack_dim
        for one, other in zip(first.unbind(dim), second.unbind(dim), strict=True):
            assert_equal(one, other, when)
        return
    a, b = spread(unpack_flat(first)), spread(unpack_flat(second))
    assert set(a) == set(b), f"other entries {when}: {sorted(map(str, set(a) ^ set(b)))}"
    differing: list[NestedKey] = [key for key in a if not _is_same(a[key], b[key])]
    assert not differing, f"entries differ {when}: {differing}"


def _is_same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        if not (isinstance(b, Tensor) and a.shape == b.shape and a.dtype is b.dtype):
            return False
        return bool(((a == b) | ((a != a) & (b != b))).all())  # a NaN is the same as a NaN
    return bool(a.batch_size == b.batch_size and a.tolist() == b.tolist())  # text, objects
