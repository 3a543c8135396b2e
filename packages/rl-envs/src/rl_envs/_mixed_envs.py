"""Environments of one batch that differ: the specs of the batch, and what they make of missing rows."""

from collections.abc import Sequence
from typing import cast

import torch
from tensordict import LazyStackedTensorDict, TensorDictBase

from rl_envs._action_masks import ActionMasks
from rl_envs._env_specs import EnvSpecs
from rl_envs._ragged import has_ragged, joined_rows, row_entries
from rl_specs import (
    Composite,
    FlatDict,
    NestedKey,
    ShapeError,
    SpecError,
    Stacked,
    StackedComposite,
    TensorMap,
    explain_difference,
    message,
    stack_specs,
)

_FIX = "Bring them to one form with transforms inside each environment"


def stacked_env_specs(component: str, specs: Sequence[EnvSpecs]) -> EnvSpecs:
    """Specs of a batch `[N, *B]` of environments `[*B]`, each of which may have other observations, actions and states.

    Args:
        component: who holds the environments, for messages.
        specs: of each.
    Returns:
        Specs with `rows` where the environments differ in more than bounds.
    Raises:
        SpecError: batch sizes, devices, rewards or flags differ, or entries of one name that cannot be stacked, such as
            a number and a mask.
    """
    first = specs[0]
    batch = torch.Size((len(specs), *first.done.shape))
    if any(each.rows for each in specs):
        problem = "an environment of several that differ, inside of another"
        raise SpecError(message(component, problem, fix="Give all of the environments to one"))
    if all(_is_same(first, other) for other in specs):
        return first.expand(batch)
    _check_frame(component, specs)
    names = ("observation", "action", "reward", "done", "state")
    fields: dict[str, Composite] = {}
    for name in names:
        parts = [getattr(each, name) for each in specs]
        try:
            fields[name] = cast(Composite, stack_specs(parts, 0))  # or a StackedComposite, which has all that is used
            fields[name].flat_items()
        except (SpecError, ShapeError) as error:
            odd = next(index for index, part in enumerate(parts) if not _stacks(parts[0], part))
            problem = f"the {name} specs of env {odd} and env 0 cannot be stacked ({error})"
            raise SpecError(message(component, problem, fix=_FIX)) from error
    masks = {each.action_masks for each in specs}
    is_dense = len(masks) == 1 and not any(_is_stack(field) for field in fields.values())
    return EnvSpecs(
        observation=fields["observation"],
        action=fields["action"],
        reward=fields["reward"],
        done=fields["done"],
        state=fields["state"],
        action_masks=first.action_masks if is_dense else (),
        first_flags=tuple(key for key in first.first_flags if all(key in each.first_flags for each in specs)),
        loses_ends=any(each.loses_ends for each in specs),
        rows=() if is_dense else tuple(specs),
    )


def _stacks(first: Composite, other: Composite) -> bool:
    """Whether specs of two environments can be stacked."""
    try:
        cast(Composite, stack_specs([first, other], 0)).flat_items()
    except (SpecError, ShapeError):
        return False
    return True


def _is_same(first: EnvSpecs, other: EnvSpecs) -> bool:
    if first is other:
        return True
    same = first.output_spec() == other.output_spec() and first.input_spec() == other.input_spec()
    others = ("action_masks", "first_flags", "loses_ends")
    return same and all(getattr(first, name) == getattr(other, name) for name in others)


def _is_stack(spec: Composite | StackedComposite) -> bool:
    return isinstance(spec, StackedComposite) or any(isinstance(leaf, Stacked) for _, leaf in spec.flat_items())


def _check_frame(component: str, specs: Sequence[EnvSpecs]) -> None:
    """Compare what the loop around environments relies on."""
    first = specs[0]
    for index, other in enumerate(specs):
        pairs = ((first.done, other.done), (first.reward, other.reward))
        differences = [explain_difference(a, b) for a, b in pairs if _forms(a) != _forms(b)]
        if other.done.shape != first.done.shape:
            differences = [f"batch size {tuple(first.done.shape)} and {tuple(other.done.shape)}"]
        elif other.done.device != first.done.device:
            differences = [f"device {first.done.device} and {other.done.device}"]
        if differences:
            table = "\n".join(differences)
            where = f"{component}: the specs of env {index} differ from those of env 0"
            raise SpecError(f"{where} in batch size, device, rewards or flags.\n{table}\n{_FIX}.")


def _forms(spec: Composite) -> list[tuple[object, ...]]:
    return sorted((str(key), tuple(leaf.shape), str(leaf.dtype), str(leaf.device)) for key, leaf in spec.flat_items())


def zero_steps(specs: EnvSpecs) -> FlatDict:
    """Zeros for what a step of one environment returns."""
    parts = (specs.observation, specs.reward, specs.done)
    return {key: leaf.zero() for part in parts for key, leaf in part.flat_items()}


def zero_resets(specs: EnvSpecs) -> FlatDict:
    """Zeros for what a reset of one environment returns."""
    parts = (specs.observation, specs.done)
    return {key: leaf.zero() for part in parts for key, leaf in part.flat_items()}


def joined_resets(rows: Sequence[FlatDict | None], specs: EnvSpecs) -> FlatDict:
    """What the environments that were reset returned, as entries of the batch `[N, *B]`, as `stacked_resets` has it.

    Args:
        rows: of each environment; None where it was not reset, and zeros will do.
        specs: of the batch, with `rows`.
    """
    filled: list[FlatDict] = []
    for row, own in zip(rows, specs.rows, strict=True):
        zeros = zero_resets(own)
        filled.append(zeros if row is None else {key: value for key, value in row.items() if key in zeros})
    return joined_rows(filled)


def write_random_rows(data: TensorMap, specs: Sequence[EnvSpecs]) -> None:
    """Draw an action for each environment, one that its mask allows where it has one, and write them.

    Args:
        data: root entries `[N, *B]`, a flat dict or a TensorDict.
        specs: of each environment.
    Raises:
        ShapeError: actions of different forms, and a TensorDict that is no lazy stack of the environments' own.
    """
    if not isinstance(data, TensorDictBase):
        entries = cast(FlatDict, data)
        entries.update(joined_rows([_drawn(row_entries(entries, row), each) for row, each in enumerate(specs)]))
        return
    parts = data.unbind(0)
    drawn = [_drawn(part, each) for part, each in zip(parts, specs, strict=True)]
    if isinstance(data, LazyStackedTensorDict) and data.stack_dim == 0:
        for part, actions in zip(data.tensordicts, drawn, strict=True):
            part.update(actions)
        return
    actions = joined_rows(drawn)
    if has_ragged(actions):
        fix = "Write into what reset returned, or pass no TensorDict"
        raise ShapeError(message("rand_action", "the environments' actions differ in shape", fix=fix))
    for key, value in actions.items():
        data.set(key, value)


def _drawn(row: TensorMap, specs: EnvSpecs) -> dict[NestedKey, torch.Tensor]:
    if specs.action_masks:
        ActionMasks(specs).follow(row)
    return {key: leaf.rand() for key, leaf in specs.action.flat_items()}
