"""The table of transforms in the docs."""

import pytest
import transform_matrix
from transform_matrix import ARGUMENTS, PAGE, table, written

from rl_envs import transforms


def test_the_page_has_the_table_of_the_code() -> None:
    """What the docs say of each transform is what its class says; `python tools/transform_matrix.py` writes it."""
    page = PAGE.read_text()
    assert written(page) == page


def _cells() -> dict[str, list[str]]:
    rows = [line.strip("|").split("|") for line in table().splitlines()[2:]]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in rows}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ActionMask", ["yes", "", "", "", ""]),
        ("BurnInTransform", ["", "", "only", "", ""]),
        ("CatFrames", ["rows carried", "", "yes", "", "observation, state"]),
        ("ClipTransform", ["yes", "yes", "yes", "", "observation, reward, action, state"]),
        ("ExcludeTransform", ["yes", "yes", "yes", "", "observation, reward, done"]),
        ("FlattenAction", ["yes", "yes", "yes", "", "action, state"]),
        ("NextObservationDelta", ["rows carried", "", "yes", "", "observation"]),
        ("NoopResetEnv", ["one row", "", "", "yes", ""]),
        ("PinMemoryTransform", ["yes", "", "yes", "", ""]),
        ("RewardSum", ["rows carried", "", "", "", "observation"]),
        ("Timer", ["yes", "", "", "", "observation"]),
        ("UnaryTransform", ["yes", "yes", "yes", "yes", "observation, reward, action, state"]),
        ("VecNorm", ["yes", "", "yes", "yes", "observation, reward"]),
    ],
)
def test_rows_by_hand(name: str, expected: list[str]) -> None:
    """Rows that are known without the code."""
    assert _cells()[name] == expected


def test_every_public_transform_is_there() -> None:
    """One row each, and no arguments for what does not exist."""
    others = {"Transform", "TransformedEnv", "RunningMeanStd"}
    assert set(_cells()) == set(transforms.__all__) - others
    assert set(ARGUMENTS) <= set(_cells())


def test_a_new_row_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that lacks a row differs from what would be written."""
    monkeypatch.setattr(transform_matrix, "table", lambda: "| `Other` |\n")
    page = PAGE.read_text()
    assert written(page) != page
