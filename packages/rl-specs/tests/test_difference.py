"""Tables of differences."""

from rl_specs import Difference, difference_table
from rl_specs.difference import fixes, format_table


def test_columns_line_up() -> None:
    """Every column is as wide as its widest cell, without blanks at the end."""
    assert format_table(("a", "bb"), [("ccc", "d")]) == "  a    bb\n  ccc  d"


def test_no_differences_make_no_table() -> None:
    """The empty table is an empty string."""
    assert difference_table([]) == ""
    assert difference_table([Difference(None, "dtype", "x", "y")]).splitlines()[1] == "  -    dtype  x         y"


def test_each_fix_is_given_once() -> None:
    """Two differences of one kind give one piece of advice."""
    found = [Difference("a", "dtype", "x", "y"), Difference("b", "dtype", "x", "y"), Difference("c", "shape", "x", "y")]
    assert fixes(found) == "Cast with value.to(dtype) or use spec.to(dtype); reshape the value or correct the spec"
