"""The README's block of benchmark tables, made from the committed results."""

from collections.abc import Sequence
from pathlib import Path

from _work import Family

BEGIN = "<!-- benchmarks: begin; written by `python benchmarks/run.py --readme` -->"
END = "<!-- benchmarks: end -->"


def block(families: Sequence[Family], results: Path) -> str:
    """Heading, work, table and picture of each family that has results and belongs in the README."""
    parts = []
    for family in families:
        path = results / f"{family.name}.md"
        if family.is_in_readme and path.exists():
            parts += [f"**{family.title}.** {family.about}", _tables(path.read_text())]
            if path.with_suffix(".png").exists():
                parts.append(f"![{family.title}](benchmarks/results/{family.name}.png)")
    return "\n\n".join(parts)


def rewrite(text: str, new: str) -> str:
    """`text` with what stands between the markers replaced.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"README: expected one line {BEGIN!r} and after it one line {END!r}")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def _tables(markdown: str) -> str:
    """The tables alone: without the notes under them."""
    blocks = [part for part in markdown.split("\n\n") if part.lstrip().startswith("|")]
    return "\n\n".join(part.strip() for part in blocks)
