"""What the site changes in the pages of docs/: links that lead out of that folder, for readers of the repository."""

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:benchmarks|packages|examples|tools)/[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """`markdown` with links to files that are no pages as plain text."""
    return _OUTSIDE.sub(r"\1", markdown)
