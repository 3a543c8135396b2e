"""Every registered family can be run and judged."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest
from _paths import CASES, REQUIREMENTS
from _work import Comparison, RatioBar
from families import FAMILIES

COMPARISONS = [
    pytest.param(comparison, id=f"{family.name}, {comparison.title}{', quick' if is_quick else ''}")
    for family in FAMILIES.values()
    for is_quick in (False, True)
    for comparison in family.comparisons(is_quick)
]


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_ours_comes_first_and_names_are_unique(comparison: Comparison) -> None:
    """Ratios refer to the first contender, which is ours; results are kept by name."""
    names = [contender.name for contender in comparison.contenders]
    assert not comparison.contenders[0].is_peer
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_scripts_exist_and_know_their_options(comparison: Comparison) -> None:
    """Each contender's script is there and declares every option that it is given."""
    for contender in comparison.contenders:
        assert {option for option in contender.arguments if option.startswith("--")} <= words(CASES / contender.script)


def words(script: Path) -> set[object]:
    """Every constant of a script and of the other scripts that it imports."""
    found: set[object] = set()
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Constant):
            found.add(node.value)
        elif isinstance(node, ast.ImportFrom) and (CASES / f"{node.module}.py").exists():
            found |= words(CASES / f"{node.module}.py")
    return found


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_bars_refer_to_contenders(comparison: Comparison) -> None:
    """What a bar compares takes part in the comparison."""
    names = {contender.name for contender in comparison.contenders}
    for bar in comparison.bars:
        others = bar.against if isinstance(bar, RatioBar) else ()
        assert {*others, bar.subject or comparison.contenders[0].name} <= names


@pytest.mark.parametrize("name", FAMILIES)
def test_quick_is_no_longer_than_the_whole(name: str) -> None:
    """A short look has something to look at, and no more comparisons than the real run."""
    quick, whole = (FAMILIES[name].comparisons(is_quick) for is_quick in (True, False))
    assert 1 <= len(quick) <= len(whole)
    assert len({comparison.title for comparison in whole}) == len(whole)


def test_peers_are_pinned() -> None:
    """Every peer has one version, so that figures of different days compare."""
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    assert all(line.count("==") == 1 for line in lines)
    assert all(first != second for first, second in pairwise(sorted(lines)))
