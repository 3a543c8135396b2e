"""A module between keys of a TensorDict that knows the spec of what it writes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from tensordict.nn import TensorDictModule
from torch import Tensor

from rl_modules._spec import moved_spec, project_outputs, spec_by_key
from rl_specs import Composite, NestedKey, TensorSpec, message


class SafeModule(TensorDictModule):
    """A `TensorDictModule` with a spec of its outputs, into which they can be projected.

    Args:
        module: network or function from the entries under `in_keys` to those under `out_keys`.
        in_keys: keys that are read, in the order of the network's arguments, or a mapping from its argument names.
        out_keys: keys that are written.
        spec: spec of the first output, or a `Composite` with specs by output key.
        safe: whether outputs are projected into their spec.
        inplace: whether results go into the TensorDict that was read (`True`), a new one (`False`), or an empty one of
            its batch size (`"empty"`).
    Raises:
        ValueError: `safe` without `spec`.
        TypeError: `spec` is no spec.
        SpecError: `spec` has none of the outputs.
    """

    def __init__(
        self,
        module: Callable[..., Any],
        in_keys: Sequence[NestedKey] | Mapping[str, NestedKey] | NestedKey,
        out_keys: Sequence[NestedKey] | NestedKey,
        spec: TensorSpec | None = None,
        *,
        safe: bool = False,
        inplace: bool | str = True,
    ) -> None:
        super().__init__(module, in_keys, out_keys, inplace=inplace)
        component = type(self).__name__
        require_spec(component, spec, safe)
        self._spec = spec_by_key(component, spec, self.out_keys)
        self.safe = safe
        if safe:
            self.register_forward_hook(project_outputs)

    @property
    def spec(self) -> Composite | None:
        """Specs by output key, on the device that the module was moved to."""
        return self._spec

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._spec = moved_spec(self._spec, fn)
        return self


def require_spec(component: str, spec: TensorSpec | None, safe: bool) -> None:
    """Refuse `safe=True` when there is nothing to be safe about.

    Raises:
        ValueError: `safe` without `spec`.
    """
    if safe and spec is None:
        raise ValueError(
            message(
                component,
                "safe=True projects outputs into their spec, and there is none",
                fix="Give spec=env.action_spec, or leave safe at False",
            )
        )
