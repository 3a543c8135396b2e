"""`metrics.csv`: a row per batch, whole rows only, resumable at a checkpoint's row.

Columns that start with `time/` depend on the machine (elapsed seconds, frames per second); all others are the same, to
the last bit, in two runs with one seed.
"""

import csv
import io
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rl_specs.errors import message
from rl_trainers.errors import MetricsError

WALL_CLOCK_PREFIX = "time/"


def _line(values: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _cell(value: float) -> str:
    return "" if isinstance(value, float) and math.isnan(value) else repr(value)


class CSVLogger:
    """Appends rows to `metrics.csv`; each is on disk when `log` returns.

    A full disk does not stop training: rows wait in memory, a warning goes to stderr, and the next `log` tries again.

    Args:
        path: the file.
        resume_step: keep the rows up to this step and drop those after it; `None` starts a new file.
    Raises:
        MetricsError: the file is not one of metrics.
        FileExistsError: a new file was asked for and one is there.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        self.path = path
        self._columns: list[str] | None = None
        self._pending = ""
        self._warned = False
        if resume_step is not None and path.exists():
            try:
                self._truncate(resume_step)
            except ValueError as error:
                problem, fix = f"{path} is not what a run writes ({error})", "Move it away, and resume again"
                raise MetricsError(message("metrics", problem, fix=fix)) from error
        if resume_step is None:
            path.touch(exist_ok=False)
        self._file = path.open("ab")
        self._size = path.stat().st_size

    def _truncate(self, step: int) -> None:
        lines = self.path.read_text().splitlines(keepends=True)
        if not lines or not lines[0].endswith("\n"):
            kept: list[str] = []
        else:
            self._columns = next(csv.reader([lines[0]]))
            whole = [line for line in lines[1:] if line.endswith("\n")]
            kept = [lines[0], *(line for line in whole if int(line.split(",", 1)[0]) <= step)]
        temporary = self.path.with_name(self.path.name + ".partial")
        temporary.write_text("".join(kept))
        temporary.replace(self.path)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append a row; the first row decides the columns.

        Args:
            step: frames so far, the first column.
            metrics: name to number; NaN makes an empty cell.
        Raises:
            MetricsError: the names are not those of the first row.
        """
        columns = ["frames", *metrics]
        if self._columns is None:
            self._columns = columns
            self._pending += _line(columns)
        elif set(columns) != set(self._columns):
            odd = sorted(set(columns) ^ set(self._columns))
            raise MetricsError(
                message("metrics.csv", f"the columns changed: {', '.join(odd)}", fix="Log the same names in each row")
            )
        values = {name: _cell(value) for name, value in metrics.items()}
        self._pending += _line([step, *(values[name] for name in self._columns[1:])])
        self._flush()

    def _flush(self) -> None:
        content = self._pending.encode()
        try:
            self._write(content)
        except OSError as error:
            os.ftruncate(self._file.fileno(), self._size)
            if not self._warned:
                print(
                    f"metrics.csv: not written ({error.strerror}); rows are kept in memory and tried again.",
                    file=sys.stderr,
                )
                self._warned = True
            return
        self._size += len(content)
        self._pending = ""
        self._warned = False

    def _write(self, content: bytes) -> None:
        descriptor = self._file.fileno()
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        if not self._file.closed:
            if self._pending:
                self._flush()
            self._file.close()


def read_metrics(path: Path) -> dict[str, list[float]]:
    """Columns of a metrics file; an empty cell is NaN and an unfinished last line is left out.

    Args:
        path: the file.
    Raises:
        MetricsError: it is not there, empty, or not such a file.
    """
    if not path.is_file():
        raise MetricsError(message("metrics", f"{path} is not there", fix="Train with logger.csv=true"))
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        fix = "Restore it from a backup, or delete it"
        raise MetricsError(message("metrics", f"{path} is no text ({error.reason})", fix=fix)) from error
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    rows = list(csv.reader(lines))
    if len(rows) < 2 or rows[0][:1] != ["frames"]:
        raise MetricsError(
            message("metrics", f"{path} holds no rows", expected="a header that starts with frames, and rows")
        )
    try:
        values = [[float(cell) if cell else math.nan for cell in row] for row in rows[1:]]
    except ValueError as error:
        raise MetricsError(message("metrics", f"{path} holds text where numbers belong ({error})")) from error
    if any(len(row) != len(rows[0]) for row in values):
        raise MetricsError(message("metrics", f"{path} has rows of another length than its header"))
    return {name: [row[index] for row in values] for index, name in enumerate(rows[0])}
