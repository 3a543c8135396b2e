"""A deterministic policy."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from rl_modules._spec import out_keys_of
from rl_modules.safe_module import SafeModule
from rl_specs import NestedKey, TensorSpec


@final
class Actor(SafeModule):
    """A `SafeModule` whose keys default to those of a policy.

    Args:
        module: network from observations to actions.
        in_keys: keys that are read, `["observation"]` by default.
        out_keys: keys that are written; by default the key of a `Composite` spec, else `["action"]`.
        spec: spec of the action, or a `Composite` with specs by output key.
        safe: whether actions are projected into their spec.
    Raises:
        ValueError: `safe` without `spec`, or a spec with several entries and no `out_keys`.
        TypeError: `spec` is no spec.
        SpecError: `spec` has none of the outputs.
    """

    def __init__(
        self,
        module: Callable[..., Any],
        in_keys: Sequence[NestedKey] | Mapping[str, NestedKey] | NestedKey | None = None,
        out_keys: Sequence[NestedKey] | NestedKey | None = None,
        *,
        spec: TensorSpec | None = None,
        safe: bool = False,
    ) -> None:
        keys = ["observation"] if in_keys is None else in_keys
        super().__init__(module, keys, out_keys_of("Actor", out_keys, spec), spec, safe=safe)
