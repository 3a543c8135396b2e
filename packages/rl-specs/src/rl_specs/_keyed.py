"""What `Composite` and `StackedComposite` share: entries by key."""

from abc import abstractmethod
from typing import Any, Self

from torch import Size

from rl_specs._base import TensorSpec
from rl_specs._tree import is_key
from rl_specs.errors import missing_key
from rl_specs.keys import NestedKey, canonical_key


class KeyedSpec(TensorSpec):
    """A spec of a TensorDict. Abstract: subclasses say where the entries are."""

    @abstractmethod
    def get(self, key: NestedKey, default: TensorSpec | None = None) -> Any:
        """Spec under `key`, or `default`."""

    @abstractmethod
    def set(self, key: NestedKey, spec: Any) -> None:
        """Put `spec` under `key`."""

    @abstractmethod
    def keys(self, include_nested: bool = False, leaves_only: bool = False) -> list[NestedKey]:
        """Keys in the order they were set.

        Args:
            include_nested: go into nested specs, whose keys are tuples.
            leaves_only: leave out nested specs themselves.
        """

    @abstractmethod
    def __delitem__(self, key: NestedKey) -> None:
        """Remove the entry under `key`.

        Raises:
            MissingKeyError: there is none.
        """

    @property
    def batch_size(self) -> Size:
        """Same as `shape`."""
        return self._shape

    def values(self, include_nested: bool = False, leaves_only: bool = False) -> list[Any]:
        """Specs in the order of `keys`."""
        return [spec for _, spec in self.items(include_nested, leaves_only)]

    @abstractmethod
    def items(self, include_nested: bool = False, leaves_only: bool = False) -> list[tuple[NestedKey, Any]]:
        """Pairs of key and spec in the order of `keys`."""

    def _owned(self) -> Self:
        return self.clone()

    def __getitem__(self, key: Any) -> Any:
        if not is_key(key):
            return self.index(key)
        spec = self.get(key)
        if spec is None:
            fix = "Use one of the keys there are"
            raise missing_key(type(self).__name__, canonical_key(key), self.keys(True), fix=fix)
        return spec

    def __setitem__(self, key: NestedKey, spec: Any) -> None:
        self.set(key, spec)

    def __contains__(self, key: object) -> bool:
        return is_key(key) and self.get(key) is not None  # type: ignore[arg-type]  # is_key says so
