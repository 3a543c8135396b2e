"""What an environment returns from its first step and reset, and what authors get wrong there.

`check_env_specs` compares everything; this is what a loop cannot run without, checked once per plan.
"""

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from rl_specs import Composite, FlatDict, LeafSpec, NestedKey, ShapeError, canonical_key, key_str, message, missing_key

_NOT_TENSORS = (np.ndarray, np.generic, bool, int, float, list, tuple, str, type(None))
_HINT = "check_env_specs(env) lists all that differs"


def not_entries(component: str, method: str, found: object) -> TypeError:
    """Error for a `_reset` or `_step` that returned something else than entries."""
    fix = f'Return a dict of tensors from {method}, such as {{"observation": ...}}'
    if method == "_step":
        fix = 'Return a dict of tensors from _step: {"observation": ..., "reward": ..., "terminated": ...}'
    return TypeError(
        message(
            f"{component}.{method}",
            "returned no entries",
            expected="a TensorDict or a dict",
            found=type(found).__name__,
            fix=fix,
        )
    )


def check_tensors(where: str, entries: FlatDict, composites: Iterable[Composite]) -> None:
    """Check that what an env returned under the names of tensors are tensors.

    Args:
        where: env and method, for messages.
        entries: what was returned.
        composites: specs of the env.
    Raises:
        TypeError: an entry is a number, an array, a list.
    """
    forms = {key: spec for composite in composites for key, spec in composite.flat_items()}
    for key, value in list[tuple[NestedKey, object]](entries.items()):
        spec = forms.get(canonical_key(key))
        if isinstance(spec, LeafSpec) and isinstance(value, _NOT_TENSORS):
            fix = f"Return a tensor of shape {tuple(spec.shape)}, e.g. with torch.as_tensor(value)"
            found = f"{type(value).__name__} {value!r}"
            raise TypeError(message(where, f"{key_str(key)} is no tensor", expected="Tensor", found=found, fix=fix))


def check_first_step(
    component: str,
    nxt: FlatDict,
    *,
    observation: Composite,
    reward: Composite,
    done: Composite,
    groups: Iterable[tuple[NestedKey, ...]],
) -> None:
    """Compare the first step of an env with what the loop around it relies on.

    Args:
        component: name of the env.
        nxt: what the step returned.
        observation: observation specs of the env.
        reward: reward specs of the env.
        done: flag specs of the env.
        groups: keys of flags, one group per level; a step returns at least one flag of each.
    Raises:
        TypeError: an entry is no tensor.
        MissingKeyError: no reward, or no flag.
        ShapeError: an entry has another shape than its spec.
    """
    where = f"{component}._step"
    forms = {canonical_key(key): spec for composite in (reward, done) for key, spec in composite.flat_items()}
    check_tensors(where, nxt, (observation, reward, done))
    for key, _ in reward.flat_items():
        if key not in nxt:
            raise missing_key(where, key, nxt, fix="Return it from _step, or declare its name in reward_spec")
    for group in groups:
        if all(key not in nxt for key in group):
            fix = "Return done, or terminated and truncated, from _step for every group of flags"
            raise missing_key(where, group[0], nxt, fix=fix)
    observed = {key: spec for key, spec in observation.flat_items() if isinstance(spec, LeafSpec)}
    for key, spec in {**observed, **forms}.items():
        returned: object = nxt.get(key)
        if not isinstance(returned, Tensor) or returned.shape == spec.shape:
            continue
        if not (isinstance(spec, LeafSpec) and spec.fits(returned.shape)):
            raise ShapeError(
                message(
                    where,
                    f"{key_str(key)} has another shape than its spec",
                    expected=tuple(spec.shape),
                    found=tuple(returned.shape),
                    fix=f"Return it in that shape, or correct the spec; {_HINT}",
                )
            )
