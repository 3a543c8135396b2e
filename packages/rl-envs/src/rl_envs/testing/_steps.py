"""Steps to compare environments by."""

import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs._env_base import EnvBase
from rl_envs._flat import unpack_flat
from rl_envs._ragged import spread
from rl_specs import NestedKey


def seeded(env: EnvBase) -> TensorDictBase:
    """The root after a reset, the environment and torch's generator seeded."""
    torch.manual_seed(0)
    env.set_seed(0)
    return env.reset()


def seeded_steps(env: EnvBase, count: int) -> TensorDictBase:
    """Random steps `[*B, count]` with resets, everything seeded; the environment is closed."""
    with env, torch.random.fork_rng():
        torch.manual_seed(0)
        env.set_seed(0)
        return env.rollout(count, break_when_any_done=False)


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
    batch: TensorDictBase = TensorDict.stack(steps, -1)
    return batch


def assert_equal(first: TensorDictBase, second: TensorDictBase, when: str) -> None:
    """Compare all entries bit by bit.

    Raises:
        AssertionError: there are other entries, or some differ; the message names them.
    """
    a, b = spread(unpack_flat(first)), spread(unpack_flat(second))
    assert set(a) == set(b), f"other entries {when}: {sorted(map(str, set(a) ^ set(b)))}"
    differing: list[NestedKey] = [key for key in a if not torch.equal(a[key], b[key])]
    assert not differing, f"entries differ {when}: {differing}"
