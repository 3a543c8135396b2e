"""The programs on the pages of docs/ and in the packages' READMEs run as they stand."""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")])
PROGRAMS = {
    str(page.relative_to(ROOT)): re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S) for page in PAGES
}


@pytest.mark.parametrize("page", [page for page, programs in PROGRAMS.items() if programs])
def test_programs_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of a page run one after the other, each with the names of those before it."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "docs_page"}
    for number, program in enumerate(PROGRAMS[page], 1):
        exec(compile(program, f"{page}, program {number}", "exec"), names)


def test_concepts_have_programs() -> None:
    """Each concept page shows its subject in code."""
    concepts = [page for page in PROGRAMS if page.startswith("docs/concepts/")]
    assert len(concepts) >= 6
    assert [page for page in concepts if not PROGRAMS[page]] == []
