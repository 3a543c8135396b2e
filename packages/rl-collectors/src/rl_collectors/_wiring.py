"""What is checked once, when a policy meets an environment: all that does not fit, in one report."""

from collections.abc import Callable
from typing import Any

from tensordict.nn import TensorDictModuleBase

from rl_envs import EnvBase, ExplorationType
from rl_specs import FlatDict, LeafSpec, SpecError, TensorSpec, canonical_key, key_str, message, near_matches


class WiringError(SpecError):
    """A policy and an environment do not fit together."""


_ACTION_FIXES = {
    "shape": "Make the policy's last layer as wide as env.action_spec says.",
    "dtype": "Cast the policy's output to the dtype of env.action_spec.",
    "device type": "Give the collector env_device and policy_device, so that it moves the data between them.",
}
_BOUNDS_FIX = (
    "Bound the policy, with TanhNormal and distribution_kwargs="
    '{"low": env.action_spec.space.low, "high": env.action_spec.space.high} for instance.'
)


def check_integer(component: str, name: str, value: object) -> None:
    """Check the type of an argument that counts.

    Raises:
        TypeError: it is no integer.
    """
    if not isinstance(value, int):
        found = f"{type(value).__name__} {value!r}"
        fix = f"Pass {name}={int(value)}" if isinstance(value, float) else f"Pass a number as {name}"
        raise TypeError(message(component, name, expected="an integer", found=found, fix=fix))


def check_count(component: str, name: str, value: int, *, expected: str, low: int) -> None:
    """Check an argument that counts frames.

    Raises:
        TypeError: it is no integer.
        ValueError: it is below `low`.
    """
    check_integer(component, name, value)
    if value < low:
        fix = f"Pass {name}={low} or more"
        raise ValueError(message(component, f"{name} out of range", expected=expected, found=value, fix=fix))


def check_source(component: str, source: object) -> None:
    """Check that something is a callable that may make an environment.

    Raises:
        TypeError: it is none.
    """
    if not callable(source):
        name = repr(source) if isinstance(source, str) else '"CartPole-v1"'
        expected, found = "an environment, or a callable that makes one", f"{type(source).__name__} {source!r}"
        fix = f"Pass GymEnv({name}), or lambda: GymEnv({name})"
        raise TypeError(message(component, "create_env_fn", expected=expected, found=found, fix=fix))


def check_env(component: str, env: object) -> None:
    """Check that something is an environment that can be used.

    Raises:
        TypeError: it is none.
        ValueError: it has been closed.
    """
    if not isinstance(env, EnvBase):
        raise TypeError(
            message(
                component,
                "create_env_fn gave no environment",
                expected="an rl_envs.EnvBase",
                found=type(env).__name__,
                fix="Wrap it: rl_envs.GymWrapper(env) for a Gymnasium environment",
            )
        )
    if env.is_closed:
        raise ValueError(message(component, f"the environment is closed: {type(env).__name__}", fix="Make a new one"))


def check_storable(component: str, env: EnvBase) -> None:
    """Check that a batch, one block of memory per entry, can hold the steps of an environment.

    Raises:
        WiringError: entries of any size, or without tensors.
    """
    specs = (env.full_observation_spec, env.full_action_spec, env.full_reward_spec, env.full_state_spec)
    leaves = [leaf for composite in specs for leaf in composite.flat_items()]
    wrong = {key: "any size" if spec.is_dynamic else "text or objects" for key, spec in leaves if _is_loose(spec)}
    if wrong:
        found = ", ".join(f"{key_str(key)} of {kind}" for key, kind in wrong.items())
        problem = "a batch is one block of memory per entry, and cannot hold entries of any size or without tensors"
        fix = "Leave them out or bring them to one form with a transform, such as ExcludeTransform"
        raise WiringError(message(component, problem, found=found, fix=fix))


def _is_loose(spec: TensorSpec) -> bool:
    """Whether values of a spec are no tensor, or tensors of different sizes."""
    return spec.dtype is None or spec.is_dynamic


def check_frames(component: str, frames_per_batch: int, num_envs: int) -> int:
    """Steps per batch of each environment.

    Raises:
        TypeError: `frames_per_batch` is no integer.
        ValueError: `frames_per_batch` is not a positive multiple of `num_envs`.
    """
    check_integer(component, "frames_per_batch", frames_per_batch)
    if frames_per_batch <= 0 or frames_per_batch % num_envs:
        below = frames_per_batch // num_envs * num_envs
        choices = [str(n) for n in (below, below + num_envs) if n > 0]
        raise ValueError(
            f"{component}: frames_per_batch does not divide by the number of environments. Expected a positive "
            f"multiple of {num_envs}, found {frames_per_batch}. Pass frames_per_batch={' or '.join(choices)}."
        )
    return frames_per_batch // num_envs


def check_exploration(component: str, value: object) -> None:
    """Check that something is an exploration type.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, ExplorationType):
        choices = ", ".join(f"ExplorationType.{choice.name}" for choice in ExplorationType)
        fix = "Pass ExplorationType.RANDOM to sample"
        raise TypeError(
            message(component, "exploration_type", expected=f"one of {choices}", found=repr(value), fix=fix)
        )


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
        "Rename the keys of the policy (in_keys, out_keys), or declare the environment's specs under these names.",
    )


def check_action(component: str, env: EnvBase, root: FlatDict) -> None:
    """Compare the first action with the environment's action spec.

    Raises:
        WiringError: no action, or one of another shape, dtype or device, or outside the bounds.
    """
    problems = []
    fixes: dict[str, None] = {}
    for key, spec in env.full_action_spec.flat_items():
        value = root.get(key)
        name = key_str(key)
        if value is None:
            names = sorted(map(key_str, root))
            problems.append(
                f"the policy wrote no {name}; the entries are {', '.join(names)}.{near_matches(name, names)}"
            )
            fixes["Write the action with the policy, for a TensorDictModule through out_keys."] = None
            continue
        found: list[tuple[str, object, object]] = [("shape", tuple(spec.shape), tuple(value.shape))]
        if isinstance(spec, LeafSpec):
            found.append(("dtype", spec.dtype, value.dtype))
        if spec.device is not None:
            found.append(("device type", spec.device.type, value.device.type))
        differing = [(what, want, have) for what, want, have in found if want != have]
        if differing:
            texts = [f"{what} {have} where {want} is expected" for what, want, have in differing]
            problems.append(f"{name} has {' and '.join(texts)}.")
            fixes |= dict.fromkeys(_ACTION_FIXES[what] for what, _, _ in differing)
        elif not spec.is_in(value):
            problems.append(f"{name} is outside of the action spec {spec}; found {value.detach().cpu()}.")
            fixes[_BOUNDS_FIX] = None
    _report(component, problems, " ".join(fixes))


def _report(component: str, problems: list[str], fix: str) -> None:
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise WiringError(f"{component}: the policy and the environment do not fit together:\n{lines}\n{fix}")
