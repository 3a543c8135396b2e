"""Rows kept compressed."""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, final

import torch
from torch import Size, Tensor

from rl_buffers._base_list_storage import BaseListStorage
from rl_buffers._checkpointer import StorageCheckpointerBase
from rl_buffers._lazy_tensor_storage import resolved
from rl_buffers._raw import raw_bytes
from rl_buffers._structure import Structure, infer, parse, plain
from rl_buffers._zstd import Zstd
from rl_specs import message

Packer: TypeAlias = Callable[[Tensor], Tensor]


@final
class CompressedListStorage(BaseListStorage):
    """Rows of any kind, in a Python list, their tensors compressed: for images that would not fit in memory.

    The tensors of a row are compressed together, without loss; other objects are kept as they are. A batch is
    decompressed as it is read, row by row, and is a list of rows, for the buffer's `collate_fn`. Checkpoints hold the
    rows compressed.

    Args:
        max_size: capacity in rows; None for no limit.
        compression_fn: makes bytes (uint8 `[m]`) of bytes (uint8 `[n]`); None for zstd.
        decompression_fn: makes the bytes again of what `compression_fn` made; given together with it.
        compression_level: of zstd, 1 to 22: higher is smaller and slower.
        device: where what is read is moved.
        checkpointer: how rows become files; None for `ListStorageCheckpointer()`.
    Raises:
        ImportError: zstd is to be used and the library for it is not installed.
    """

    def __init__(
        self,
        max_size: int | None = None,
        *,
        compression_fn: Packer | None = None,
        decompression_fn: Packer | None = None,
        compression_level: int = 3,
        device: torch.device | str = "cpu",
        checkpointer: StorageCheckpointerBase | None = None,
    ) -> None:
        super().__init__(max_size, checkpointer)
        if (compression_fn is None) != (decompression_fn is None):
            fix = "Give both, or neither for zstd"
            raise ValueError(message("CompressedListStorage", "one of compression_fn and decompression_fn", fix=fix))
        if compression_fn is None or decompression_fn is None:
            zstd = Zstd("CompressedListStorage", compression_level)
            self._compress: Callable[[Tensor], Tensor] = zstd.compress
            self._decompress: Callable[[Tensor], Tensor] = zstd.decompress
            self._method = "zstd"
        else:
            self._compress, self._decompress = compression_fn, decompression_fn
            self._method = "own"
        self._to = resolved(device)
        self._kinds: list[_Kind] = []

    @property
    def is_stacked(self) -> bool:
        """False: a batch is a list of rows."""
        return False

    def compressed_bytes(self) -> int:
        """Bytes that the compressed tensors of the rows stored take."""
        return sum(packed.numel() for _, packed, _ in self._rows)

    def _encode(self, row: Any) -> tuple[int, Tensor, list[Any]]:
        structure, _ = infer(row, lead_dims=0, allow_objects=True)
        leaves: list[Any] = []
        structure.flatten(row, leaves)
        kind = _Kind(structure, [(leaf.dtype, leaf.shape) if isinstance(leaf, Tensor) else None for leaf in leaves])
        parts = [raw_bytes(leaf) for leaf in leaves if isinstance(leaf, Tensor)]
        packed = self._compress(torch.cat(parts) if parts else torch.empty(0, dtype=torch.uint8))
        return self._number(kind), packed, [plain(leaf) for leaf in leaves if not isinstance(leaf, Tensor)]

    def _number(self, kind: "_Kind") -> int:
        """The number of a kind of rows; buffers hold few."""
        for number, known in enumerate(self._kinds):
            if known == kind:
                return number
        self._kinds.append(kind)
        return len(self._kinds) - 1

    def _decode(self, stored: tuple[int, Tensor, list[Any]]) -> Any:
        number, packed, objects = stored
        kind = self._kinds[number]
        return kind.structure.build(_leaves(kind, self._decompress(packed), iter(objects), self._to), (), self._to)

    def head(self) -> dict[str, Any]:
        """See `Rows.head`."""
        head = {"kind": "compressed list", "max_size": self._capacity, "length": self._length}
        return {**head, "method": self._method}

    def state_dict(self) -> dict[str, Any]:
        """Rows as they are kept, compressed, one after another."""
        packed = [packed for _, packed, _ in self._rows]
        return {
            **self.head(),
            "kinds": [kind.describe() for kind in self._kinds],
            "numbers": [number for number, _, _ in self._rows],
            "objects": [objects for _, _, objects in self._rows],
            "sizes": torch.tensor([part.numel() for part in packed], dtype=torch.int64),
            "packed": torch.cat(packed) if packed else torch.empty(0, dtype=torch.uint8),
        }

    def differences(self, state: dict[str, Any]) -> list[str]:
        """See `Storage.differences`: kind, capacity and compression."""
        found = self._common_differences(state, "compressed list")
        if not found and state["method"] != self._method:
            words = {"zstd": "zstd", "own": "a compression_fn"}
            found.append(f"compression: expected {words[self._method]}, found {words[state['method']]}")
        return found

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Storage.load_state_dict`."""
        self._kinds = [_Kind.parse(described) for described in state["kinds"]]
        packed = [part.clone() for part in state["packed"].split(state["sizes"].tolist())]
        objects = [list(of_row) for of_row in state["objects"]]
        self._rows = list(zip(state["numbers"], packed, objects, strict=True))
        self._length = len(self._rows)


class _Kind:
    """How some rows are made: nesting, and dtype and shape of each leaf; None for objects."""

    def __init__(self, structure: Structure, forms: list[tuple[torch.dtype, Size] | None]) -> None:
        self.structure = structure
        self.forms = forms
        self._described = structure.describe()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kind) and self.forms == other.forms and self._described == other._described

    __hash__ = None  # type: ignore[assignment]  # kinds are compared, never looked up

    def describe(self) -> list[Any]:
        """For `parse`."""
        forms = [None if form is None else [str(form[0]).removeprefix("torch."), list(form[1])] for form in self.forms]
        return [self._described, forms]

    @staticmethod
    def parse(described: list[Any]) -> "_Kind":
        """The kind that `describe` described."""
        structure, forms = described
        parsed = [None if form is None else (getattr(torch, form[0]), Size(form[1])) for form in forms]
        return _Kind(parse(structure), parsed)


def _leaves(kind: _Kind, data: Tensor, objects: Iterator[Any], device: torch.device) -> Iterator[Any]:
    """The leaves of a row, in tensors of their own."""
    start = 0
    for form in kind.forms:
        if form is None:
            yield next(objects)
            continue
        dtype, shape = form
        size = shape.numel() * dtype.itemsize
        leaf = torch.empty(shape, dtype=dtype)
        leaf.view(-1).view(torch.uint8).copy_(data[start : start + size])
        start += size
        yield leaf.to(device)
