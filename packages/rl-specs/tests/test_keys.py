"""Keys in one canonical form."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from rl_specs import FlatDict, NestedKey, TensorMap, canonical_key, canonical_keys, join_key, key_str

names = st.text("abc", min_size=1, max_size=3)
nested: st.SearchStrategy[Any] = st.recursive(names, lambda inner: st.lists(inner, min_size=1, max_size=3).map(tuple))


@given(nested)
def test_canonical_form_is_flat_and_stable(key: Any) -> None:
    """Any nesting becomes a string or a flat tuple of at least two, and stays so."""
    canonical = canonical_key(key)
    assert isinstance(canonical, str) or (len(canonical) >= 2 and all(isinstance(part, str) for part in canonical))
    assert canonical_key(canonical) == canonical


def test_canonical_key_examples() -> None:
    """One level is a string."""
    assert canonical_key(("a",)) == "a"
    assert join_key("next", ("a", "b")) == ("next", "a", "b")
    assert join_key("a") == "a"


@pytest.mark.parametrize("key", [(), 3, ("a", 3), None])
def test_other_objects_are_no_keys(key: Any) -> None:
    """Anything but strings is an error that shows it."""
    with pytest.raises(TypeError, match="expected a string or a non-empty tuple of strings"):
        canonical_key(key)


def test_one_key_or_several() -> None:
    """A tuple of strings is one nested key, a list is several keys."""
    assert canonical_keys("a") == ["a"]
    assert canonical_keys(("a", "b")) == [("a", "b")]
    assert canonical_keys(["a", ("b", "c"), ("d",)]) == ["a", ("b", "c"), "d"]
    assert canonical_keys([("a", "b"), "c"]) == [("a", "b"), "c"]


def test_key_str() -> None:
    """Keys are shown as they are typed."""
    assert key_str("a") == '"a"'
    assert key_str(("a", "b")) == '("a", "b")'


def test_tensordicts_and_flat_dicts_are_tensor_maps() -> None:
    """The same function writes and reads both."""

    def double(data: TensorMap, key: NestedKey) -> Any:
        data["n", "double"] = data[key] * 2
        return data.get(("n", "double"))

    flat: FlatDict = {("n", "a"): torch.ones(2)}
    td = TensorDict({"n": {"a": torch.ones(2)}}, ())
    for data in (flat, td):
        assert double(data, ("n", "a")).tolist() == [2.0, 2.0]
        assert data.get("missing", None) is None
