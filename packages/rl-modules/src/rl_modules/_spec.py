"""Specs of what a module writes: brought to one form, moved with the module, and enforced."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_specs import Composite, NestedKey, SpecError, TensorSpec, canonical_keys, key_str, message, near_matches


class HasSpec(Protocol):
    """A module that says what it writes."""

    out_keys: list[NestedKey]

    @property
    def spec(self) -> Composite | None:
        """Specs of the outputs by key."""


def spec_by_key(component: str, spec: TensorSpec | None, out_keys: Sequence[NestedKey]) -> Composite | None:
    """`spec` as specs by output key; a leaf describes the first output.

    Raises:
        TypeError: `spec` is no spec.
        SpecError: a `Composite` that has none of the outputs.
    """
    if spec is None:
        return None
    if isinstance(spec, Composite):
        keys = [key for key, _ in spec.flat_items()]
        if not any(key in spec for key in out_keys):
            near = near_matches(key_str(out_keys[0]), [key_str(key) for key in keys]) if out_keys else ""
            raise SpecError(
                message(
                    component,
                    f"the spec describes none of the out_keys.{near}",
                    expected=f"one of {', '.join(key_str(key) for key in keys) or 'no key at all'}",
                    found=f"out_keys {', '.join(key_str(key) for key in out_keys)}",
                    fix="Name the out_keys as the spec does, or pass the spec of the entry alone",
                )
            )
        return spec.clone()
    if isinstance(spec, TensorSpec):
        return Composite({out_keys[0]: spec})
    raise TypeError(
        message(
            component,
            "spec is no spec",
            expected="a spec of rl_specs, such as env.action_spec",
            found=type(spec).__name__,
        )
    )


def moved_spec(spec: Composite | None, convert: Callable[[Tensor], Tensor]) -> Composite | None:
    """`spec` on the device to which `convert`, a conversion of a module's tensors, takes them."""
    if spec is None:
        return None
    device = next((leaf.device for _, leaf in spec.flat_items() if leaf.device is not None), None)
    target = convert(torch.zeros(1, device=device)).device
    return spec if target.type == "meta" or target == device else spec.to(target)


def out_keys_of(component: str, out_keys: NestedKey | Sequence[NestedKey] | None, spec: TensorSpec | None) -> list[Any]:
    """Output keys as given, else the one key of a `Composite` spec, else `["action"]`.

    Raises:
        ValueError: the spec has several keys, so that one cannot be chosen.
    """
    if out_keys is not None:
        return canonical_keys(out_keys)
    keys = [key for key, _ in spec.flat_items()] if isinstance(spec, Composite) else []
    if len(keys) > 1:
        raise ValueError(
            message(
                component,
                "the spec has several entries, and out_keys does not say which are written",
                found=", ".join(key_str(key) for key in keys),
                fix=f"Give out_keys=[{key_str(keys[0])}] or others of them",
            )
        )
    return keys or ["action"]


def project_outputs(module: Any, args: Any, output: Any) -> Any:
    """Forward hook of a safe module: each output that a spec describes is projected into it.

    Args:
        module: the module, a `HasSpec`.
        args: its arguments, unused.
        output: the TensorDict it wrote into, or its outputs when it was called with tensors.
    """
    owner: HasSpec = module
    if owner.spec is None:
        return output
    for position, key in enumerate(owner.out_keys):
        leaf = owner.spec.get(key)
        if leaf is None:
            continue
        if isinstance(output, TensorDictBase):
            output.set(key, leaf.project(output.get(key)))
        elif isinstance(output, tuple):
            output = (*output[:position], leaf.project(output[position]), *output[position + 1 :])
        else:
            output = leaf.project(output)
    return output
