"""Tables and records say what was measured, what failed and what was reached."""

import json
from pathlib import Path

from _measure import Figures, Result
from _picture import draw
from _report import failures, machine, not_measured, number, table, write
from _work import Comparison, Contender, Family, RatioBar


def example(title: str = "walk", unit: str = "frames/s") -> Result:
    """Ours, a peer with one row and a peer that failed."""
    contenders = tuple(Contender(name, f"{name}.py") for name in ("ours", "peer", "broken"))
    comparison = Comparison(title, contenders, (RatioBar(("peer",), 8.0, ("1 env",)),))
    figures = {
        "ours": Figures({"1 env": [8000.0, 8200.0, 7900.0], "8 envs": [20000.0] * 3}),
        "peer": Figures({"1 env": [950.0, 900.0, 1000.0]}),
        "broken": Figures({}, "broken.py exited with 1:\nTraceback\nImportError: no module"),
    }
    return Result(comparison, unit, figures)


def test_a_row_has_medians_spread_ratio_and_bar() -> None:
    """Each row gives every contender's median and spread, how many times ours it is, and whether the bar is met."""
    assert table([example()]).splitlines() == [
        "| work (frames/s) | ours | peer | broken | bar |",
        "| --- | --- | --- | --- | --- |",
        "| walk, 1 env | 8,000 (7,900 to 8,200) | 950 (900 to 1,000), ours 8.42x | failed | >= 8x peer: met (8.42) |",
        "| walk, 8 envs | 20,000 (20,000 to 20,000) |  | failed |  |",
    ]


def test_what_cannot_run_here_says_why_in_its_row() -> None:
    """A contender whose last words are `not measured: ...` has them in place of `failed`."""
    reason = "not measured: there is no C compiler"
    without = example()
    without.figures["broken"] = Figures({}, f"broken.py exited with 1:\n{reason}")
    assert f"| {reason} |  |" in table([without])
    assert "| failed |" not in table([without])
    assert failures([without]) == []
    assert not_measured([without, example()]) == [f"walk, broken: {reason}"]


def test_a_label_that_begins_with_the_title_stands_alone() -> None:
    """Rows do not say the same twice."""
    text = table([example("1 env")])
    assert "| 1 env | 8,000" in text
    assert "| 1 env, 8 envs |" in text


def test_a_missed_bar_stands_out() -> None:
    """A bar that is not reached is in bold, with what was reached."""
    slow = example()
    slow.figures["ours"].values["1 env"] = [100.0]
    assert ">= 8x peer: **missed** (0.11)" in table([slow])


def test_units_and_contenders_have_tables_of_their_own() -> None:
    """Comparisons share a table while unit and contenders stay the same."""
    text = table([example(), example("run"), example("swim", "us")])
    assert text.count("| work (") == 2
    assert text.index("walk") < text.index("run") < text.index("work (us)") < text.index("swim")


def test_files_hold_everything(tmp_path: Path) -> None:
    """The JSON keeps every figure, error, ratio, command and verdict; the Markdown the machine and versions."""
    about = machine()
    text = write(Family("moves", "Moves", "How things move.", lambda _: ()), [example()], about, tmp_path)
    record = json.loads((tmp_path / "moves.json").read_text())
    ours, peer, broken = record["results"][0]["contenders"]
    assert ours["values"]["1 env"] == [8000.0, 8200.0, 7900.0]
    assert peer["ratio_of_ours"] == {"1 env": 8.421}
    assert peer["script"] == "peer.py"
    assert "ImportError" in broken["error"]
    assert record["results"][0]["bars"][0]["is_met"] is True
    assert record["machine"]["cores"] >= 1
    assert (tmp_path / "moves.md").read_text() == text
    assert f"torch {about['versions']['torch']}" in text
    assert f"commit {about['commit']}" in text
    assert "How things move." in text


def test_failures_are_one_line_each() -> None:
    """What failed is told with its last words."""
    assert failures([example()]) == ["walk, broken: ImportError: no module"]


def test_numbers_keep_three_digits() -> None:
    """Large numbers are whole with separators, small ones keep three digits."""
    assert [number(value) for value in (12345.6, 123.4, 45.67, 0.15432, 0.0)] == ["12,346", "123", "45.7", "0.154", "0"]


def test_pictures_are_drawn(tmp_path: Path) -> None:
    """A picture is written for any number of comparisons, and none where nothing was measured."""
    nothing = Result(example().comparison, "", {"ours": Figures({}, "no")})
    draw("one", [example(), nothing], tmp_path / "one.png")
    draw("five", [example() for _ in range(5)], tmp_path / "five.png")
    draw("none", [nothing], tmp_path / "none.png")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "five.png").exists()
    assert not (tmp_path / "none.png").exists()
