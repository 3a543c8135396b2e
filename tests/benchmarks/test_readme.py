"""The README's tables are those of the committed results."""

from pathlib import Path

import pytest
from _paths import RESULTS, ROOT
from _readme import BEGIN, END, block, rewrite
from _work import Family
from families import FAMILIES

TABLE = "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_the_block_holds_the_tables_of_chosen_families(tmp_path: Path) -> None:
    """A family that belongs in the README and has results gives its work and tables, without the notes under them."""
    (tmp_path / "one.md").write_text(f"{TABLE}\n\n{TABLE}\n\nHow.\n\nThe machine.\n")
    (tmp_path / "two.md").write_text(TABLE)
    families = [
        Family("one", "First", "How.", lambda _: (), is_in_readme=True),
        Family("two", "Second", "Not shown.", lambda _: ()),
        Family("three", "Third", "Has no results.", lambda _: (), is_in_readme=True),
    ]
    assert block(families, tmp_path) == f"**First.** How.\n\n{TABLE}\n\n{TABLE}"
    (tmp_path / "one.png").touch()
    assert block(families, tmp_path).endswith(f"{TABLE}\n\n![First](benchmarks/results/one.png)")


def test_only_the_block_changes() -> None:
    """What stands around the markers stays, and writing twice changes nothing."""
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = rewrite(text, "new")
    assert once == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert rewrite(once, "new") == once


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n"])
def test_missing_markers_are_an_error(text: str) -> None:
    """A README without its two markers in order is refused."""
    with pytest.raises(ValueError, match="benchmarks: begin"):
        rewrite(text, "new")


def test_the_readme_shows_the_committed_results() -> None:
    """`python benchmarks/run.py --readme` would change nothing."""
    text = (ROOT / "README.md").read_text()
    assert rewrite(text, block(list(FAMILIES.values()), RESULTS)) == text
