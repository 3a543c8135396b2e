"""Tests of `rl_envs.gym._text`."""

import pytest
import torch
from gymnasium import spaces

from rl_envs import decode_text
from rl_envs.gym._text import Alphabet
from rl_specs import SpecError

SPACE = spaces.Text(max_length=4, min_length=2, charset="cab")


def test_characters_are_numbered_from_one_in_sorted_order() -> None:
    """Numbers do not depend on the order in which the characters were given; 0 fills up the rest."""
    assert Alphabet(SPACE).encode("cab").tolist() == [3, 1, 2, 0]


def test_a_text_ends_at_the_first_zero() -> None:
    """What comes after a 0 is not part of the text."""
    texts = decode_text(torch.tensor([[3, 1, 2, 0], [1, 0, 2, 2], [0, 1, 1, 1], [2, 2, 2, 2]]), SPACE)
    assert texts.tolist() == ["cab", "a", "", "bbbb"]


def test_batch_shapes_are_kept() -> None:
    """A single text is the item of an array without dimensions; others keep theirs."""
    assert decode_text(torch.tensor([1, 2, 0, 0]), SPACE).item() == "ab"
    assert decode_text(torch.ones(2, 3, 4, dtype=torch.int64), SPACE).shape == (2, 3)


def test_texts_on_the_way_to_the_env_are_long_enough() -> None:
    """A text shorter than the space allows is filled up with the first character."""
    alphabet = Alphabet(SPACE)
    assert alphabet.decode_inside(torch.tensor([0, 3, 3, 3]).numpy()) == "aa"
    assert alphabet.decode_inside(torch.tensor([3, 0, 3, 3]).numpy()) == "ca"
    assert alphabet.decode_inside(torch.tensor([3, 3, 2, 0]).numpy()) == "ccb"


def test_texts_that_are_not_in_the_space_are_errors() -> None:
    """A text that is too long, and one with a foreign character, are refused with what is wrong."""
    with pytest.raises(ValueError, match=r"more characters than max_length. Expected 4, found 5"):
        Alphabet(SPACE).encode("abcab")
    with pytest.raises(ValueError, match=r"'abx'.*Found x"):
        Alphabet(SPACE).encode("abx")


def test_codes_of_another_length_are_an_error() -> None:
    """Codes whose last dimension is not that of the space are refused."""
    with pytest.raises(SpecError, match="codes of another space"):
        decode_text(torch.zeros(3, dtype=torch.int64), SPACE)
