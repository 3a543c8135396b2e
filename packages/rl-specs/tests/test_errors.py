"""Error messages: component, key, expected, found, fix."""

import pytest

from rl_specs import DeviceError, DTypeError, MissingKeyError, ShapeError, SpecError, message, missing_key, near_matches


def test_message_has_all_parts_in_order() -> None:
    """The parts given appear, in one form, with single full stops."""
    assert message("Env", "shape differs.", expected=3, found=4, fix="Reshape.") == (
        "Env: shape differs. Expected 3, found 4. Reshape."
    )
    assert message("Env", "bad", expected=3) == "Env: bad. Expected 3."
    assert message("Env", "bad", found=4) == "Env: bad. Found 4."
    assert message("Env", "bad") == "Env: bad."


def test_missing_key_lists_what_is_there() -> None:
    """The error is a KeyError whose text is not quoted, with near matches."""
    error = missing_key("Loss", "advantag", ["advantage", ("next", "reward")], fix="Run GAE first")
    assert isinstance(error, KeyError)
    assert str(error) == (
        'Loss: key "advantag" missing from the input (has: "advantage", ("next", "reward")). '
        'Did you mean "advantage"? Run GAE first.'
    )
    assert "has: nothing" in str(missing_key("Loss", "a", [], fix="Add it"))
    assert "..." in str(missing_key("Loss", "a", [f"k{i}" for i in range(30)], fix="Add it"))
    assert str(MissingKeyError()) == ""


def test_near_matches() -> None:
    """Close names are offered, others are not."""
    assert near_matches("obs", ["obs2", "action"]) == " Did you mean obs2?"
    assert near_matches("xyz", ["action"]) == ""


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (SpecError, ValueError),
        (ShapeError, ValueError),
        (DTypeError, TypeError),
        (DeviceError, ValueError),
        (MissingKeyError, KeyError),
    ],
)
def test_errors_are_built_ins(error: type[Exception], base: type[Exception]) -> None:
    """Code that catches the built-in catches these."""
    assert issubclass(error, base)
