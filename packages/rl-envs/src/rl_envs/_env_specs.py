"""The five specs of an environment as one immutable value, and the views of it that people ask for."""

from dataclasses import dataclass, replace

import torch

from rl_specs import (
    Categorical,
    Composite,
    DTypeError,
    NestedKey,
    SpecError,
    StackedComposite,
    TensorSpec,
    canonical_key,
    join_key,
    key_str,
    message,
)

FLAG_NAMES = ("done", "terminated", "truncated")


@dataclass(frozen=True)
class EnvSpecs:
    """Specs of everything an environment reads and returns, each a `Composite` in full form.

    Args:
        observation: entries that a reset and a step return; shapes include the batch size of the env.
        action: entries that a step reads, chosen by the policy.
        reward: reward entries of a step.
        done: flags, complete: `done`, `terminated` and `truncated` at each level that has one of them.
        state: further entries that a step reads.
        action_masks: `(action, entry)` for each action of which an observation entry says which categories are allowed.
        first_flags: observation entries that are True at the start of an episode alone.
        loses_ends: whether the observations of a step that ends an episode are fill values, the true ones being lost.
        rows: specs of each environment of a batch of such as differ, `[*B]`; the other fields are stacks of theirs,
            `StackedComposite`s where no `Composite` can be. Empty where all environments are alike.
    """

    observation: Composite
    action: Composite
    reward: Composite
    done: Composite
    state: Composite
    action_masks: tuple[tuple[NestedKey, NestedKey], ...] = ()
    first_flags: tuple[NestedKey, ...] = ()
    loses_ends: bool = False
    rows: "tuple[EnvSpecs, ...]" = ()

    def to(self, device: torch.device | str) -> "EnvSpecs":
        """The same specs on `device`."""
        return replace(
            self,
            observation=self.observation.to(device),
            action=self.action.to(device),
            reward=self.reward.to(device),
            done=self.done.to(device),
            state=self.state.to(device),
            rows=tuple(row.to(device) for row in self.rows),
        )

    def expand(self, batch_size: torch.Size) -> "EnvSpecs":
        """The same specs with dimensions in front, so that all of them have the batch shape `batch_size`."""
        return replace(
            self,
            observation=self.observation.expand(batch_size),
            action=self.action.expand(batch_size),
            reward=self.reward.expand(batch_size),
            done=self.done.expand(batch_size),
            state=self.state.expand(batch_size),
        )

    def input_spec(self) -> Composite:
        """Composite with `full_action_spec` and `full_state_spec`."""
        return Composite({"full_action_spec": self.action, "full_state_spec": self.state}, shape=self.action.shape)

    def output_spec(self) -> Composite:
        """Composite with `full_observation_spec`, `full_reward_spec` and `full_done_spec`."""
        entries = {
            "full_observation_spec": self.observation,
            "full_reward_spec": self.reward,
            "full_done_spec": self.done,
        }
        return Composite(entries, shape=self.observation.shape)


def full_spec(spec: TensorSpec, key: NestedKey, batch_size: torch.Size) -> Composite:
    """`spec` as a Composite: itself if it is one, else one entry under `key`.

    Args:
        spec: a leaf spec or a Composite; its shape starts with `batch_size`.
        key: name of the entry that a leaf becomes.
        batch_size: batch shape of the result.
    Returns:
        A Composite whose shape is `batch_size`.
    Raises:
        TypeError: `spec` is no spec.
        SpecError: an entry is a stack of specs with different entries.
    """
    if not isinstance(spec, TensorSpec):
        raise TypeError(
            message(
                f"spec of {key_str(key)}",
                "not a spec",
                expected="a spec of rl_specs",
                found=type(spec).__name__,
                fix="Use Composite({name: spec, ...}) for several entries, spec_from_space for a Gymnasium space",
            )
        )
    if not isinstance(spec, Composite):
        full = Composite({key: spec}, shape=batch_size)
    elif spec.shape == batch_size:
        full = spec
    else:
        full = Composite({name: spec[name] for name in spec.keys()}, shape=batch_size, device=spec.device)  # noqa: SIM118
    for name, leaf in full.flat_items():
        if isinstance(leaf, StackedComposite):
            problem = "a stack of specs with different entries, which a step cannot hold"
            fix = 'Give each of them a group of its own, such as ("agent_0", "observation")'
            raise SpecError(message(f"spec of {key_str(name)}", problem, fix=fix))
    return full


def leaf_view(full: Composite) -> TensorSpec:
    """The only leaf of `full`; `full` itself when it has several, or none."""
    leaves = [spec for _, spec in full.flat_items()]
    return leaves[0] if len(leaves) == 1 else full


def unbatched_view(spec: TensorSpec, batch_dims: int) -> TensorSpec:
    """`spec` of one row: without its first `batch_dims` dimensions."""
    return spec.index((0,) * batch_dims) if batch_dims else spec


def complete_done_spec(spec: TensorSpec, batch_size: torch.Size, device: torch.device | None) -> Composite:
    """Done spec with all three flags at each level that has one of them.

    Args:
        spec: what an author declared: a leaf (the flag `done`) or a Composite of flags.
        batch_size: batch shape of the env.
        device: device of the env.
    Returns:
        Composite of bool flags; entries with other names are kept.
    Raises:
        DTypeError: a flag is not bool.
    """
    full = full_spec(spec, "done", batch_size)
    entries: dict[NestedKey, TensorSpec] = {}
    for key, leaf in full.flat_items():
        path = (key,) if isinstance(key, str) else key
        names = FLAG_NAMES if path[-1] in FLAG_NAMES else (path[-1],)
        if path[-1] in FLAG_NAMES and leaf.dtype is not torch.bool:
            fix = "Use Categorical(2, shape=(*batch_size, 1), dtype=torch.bool)"
            component, problem = f"done_spec: {key_str(key)}", "a flag of another dtype"
            raise DTypeError(message(component, problem, expected=torch.bool, found=leaf.dtype, fix=fix))
        for name in names:
            entries[canonical_key((*path[:-1], name))] = leaf
    return Composite(entries, shape=batch_size, device=device)


def default_done_spec(batch_size: torch.Size, device: torch.device | None) -> Composite:
    """The three flags at the root, bool `[*B, 1]`."""
    flag = Categorical(2, shape=torch.Size((*batch_size, 1)), dtype=torch.bool, device=device)
    return Composite(dict.fromkeys(FLAG_NAMES, flag), shape=batch_size, device=device)


def prefixed(key: NestedKey, prefix: str = "next") -> NestedKey:
    """`key` one level down, under `prefix`."""
    return join_key(prefix, key)
