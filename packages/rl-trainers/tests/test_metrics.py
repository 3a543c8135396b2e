"""metrics.csv holds whole rows only and can be cut at a checkpoint."""

import errno
import math
from pathlib import Path
from typing import Any

import pytest

from rl_trainers import CSVLogger, MetricsError, read_metrics


def test_rows_are_on_disk_when_log_returns(tmp_path: Path) -> None:
    """Each row can be read before the logger is closed; NaN is an empty cell and numbers keep every bit."""
    logger = CSVLogger(tmp_path / "metrics.csv")
    logger.log(10, {"a": 0.1 + 0.2, "b": math.nan})
    assert (tmp_path / "metrics.csv").read_text() == "frames,a,b\n10,0.30000000000000004,\n"
    logger.log(20, {"b": 2, "a": 1e-300})
    logger.close()
    logger.close()
    columns = read_metrics(tmp_path / "metrics.csv")
    assert columns["frames"] == [10, 20]
    assert columns["a"] == [0.1 + 0.2, 1e-300]
    assert math.isnan(columns["b"][0])
    assert columns["b"][1] == 2


def test_new_file_never_overwrites(tmp_path: Path) -> None:
    """A new log refuses a file that is there."""
    (tmp_path / "metrics.csv").write_text("precious")
    with pytest.raises(FileExistsError):
        CSVLogger(tmp_path / "metrics.csv")
    assert (tmp_path / "metrics.csv").read_text() == "precious"


@pytest.mark.parametrize("tail", ["", "40,4", "40,4\n50"])
def test_resume_drops_rows_after_the_checkpoint(tmp_path: Path, tail: str) -> None:
    """Rows after the checkpoint's step, whole or torn, are dropped; the following ones are appended."""
    path = tmp_path / "metrics.csv"
    path.write_text("frames,a\n10,1\n20,2\n30,3\n" + tail)
    logger = CSVLogger(path, resume_step=20)
    logger.log(30, {"a": 9})
    logger.close()
    assert path.read_text() == "frames,a\n10,1\n20,2\n30,9\n"


@pytest.mark.parametrize("content", [None, "", "frames,a", "frames,a\n", "frames,a\n10,1\n"])
def test_resume_at_the_start(tmp_path: Path, content: str | None) -> None:
    """Resuming at step 0 works whatever there is: no file, a torn header, only a header, or rows."""
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_text(content)
    logger = CSVLogger(path, resume_step=0)
    logger.log(10, {"a": 5})
    logger.close()
    assert path.read_text() == "frames,a\n10,5\n"


def test_changed_columns_are_refused(tmp_path: Path) -> None:
    """A row with other names than the first is refused by name."""
    logger = CSVLogger(tmp_path / "metrics.csv")
    logger.log(1, {"a": 1})
    with pytest.raises(MetricsError, match="columns changed: a, b"):
        logger.log(2, {"b": 1})
    logger.close()


def test_full_disk_keeps_rows_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows that do not fit on the disk wait in memory, with one warning, and are written when there is room."""
    logger = CSVLogger(tmp_path / "metrics.csv")
    logger.log(1, {"a": 1})

    def half_a_write(self: CSVLogger, content: bytes) -> None:
        self._file.write(content[:3])
        self._file.flush()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(CSVLogger, "_write", half_a_write)
        logger.log(2, {"a": 2})
        logger.log(3, {"a": 3})
    assert (tmp_path / "metrics.csv").read_text() == "frames,a\n1,1\n"
    assert capsys.readouterr().err.count("No space left on device") == 1
    logger.log(4, {"a": 4})
    logger.close()
    assert (tmp_path / "metrics.csv").read_text() == "frames,a\n1,1\n2,2\n3,3\n4,4\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "holds no rows"),
        ("frames,a\n", "holds no rows"),
        ("x,y\n1,2\n", "holds no rows"),
        ("frames,a\n1,b\n", "text where numbers belong"),
        ("frames,a\n1\n", "another length"),
    ],
)
def test_unreadable_metrics_are_explained(tmp_path: Path, content: str, reason: str) -> None:
    """A file that holds no metrics is refused with the reason."""
    path = tmp_path / "metrics.csv"
    path.write_text(content)
    with pytest.raises(MetricsError, match=reason):
        read_metrics(path)


def test_missing_metrics_name_the_option(tmp_path: Path) -> None:
    """A run without metrics is told how to get some."""
    with pytest.raises(MetricsError, match=r"logger\.csv=true"):
        read_metrics(tmp_path / "metrics.csv")


def test_unfinished_last_line_is_left_out(tmp_path: Path) -> None:
    """A line that a kill has torn is not read as a row."""
    path = tmp_path / "metrics.csv"
    path.write_text("frames,a\n1,1\n2,")
    columns: dict[str, Any] = read_metrics(path)
    assert columns == {"frames": [1.0], "a": [1.0]}
