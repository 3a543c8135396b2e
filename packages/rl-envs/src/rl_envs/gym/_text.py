"""Texts as rows of character numbers, and back."""

from typing import TYPE_CHECKING, Any, final

import numpy as np
from torch import Tensor

from rl_envs.gym._limits import too_large
from rl_specs import SpecError, message

if TYPE_CHECKING:
    from gymnasium.spaces import Text

Array = np.ndarray[Any, Any]


@final
class Alphabet:
    """The numbers of the characters of a `Text` space: from 1, in sorted order; 0 ends a text.

    Args:
        space: a `gymnasium.spaces.Text`.
    """

    def __init__(self, space: Any) -> None:
        self._space = space
        self._characters = "".join(sorted(space.character_set))
        self._codes = {character: code for code, character in enumerate(self._characters, start=1)}

    def encode(self, text: str) -> Array:
        """Character numbers int64 `[max_length]` of `text`, 0 after its end.

        Raises:
            ValueError: `text` is longer than the space allows, or has a character that is not in its set.
        """
        space = self._space
        if len(text) > space.max_length:
            raise too_large(space, "characters", name="max_length", limit=space.max_length, found=len(text))
        codes = np.zeros(space.max_length, dtype=np.int64)
        try:
            codes[: len(text)] = [self._codes[character] for character in text]
        except KeyError as error:
            problem = f"the text {text!r} has a character that is not in the set of the space"
            raise ValueError(message(str(space), problem, found=error.args[0])) from None
        return codes

    def decode(self, codes: Array) -> str:
        """The text of character numbers `[max_length]`, up to the first 0."""
        return "".join(self._characters[code - 1] for code in codes[: (codes != 0).cumprod().sum()])

    def decode_inside(self, codes: Array) -> str:
        """`decode`, filled up with the first character to the shortest length of the space."""
        text = self.decode(codes)
        return text if len(text) >= self._space.min_length else text.ljust(self._space.min_length, self._characters[0])


def decode_text(codes: Tensor, space: "Text") -> np.ndarray[Any, np.dtype[np.object_]]:
    """Texts of the tensor form that `spec_from_space` gives to a `Text` space.

    Args:
        codes: character numbers `[*B, max_length]`, 0 from the end of the text on.
        space: the space of one env, e.g. `env.observation_space["mission"]`.
    Returns:
        Object array `[*B]` of strings; `.item()` is the only one of a single text, `.tolist()` the nested list.
    Raises:
        SpecError: the last dimension is not that of the space.
    """
    if codes.ndim == 0 or codes.shape[-1] != space.max_length:
        expected = f"[..., {space.max_length}]"
        raise SpecError(message("decode_text", "codes of another space", expected=expected, found=tuple(codes.shape)))
    alphabet = Alphabet(space)
    rows = codes.cpu().numpy()
    texts = np.empty(rows.shape[:-1], dtype=np.object_)
    for index in np.ndindex(texts.shape):
        texts[index] = alphabet.decode(rows[index])
    return texts
