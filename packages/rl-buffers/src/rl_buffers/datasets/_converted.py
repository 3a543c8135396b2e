"""The converted form of a data set: rows in files that are mapped into memory, and what is known of them."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from rl_buffers.datasets._partial_folder import partial_folder, put
from rl_buffers.datasets._source import RowSource
from rl_buffers.storages import LazyMemmapStorage
from rl_specs import SpecError, message

_FORMAT = 1
_HEAD = "dataset.json"
_ROWS = "rows"


def is_converted(folder: Path) -> bool:
    """Whether a folder holds the converted form of a data set."""
    return (folder / _HEAD).is_file()


def opened(component: str, source: RowSource, folder: Path) -> tuple[LazyMemmapStorage, dict[str, Any]]:
    """Storage and metadata of a data set, converted first where that has not been done.

    The conversion goes to a folder of its own, which takes its name when it is complete. Of several programs that
    convert a data set at the same time the first to be ready gives the files that all of them use.

    Args:
        component: who asks, for messages.
        source: where rows come from.
        folder: the converted form.
    Raises:
        SpecError: the folder holds another format, or the data set has no rows.
    """
    head = folder / _HEAD
    if not is_converted(folder):
        _convert(component, source, folder)
    try:
        found = json.loads(head.read_text())
        version, rows, capacity, metadata = (found[key] for key in ("format", "rows", "capacity", "metadata"))
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(component, head, str(error)) from error
    if version != _FORMAT:
        raise _damaged(component, head, f"format {version}, expected {_FORMAT}")
    storage = LazyMemmapStorage(capacity, scratch_dir=folder / _ROWS, existsok=True)
    if len(storage) != rows:
        raise _damaged(component, folder / _ROWS, f"{len(storage)} rows, expected {rows}")
    return storage, metadata


def _convert(component: str, source: RowSource, folder: Path) -> None:
    with partial_folder(folder) as partial:
        capacity = source.most_rows()
        count = _copied(component, source, partial / _ROWS, capacity)
        sizes = {"rows": count, "capacity": capacity}
        head = {"format": _FORMAT, "name": source.name, **sizes, "metadata": source.metadata()}
        with (partial / _HEAD).open("w") as file:
            json.dump(head, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        try:
            put(partial, folder)
        except OSError:  # there is something
            if not is_converted(folder):
                shutil.rmtree(folder)
                partial.rename(folder)


def _copied(component: str, source: RowSource, folder: Path, capacity: int) -> int:
    """Write all rows to a storage in `folder`; returns their number, which may be less than was announced."""
    storage = LazyMemmapStorage(max(1, capacity), scratch_dir=folder)
    count = 0
    try:
        for block in source.blocks():
            checked = storage.check(block, component)
            if checked.count:
                storage.write(slice(count, count + checked.count), checked)
                count += checked.count
    finally:
        storage.close()
    if count == 0:
        raise SpecError(message(component, f"the data set {source.name} has no steps"))
    return count


def _damaged(component: str, path: Path, problem: str) -> SpecError:
    fix = "Delete the folder, and the data set is converted anew"
    return SpecError(message(component, f"{path} is not a converted data set: {problem}", fix=fix))
