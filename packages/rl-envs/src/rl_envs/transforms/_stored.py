"""What transforms of stored data share: batches `[*B, T]` of steps, time last."""

from typing import TypeVar

from tensordict import TensorDictBase
from torch import Size, Tensor

from rl_specs import NestedKey, ShapeError, TensorMap, key_str, message, missing_key


def stored_only(fix: str = "Give it to a replay buffer, or call it on a batch") -> list[str]:
    """Problem, in words, of a transform that needs several steps at once and was given to an environment."""
    return [f"works on stored steps, not on those that an environment makes one by one. {fix}"]


def as_trajectories(component: str, data: TensorMap, least: int = 1) -> TensorDictBase:
    """`data` as a TensorDict with a dimension of time.

    Args:
        component: who asks, for the message.
        data: a batch of steps `[*B, T]`.
        least: how large `T` has to be.
    Raises:
        TypeError: `data` is no TensorDict.
        ShapeError: it has no batch dimension, or fewer than `least` steps.
    """
    if not isinstance(data, TensorDictBase):
        raise TypeError(message(component, "data", expected="a TensorDict", found=type(data).__name__))
    if data.ndim == 0:
        fix = "Add one with data.unsqueeze(-1); a replay buffer's add(row) does so"
        problem = "the data have no dimension of time"
        raise ShapeError(message(component, problem, expected="[*B, T]", found="[]", fix=fix))
    if data.shape[-1] < least:
        problem = "too few steps in the last dimension"
        raise ShapeError(message(component, problem, expected=f"at least {least}", found=tuple(data.shape)))
    return data


def read_stored(component: str, data: TensorDictBase, key: NestedKey, fix: str) -> Tensor:
    """Entry under `key`.

    Raises:
        MissingKeyError: it is not there.
    """
    value: Tensor | None = data.get(key, None)
    if value is None:
        raise missing_key(component, key, data.keys(True, True), fix=fix)
    return value


def frame_flags(component: str, key: NestedKey, flag: Tensor, batch_size: Size) -> Tensor:
    """One flag a step, `[*B, T]`, from one `[*B, T]`, `[*B, T, 1]` or, of several agents, `[*B, T, *A]`: any of them.

    Raises:
        ShapeError: the flag does not start with the batch shape.
    """
    dims = len(batch_size)
    if flag.shape[:dims] != batch_size:
        expected = f"({', '.join(map(str, batch_size))}, ...)"
        problem = f"{key_str(key)} has another shape"
        raise ShapeError(message(component, problem, expected=expected, found=tuple(flag.shape)))
    flag = flag.bool()
    return flag if flag.ndim == dims else flag.flatten(dims).any(-1)


def under_next(key: NestedKey) -> NestedKey:
    """`key` one level down, under `"next"`."""
    return ("next", key) if isinstance(key, str) else ("next", *key)


def beside(flag: Tensor, value: Tensor) -> Tensor:
    """`flag`, `[*B, T]`, with as many dimensions as `value`, `[*B, T, ...]`."""
    return flag.reshape(flag.shape + (1,) * (value.ndim - flag.ndim))


_Module = TypeVar("_Module")


class Borrowed(list[_Module]):
    """A list of modules that belong to someone else: copies of the holder hold the same modules, not copies."""

    def __deepcopy__(self, memo: dict[int, object]) -> "Borrowed[_Module]":
        return self
