"""The command runs families, writes their files and reports failures by its exit status."""

import json
import sys
from pathlib import Path

import pytest
import run
from _work import Comparison, Contender, Family, RatioBar
from families import FAMILIES


def family(*contenders: Contender) -> Family:
    """One comparison with a bar of two."""
    return Family(
        "tiny", "Tiny", "Tiny.", lambda _: (Comparison("work", contenders, (RatioBar(("peer",), 2.0, ("small",)),)),)
    )


GOOD = (Contender("ours", "good.py", ("6", "frames/s")), Contender("peer", "good.py", ("2", "frames/s"), is_peer=True))


def test_results_are_written(cases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A run leaves JSON, Markdown and picture, tells the bars, and ends well."""
    monkeypatch.setitem(FAMILIES, "tiny", family(*GOOD))
    assert run.main(["tiny", "--rounds", "2", "--peers", sys.executable, "--output", str(cases / "out")]) == 0
    assert {path.name for path in (cases / "out").iterdir()} == {"tiny.json", "tiny.md", "tiny.png"}
    record = json.loads((cases / "out" / "tiny.json").read_text())
    assert record["results"][0]["contenders"][1]["ratio_of_ours"] == {"small": 3.0, "large": 1.0}
    assert "1 of 1 bars met" in capsys.readouterr().out


def test_a_failure_shows_in_the_exit_status(
    cases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A contender that fails is in the table and the summary, and the status is 1; the others are measured."""
    monkeypatch.setitem(FAMILIES, "tiny", family(GOOD[0], Contender("peer", "crash.py", is_peer=True)))
    assert run.main(["tiny", "--quick", "--peers", sys.executable, "--output", str(cases)]) == 1
    out = capsys.readouterr().out
    assert "| work, small | 6 | failed |" in out
    assert "FAILED: work, peer: ValueError: no such simulator" in out
    assert "missed: work small: >= 2x peer, found not measured" in out


def test_what_cannot_run_here_is_no_failure(
    cases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A contender that says why it cannot run here has that in the table and the summary, and the status is 0."""
    monkeypatch.setitem(FAMILIES, "tiny", family(GOOD[0], Contender("peer", "absent.py", is_peer=True)))
    assert run.main(["tiny", "--quick", "--peers", sys.executable, "--output", str(cases)]) == 0
    out = capsys.readouterr().out
    assert "| work, small | 6 | not measured: there is no GPU |" in out
    assert "  work, peer: not measured: there is no GPU" in out


def test_peers_are_installed_only_where_they_take_part(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family without peers needs no environment of theirs, and no network."""

    def install() -> Path:
        raise AssertionError("the peers are not needed")

    monkeypatch.setattr(run, "peers_python", install)
    monkeypatch.setitem(FAMILIES, "tiny", Family("tiny", "Tiny", "Tiny.", lambda _: (Comparison("work", GOOD[:1]),)))
    assert run.main(["tiny", "--quick", "--output", str(cases)]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"), [(["walking"], "unknown families ['walking']"), (["--rounds", "0"], "expected 1 or more")]
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown families and empty runs end with a message before anything is measured."""
    with pytest.raises(SystemExit):
        run.main(arguments)
    assert message in capsys.readouterr().err


def test_families_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` names every family and its comparisons and measures nothing."""
    assert run.main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name}: " in out for name in FAMILIES)
    assert "HalfCheetah-v5" in out
