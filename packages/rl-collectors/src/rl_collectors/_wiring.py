"""What is checked once, when a policy meets an environment: all that does not fit, in one report."""

from collections.abc import Callable
from typing import Any

from tensordict.nn import TensorDictModuleBase

from rl_envs import EnvBase
from rl_specs import FlatDict, LeafSpec, SpecError, canonical_key, key_str, near_matches


class WiringError(SpecError):
    """A policy and an environment do not fit together."""


def check_frames(component: str, frames_per_batch: int, num_envs: int) -> int:
    """Steps per batch of each environment.

    Raises:
        ValueError: `frames_per_batch` is not a positive multiple of `num_envs`.
    """
    if frames_per_batch <= 0 or frames_per_batch % num_envs:
        below = frames_per_batch // num_envs * num_envs
        choices = [str(n) for n in (below, below + num_envs) if n > 0]
        raise ValueError(
            f"{component}: frames_per_batch does not divide by the number of environments. Expected a positive "
            f"multiple of {num_envs}, found {frames_per_batch}. Pass frames_per_batch={' or '.join(choices)}."
        )
    return frames_per_batch // num_envs


def check_keys(component: str, env: EnvBase, policy: Callable[..., Any], root: FlatDict) -> None:
    """Compare the keys that a policy reads and writes with those that the environment gives and wants.

    Raises:
        WiringError: a key that nobody writes, or no key that the environment's action is read from.
    """
    if not isinstance(policy, TensorDictModuleBase):
        return
    problems = []
    have = [key_str(key) for key in root]
    for key in policy.in_keys:
        if canonical_key(key) not in root:
            name = key_str(canonical_key(key))
            problems.append(
                f"the policy reads {name}, which nobody writes; the environment gives {', '.join(sorted(have))}."
                f"{near_matches(name, have)}"
            )
    written = [canonical_key(key) for key in policy.out_keys]
    for key in env.action_keys:
        if canonical_key(key) not in written:
            names = [key_str(k) for k in written]
            problems.append(
                f"the environment reads the action from {key_str(canonical_key(key))}, which the policy does not "
                f"write; it writes {', '.join(names)}.{near_matches(key_str(canonical_key(key)), names)}"
            )
    _report(
        component,
        problems,
        "Rename the keys of the policy (in_keys, out_keys) or of the environment (RenameTransform).",
    )


def check_action(component: str, env: EnvBase, root: FlatDict) -> None:
    """Compare the first action with the environment's action spec.

    Raises:
        WiringError: no action, or one of another shape, dtype or device, or outside the bounds.
    """
    problems = []
    for key, spec in env.full_action_spec.flat_items():
        value = root.get(key)
        name = key_str(key)
        if value is None:
            problems.append(f"the policy wrote no {name}; the entries are {', '.join(sorted(map(key_str, root)))}.")
            continue
        found: list[tuple[str, object, object]] = [("shape", tuple(spec.shape), tuple(value.shape))]
        if isinstance(spec, LeafSpec):
            found.append(("dtype", spec.dtype, value.dtype))
        if spec.device is not None:
            found.append(("device type", spec.device.type, value.device.type))
        differs = [f"{what} {have} where {want} is expected" for what, want, have in found if want != have]
        if differs:
            problems.append(f"{name} has {' and '.join(differs)}.")
        elif not spec.is_in(value):
            problems.append(f"{name} is outside of the action spec {spec}; found {value.detach().cpu()}.")
    _report(
        component,
        problems,
        "Make the policy's last layer and distribution fit env.action_spec "
        '(distribution_kwargs={"low": env.action_spec.space.low, "high": env.action_spec.space.high} for TanhNormal).',
    )


def _report(component: str, problems: list[str], fix: str) -> None:
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise WiringError(f"{component}: the policy and the environment do not fit together:\n{lines}\n{fix}")
