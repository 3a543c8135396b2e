"""A critic."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from tensordict.nn import TensorDictModule

from rl_specs import NestedKey


@final
class ValueOperator(TensorDictModule):
    """A `TensorDictModule` whose keys default to those of a critic.

    Args:
        module: network from what it reads to values `[*B, 1]`.
        in_keys: keys that are read, `["observation"]` by default.
        out_keys: keys that are written; by default `["state_action_value"]` if an action (a key that ends in
            `"action"`) is read, else `["state_value"]`.
    """

    def __init__(
        self,
        module: Callable[..., Any],
        in_keys: Sequence[NestedKey] | Mapping[str, NestedKey] | NestedKey | None = None,
        out_keys: Sequence[NestedKey] | NestedKey | None = None,
    ) -> None:
        keys: Any = ["observation"] if in_keys is None else in_keys
        if out_keys is None:
            out_keys = ["state_action_value" if _reads_action(keys) else "state_value"]
        super().__init__(module, keys, out_keys)


def _reads_action(in_keys: Any) -> bool:
    if isinstance(in_keys, str):
        return in_keys == "action"
    if isinstance(in_keys, tuple):
        return bool(in_keys) and _reads_action(in_keys[-1])
    return any(_reads_action(key) for key in (in_keys.values() if isinstance(in_keys, Mapping) else in_keys))
