"""What `EnvBase.step` and `EnvBase.reset` check of their input."""

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._action_masks import ActionMasks
from rl_envs._env_specs import EnvSpecs
from rl_envs._ragged import row_entries
from rl_specs import (
    Composite,
    DeviceError,
    DTypeError,
    FlatDict,
    LeafSpec,
    ShapeError,
    SpecError,
    StackedComposite,
    TensorSpec,
    key_str,
    message,
    missing_key,
)

_ACTION_FIX = (
    "Write it with a policy whose out_keys name it, with env.rand_action(td), or rename the policy's output to it"
)
_SHAPE_FIX = "Make the last layer of the policy as wide as env.action_spec says, or reshape its output"
_STATE_FIX = "Start from env.reset(), or write it before the step"
_ROUNDING = 1e-5
_BOX_FIX = "Bound the policy (TanhNormal with low and high) or project with env.action_spec.project(action)"
_CATEGORY_FIX = (
    "Write categories in the form of env.action_spec, those that its mask allows, or project with "
    "env.action_spec.project(action)"
)


def check_step_input(component: str, data: TensorDictBase, specs: EnvSpecs, batch_size: torch.Size) -> None:
    """Compare the input of a step with the specs.

    Args:
        component: name of the env.
        data: root entries `[*B]`.
        specs: specs of the env.
        batch_size: batch shape of the env.
    Raises:
        ShapeError: `data` has another batch size, or an entry another shape.
        MissingKeyError: an action or a state entry is missing.
        DTypeError, DeviceError: an entry has another dtype, or is on another device.
        SpecError: an action on the CPU lies outside its spec. Elsewhere values are not looked at: that would wait for
            the device.
    """
    where = f"{component}.step"
    check_tensordict(where, data)
    if specs.rows and data.batch_size == batch_size:
        for index, (row, row_specs) in enumerate(zip(data.unbind(0), specs.rows, strict=True)):
            check_row_input(component, index, row, row_specs)
        return
    if data.batch_size != batch_size:
        raise ShapeError(
            message(
                where,
                "input with another batch size than the env",
                expected=tuple(batch_size),
                found=tuple(data.batch_size),
                fix="Pass one row per env of the batch; env.rollout takes several steps",
            )
        )
    for key, spec in specs.action.flat_items():
        value = data.get(key, None)
        if value is None:
            raise missing_key(where, key, data.keys(include_nested=True, leaves_only=True), fix=_ACTION_FIX)
        if isinstance(value, Tensor):
            _check_form(f"{where}: action {key_str(key)}", value, spec)
            _check_values(f"{where}: action {key_str(key)}", value, spec)
    for key, spec in specs.state.flat_items():
        value = data.get(key, None)
        if value is None:
            raise missing_key(where, key, data.keys(include_nested=True, leaves_only=True), fix=_STATE_FIX)
        if isinstance(value, Tensor):
            _check_form(f"{where}: state {key_str(key)}", value, spec, fix=_STATE_FIX)


def check_row_input(component: str, index: int, data: TensorDictBase, specs: EnvSpecs) -> None:
    """`check_step_input` for one of several environments that differ, whose masks of actions are in `data`."""
    if specs.action_masks:
        ActionMasks(specs).follow(data)
    check_step_input(f"{component}, env {index}", data, specs, specs.done.shape)


def check_root(where: str, data: TensorDictBase, batch_size: torch.Size) -> None:
    """Check that what a person starts from is a TensorDict of the batch size of the env, or of its first dimensions.

    Raises:
        TypeError: it is no TensorDict.
        ShapeError: it has another batch size.
    """
    check_tensordict(where, data)
    if data.batch_size != batch_size[: data.ndim]:
        raise ShapeError(
            message(
                where,
                "input with another batch size than the env",
                expected=tuple(batch_size),
                found=tuple(data.batch_size),
                fix="Pass one row per env of the batch, in a TensorDict with batch_size=env.batch_size",
            )
        )


def check_tensordict(where: str, data: object) -> None:
    """Check that what a person passes is a TensorDict.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(data, TensorDictBase):
        raise TypeError(
            message(
                where,
                "input is no TensorDict",
                expected="a TensorDict of root entries, as env.reset() returns",
                found=type(data).__name__,
                fix="Write into what env.reset() returned, or wrap: TensorDict(entries, batch_size=env.batch_size)",
            )
        )


def check_reset_mask(mask: Tensor, *, batch_size: torch.Size, component: str) -> Tensor:
    """The mask of a reset in its one form.

    Args:
        mask: bool `[*B, 1]` or `[*B]`.
        batch_size: batch shape of the env.
        component: name of the env.
    Returns:
        bool `[*B, 1]`.
    Raises:
        DTypeError: `mask` is not bool.
        ShapeError: it has another shape.
    """
    where = f'{component}.reset: mask "_reset"'
    if mask.dtype is not torch.bool:
        raise DTypeError(message(where, "another dtype", expected=torch.bool, found=mask.dtype, fix="Pass mask.bool()"))
    if mask.shape == (*batch_size, 1):
        return mask
    if mask.shape == batch_size:
        return mask.unsqueeze(-1)
    fix = "Give one flag per row of the batch"
    raise ShapeError(message(where, "another shape", expected=(*batch_size, 1), found=tuple(mask.shape), fix=fix))


def check_first_action(component: str, root: FlatDict, spec: Composite | StackedComposite) -> None:
    """What a policy has written, against the action specs: all there, each of its form and, on the CPU, in its domain.

    Args:
        component: name of the env.
        root: root entries, with what the policy wrote.
        spec: action specs of the env.
    Raises:
        MissingKeyError, ShapeError, DTypeError, DeviceError, SpecError: an action is not what the env reads.
    """
    if isinstance(spec, StackedComposite):
        for index, part in enumerate(spec.specs):
            check_first_action(f"{component}, env {index}", row_entries(root, index), part)
        return
    for key, leaf in spec.flat_items():
        if key not in root:
            raise missing_key(f"{component}: the policy wrote no action", key, root, fix=_ACTION_FIX)
        value = root[key]
        if isinstance(value, Tensor):
            _check_form(f"{component}: action {key_str(key)}", value, leaf)
            _check_values(f"{component}: action {key_str(key)}", value, leaf)


def _check_form(where: str, value: Tensor, spec: TensorSpec, fix: str = _SHAPE_FIX) -> None:
    if value.shape != spec.shape and not (isinstance(spec, LeafSpec) and spec.fits(value.shape)):
        raise ShapeError(
            message(
                where,
                "another shape than its spec",
                expected=tuple(spec.shape),
                found=tuple(value.shape),
                fix=fix,
            )
        )
    if isinstance(spec, LeafSpec) and value.dtype is not spec.dtype:
        raise DTypeError(
            message(where, "another dtype", expected=spec.dtype, found=value.dtype, fix=f"Cast with .to({spec.dtype})")
        )
    if spec.device is not None and value.device != spec.device:
        raise DeviceError(
            message(
                where,
                "another device than the env",
                expected=spec.device,
                found=value.device,
                fix="Move the policy, or the env with env.to(device)",
            )
        )


def _check_values(where: str, value: Tensor, spec: TensorSpec) -> None:
    if value.device.type != "cpu" or spec.is_in(value):
        return
    if value.is_floating_point() and torch.allclose(spec.project(value), value, rtol=_ROUNDING, atol=_ROUNDING):
        return
    raise SpecError(
        message(
            where,
            "outside its bounds",
            expected=spec,
            found=value.detach(),
            fix=_BOX_FIX if isinstance(spec, LeafSpec) and spec.domain == "continuous" else _CATEGORY_FIX,
        )
    )
