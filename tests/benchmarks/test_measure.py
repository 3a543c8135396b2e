"""The runner alternates fresh processes, survives what fails, and compares within a round."""

import os
import sys
import time
from pathlib import Path

import pytest
from _measure import ContenderError, Figures, Result, compare, parse, run_contender
from _work import Comparison, Contender

PYTHON = Path(sys.executable)


def result(unit: str, **values: list[float]) -> Result:
    """One row called `x` of several contenders."""
    comparison = Comparison("work", tuple(Contender(name, "good.py") for name in values))
    return Result(comparison, unit, {name: Figures({"x": each}) for name, each in values.items()})


def test_last_line_is_read(cases: Path) -> None:
    """Values, labels and unit come from the last line, whatever was printed before."""
    values, unit = run_contender(Contender("ours", "good.py", ("3", "frames/s")), PYTHON, cases)
    assert (values, unit) == ({"small": 3.0, "large": 2.0}, "frames/s")


@pytest.mark.parametrize(
    ("output", "part"),
    [
        ("", "found nothing"),
        ("hello", "found hello"),
        ('{"values": {"x": 1}}', '"unit": unit'),
        ('{"values": [1], "unit": "s"}', "expected a last line"),
        ('{"values": {"x": "fast"}, "unit": "s"}', "expected a last line"),
        ('{"values": {"x": 1}, "unit": "ms"}', "unknown unit 'ms', expected one of frames/s, us, s, MB"),
    ],
)
def test_other_output_is_refused(output: str, part: str) -> None:
    """A last line of another form is an error that says what was expected and found."""
    with pytest.raises(ContenderError, match=r"case\.py") as caught:
        parse(output, "case.py")
    assert part in str(caught.value)


def test_crash_brings_its_traceback(cases: Path) -> None:
    """A case that raises fails with its exit status and its last words."""
    with pytest.raises(ContenderError, match=r"crash\.py exited with 1:[\s\S]*no such simulator"):
        run_contender(Contender("ours", "crash.py"), PYTHON, cases)


def test_slow_case_is_stopped(cases: Path) -> None:
    """A case that takes longer than its limit is ended and counts as failed."""
    with pytest.raises(ContenderError, match=r"sleep\.py was stopped after 0\.5 s"):
        run_contender(Contender("ours", "sleep.py", timeout_s=0.5), PYTHON, cases)


def test_children_of_a_case_end_with_it(cases: Path) -> None:
    """A process that a case leaves behind does not run on beside the next contender."""
    run_contender(Contender("ours", "child.py", (str(cases / "pid"),)), PYTHON, cases)
    child = int((cases / "pid").read_text())
    deadline = time.monotonic() + 10.0
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(child)


def is_running(process: int) -> bool:
    """Whether a process is there and is not a zombie that waits to be reaped by init."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()


def test_threads_are_set(cases: Path) -> None:
    """A contender gets the threads that it asks for, one by default."""
    assert run_contender(Contender("ours", "threads.py"), PYTHON, cases)[0] == {"": 1.0}
    assert run_contender(Contender("ours", "threads.py", threads=2), PYTHON, cases)[0] == {"": 2.0}


def test_contenders_alternate_and_take_turns_to_begin() -> None:
    """Every round runs every contender once, and each begins a round."""
    seen: list[str] = []

    def run(contender: Contender) -> tuple[dict[str, float], str]:
        seen.append(contender.name)
        return {"x": float(len(seen))}, "s"

    comparison = Comparison("work", tuple(Contender(name, "") for name in "abc"))
    found = compare(comparison, run, 3)
    assert seen == list("abcbcacab")
    assert found.figures["a"].values == {"x": [1.0, 6.0, 8.0]}
    assert len(compare(Comparison("work", comparison.contenders, rounds=1), run, 3).figures["a"].values["x"]) == 1


def test_one_failure_does_not_stop_the_others() -> None:
    """A contender that fails is noted, not run again, and the others go on."""
    seen: list[str] = []

    def run(contender: Contender) -> tuple[dict[str, float], str]:
        seen.append(contender.name)
        if contender.name == "b":
            raise ContenderError("b broke")
        return {"x": 1.0}, "s" if contender.name == "a" else "us"

    found = compare(Comparison("work", tuple(Contender(name, "") for name in "abc")), run, 2)
    assert seen.count("a") == 2
    assert seen.count("b") == 1
    assert found.figures["a"].error is None
    assert found.figures["b"].error == "b broke"
    assert "reports us, the others s" in (found.figures["c"].error or "")


def test_ratio_is_the_median_of_rounds() -> None:
    """Ratios are taken within rounds, so that a slow round of both does not move them."""
    speeds = result("frames/s", ours=[100.0, 10.0, 60.0], peer=[50.0, 5.0, 20.0])
    assert speeds.ratio("ours", "peer", "x") == 2.0
    assert speeds.median("ours", "x") == 60.0


@pytest.mark.parametrize("unit", ["us", "s", "MB"])
def test_less_is_better_in_other_units(unit: str) -> None:
    """Of times and sizes the ratio is the peer's over ours: above one where ours is better."""
    assert result(unit, ours=[1.0], peer=[4.0]).ratio("ours", "peer", "x") == 4.0


@pytest.mark.parametrize(("ours", "peer"), [(-0.1, 4.0), (4.0, 0.0)])
def test_differences_below_nothing_have_no_ratio(ours: float, peer: float) -> None:
    """A cost that is lost in the noise is not a factor of another."""
    assert result("us", ours=[ours], peer=[peer]).ratio("ours", "peer", "x") is None


def test_missing_row_has_no_ratio() -> None:
    """A row that one side did not report compares to nothing."""
    found = result("s", ours=[1.0], peer=[4.0])
    found.figures["peer"].values.clear()
    assert found.ratio("ours", "peer", "x") is None
    assert found.median("peer", "x") is None
