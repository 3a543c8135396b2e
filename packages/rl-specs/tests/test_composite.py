"""Composite: nested keys, batch shape, values as TensorDicts, reports of all differences at once."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from rl_specs import (
    Bounded,
    Categorical,
    Composite,
    MissingKeyError,
    MultiCategorical,
    MultiOneHot,
    NonTensor,
    OneHot,
    ShapeError,
    SpecError,
    Unbounded,
    stack_specs,
)


def make_spec() -> Composite:
    """Two levels, three kinds."""
    return Composite({"a": Bounded(-1, 1, (3,)), "n": {"b": Categorical(4), "deep": {"c": OneHot(2)}}})


def test_keywords_mappings_and_nested_keys_build_the_same() -> None:
    """Every way to write the entries gives the same spec."""
    expected = make_spec()
    by_key = Composite({"a": Bounded(-1, 1, (3,)), ("n", "b"): Categorical(4), ("n", "deep", "c"): OneHot(2)})
    by_keyword = Composite(a=Bounded(-1, 1, (3,)), n=Composite(b=Categorical(4), deep=Composite(c=OneHot(2))))
    by_item = Composite()
    by_item["a"] = Bounded(-1, 1, (3,))
    by_item["n", "b"] = Categorical(4)
    by_item["n"]["deep"] = {"c": OneHot(2)}
    assert expected == by_key == by_keyword == by_item


def test_keys_in_three_forms() -> None:
    """`keys` lists the root, all levels, or leaves; `items` and `values` go with it."""
    spec = make_spec()
    assert spec.keys() == ["a", "n"]
    assert spec.keys(True) == ["a", "n", ("n", "b"), ("n", "deep"), ("n", "deep", "c")]
    assert spec.keys(include_nested=True, leaves_only=True) == ["a", ("n", "b"), ("n", "deep", "c")]
    assert spec.keys(leaves_only=True) == ["a"]
    assert spec.values()[0] == Bounded(-1, 1, (3,))
    assert [key for key, _ in spec.flat_items()] == spec.keys(True, True)
    assert list(spec) == ["a", "n"]
    assert len(spec) == 2


def test_get_contains_and_missing_keys() -> None:
    """A key that is not there is `None` for `get`, and a near match in the error of an index."""
    spec = make_spec()
    assert spec["n", "b"] == spec["n"]["b"] == spec.get(("n", "b")) == Categorical(4)
    assert ("n", "b") in spec
    assert ("n", "x") not in spec
    assert 3 not in spec
    assert spec.get("x") is None
    assert spec.get(("a", "x"), OneHot(2)) == OneHot(2)
    with pytest.raises(MissingKeyError, match=r'Composite: key "aa" missing .* Did you mean "aab" or "a"\?'):
        Composite(a=OneHot(2), aab=OneHot(2))["aa"]


def test_delete_pop_select_exclude() -> None:
    """Entries leave at any level; `select` and `exclude` make new specs."""
    spec = make_spec()
    assert spec.select("a", ("n", "b")).keys(True, True) == ["a", ("n", "b")]
    assert spec.select("a", "x", strict=False).keys() == ["a"]
    assert spec.exclude(("n", "b"), "x").keys(True, True) == ["a", ("n", "deep", "c")]
    assert spec.pop("a") == Bounded(-1, 1, (3,))
    del spec["n", "deep"]
    assert spec.keys(True, True) == [("n", "b")]
    with pytest.raises(MissingKeyError):
        del spec["a"]
    with pytest.raises(MissingKeyError):
        spec.select("x")
    assert spec.empty() == Composite()
    assert Composite(n={}).is_empty()
    assert not spec.is_empty()


def test_update_merges_levels() -> None:
    """`update` keeps the entries of a level that it does not name."""
    spec = make_spec()
    spec.update({"n": {"b": Categorical(9)}, "z": OneHot(2)})
    assert spec["n", "b"].n == 9
    assert ("n", "deep", "c") in spec
    spec.update(Composite(a=OneHot(2)))
    assert spec["a"] == OneHot(2)


def test_shape_is_checked_when_set() -> None:
    """Every entry starts with the batch shape; the message names entry, expected, found and fix."""
    spec = Composite(a=Unbounded((4, 3)), shape=(4,))
    with pytest.raises(ShapeError, match=r"entry 'b'.*Expected \(4, \.\.\.\), found \(3,\).*expand"):
        spec["b"] = Unbounded((3,))
    with pytest.raises(ShapeError):
        Composite(n=Composite(a=Unbounded((3,))), shape=(4,))
    assert spec.batch_size == spec.shape == (4,)


def test_what_is_no_spec_is_an_error() -> None:
    """Misspelt keywords and other objects are refused."""
    with pytest.raises(TypeError, match="Keywords other than specs, shape and device are entries"):
        Composite(shapes=(4,))  # type: ignore[arg-type]  # what is tested
    with pytest.raises(TypeError, match="expected a string"):
        Composite({3: OneHot(2)})
    with pytest.raises(SpecError, match="'a' is a leaf"):
        make_spec()["a", "x"] = OneHot(2)


def test_nested_specs_are_copied_in() -> None:
    """Changing a spec after it was set, or a clone, changes nothing else."""
    inner = Composite(b=OneHot(2))
    outer = Composite(n=inner)
    inner["x"] = OneHot(2)
    assert ("n", "x") not in outer
    clone = outer.clone()
    clone["n", "y"] = OneHot(2)
    assert ("n", "y") not in outer
    assert copy.deepcopy(outer) == pickle.loads(pickle.dumps(outer)) == outer


def test_composite_of_a_composite_keeps_its_shape() -> None:
    """Building from a spec copies shape and entries."""
    spec = make_spec().expand(2)
    assert Composite(spec) == spec


def test_values_are_tensordicts() -> None:
    """`rand`, `zero` and `one` fill every level with the right batch size."""
    spec = make_spec().expand(2)
    for value in (spec.rand(5), spec.zero(5), spec.ones((5,)), spec.zeros(5)):
        assert isinstance(value, TensorDict)
        assert value.batch_size == value["n"].batch_size == (5, 2)
        assert value["n", "deep", "c"].shape == (5, 2, 2)
    assert spec.is_in(spec.rand())
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    first, second = (spec.rand(generator=g) for g in generators)
    assert torch.equal(first["a"], second["a"])


def test_entries_share_one_batch() -> None:
    """Inside a TensorDict no entry may have dimensions of its own in front."""
    spec = Composite(reward=Unbounded((1,)))
    assert spec.is_in(TensorDict({"reward": torch.zeros(4, 1)}, (4,)))
    assert not spec.is_in(TensorDict({"reward": torch.zeros(4, 1)}, ()))
    assert not spec.is_in(TensorDict({"reward": torch.zeros(4)}, (4,)))
    assert not spec.expand(3).is_in(TensorDict({"reward": torch.zeros(4, 1)}, (4,)))


def test_flat_and_nested_dicts_are_values() -> None:
    """Plain mappings are read like TensorDicts; extra entries are welcome."""
    spec = Composite({"a": Unbounded(2), ("n", "b"): Categorical(3)})
    flat = {"a": torch.zeros(2), ("n", "b"): torch.tensor(1), "extra": torch.zeros(())}
    nested = {"a": torch.zeros(2), "n": {"b": torch.tensor(1)}}
    assert spec.is_in(flat)
    assert spec.is_in(nested)
    assert not spec.is_in({"a": torch.zeros(2)})
    assert not spec.is_in({"a": torch.zeros(2), "n": torch.zeros(2)})
    assert not spec.is_in(torch.zeros(2))


def test_project_returns_a_copy() -> None:
    """Entries of the spec are projected at every level, others pass, the input stays."""
    spec = Composite({"a": Bounded(-1, 1, (2,)), ("n", "b"): Categorical(3)})
    td = TensorDict({"a": torch.full((2,), 5.0), "n": {"b": torch.tensor(7)}, "extra": torch.ones(1)}, ())
    out = spec.project(td)
    assert spec.is_in(out)
    assert out["extra"].item() == 1
    assert td["a"].tolist() == [5.0, 5.0]
    assert td["n", "b"].item() == 7
    for mapping in ({"a": td["a"], ("n", "b"): td["n", "b"]}, {"a": td["a"], "n": {"b": td["n", "b"]}}):
        assert spec.is_in(spec.project(mapping))
        assert not spec.is_in(mapping)
    with pytest.raises(MissingKeyError, match=r'key \("n", "b"\) missing'):
        spec.project({"a": td["a"]})


def test_encode_and_to_numpy_are_inverse() -> None:
    """Nested dicts of numpy go in and come out; missing and unknown entries are errors."""
    spec = Composite(position=Bounded(-1, 1, (2,)), n=Composite(b=OneHot(3)))
    arrays = {"position": np.array([0.5, -0.5]), "n": {"b": np.array(2)}}
    encoded = spec.encode(arrays)
    assert spec.is_in(encoded)
    back = spec.to_numpy(encoded)
    np.testing.assert_array_equal(back["position"], arrays["position"])
    assert back["n"]["b"] == 2
    with pytest.raises(MissingKeyError, match='"n" missing'):
        spec.encode({"position": arrays["position"]})
    with pytest.raises(SpecError, match=r"no entry 'positions'.*Did you mean position"):
        spec.encode({**arrays, "positions": 1})


def test_all_differences_in_one_table() -> None:
    """The error lists every entry that is wrong, with key, kind, expected and found, and each fix once."""
    spec = make_spec()
    value = TensorDict({"a": torch.full((3,), 2.0), "n": {"b": torch.tensor(1.0), "deep": {"d": torch.zeros(2)}}}, ())
    with pytest.raises(SpecError) as caught:
        spec.assert_is_in(value, name="GymEnv.reset")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("GymEnv.reset: not in the spec Composite.")
    assert "spec.project" in lines[0]
    assert "rename the keys" in lines[0]
    assert lines[1].split() == ["key", "what", "expected", "found"]
    assert lines[2].split()[:2] == ['"a"', "domain"]
    assert '("n", "b")' in lines[3]
    assert lines[3].split()[-2:] == ["int64", "float32"]
    assert 'missing. Did you mean ("n", "deep", "d")?' in lines[4]
    assert len(lines) == 5


def test_assert_is_in_of_other_objects_and_batches() -> None:
    """A value that is no mapping, or of another batch size, is one line."""
    with pytest.raises(SpecError, match="TensorDict or mapping"):
        make_spec().assert_is_in(3)
    with pytest.raises(SpecError, match=r"\(\*batch, 4\) +\(3,\)"):
        make_spec().expand(4).assert_is_in(TensorDict({}, (3,)))
    with pytest.raises(SpecError, match=r"\(3,\) +\(2, 3\)"):
        Composite(a=Unbounded(3)).assert_is_in({"a": torch.zeros(2, 3)})
    make_spec().assert_is_in(make_spec().rand(2))


def test_shape_operations_reach_every_entry() -> None:
    """Operations act on the batch dimensions of all entries."""
    spec = make_spec().expand(4, 6)
    assert spec["a"].shape == (4, 6, 3)
    assert spec[0] == spec[:, 0].expand(6, 4)[:, 0] == make_spec().expand(6)
    assert spec[..., 0].shape == (4,)
    assert spec[..., 0]["a"].shape == (4, 3)
    assert spec.reshape(2, -1)["n", "deep", "c"].shape == (2, 12, 2)
    assert spec.view(24) == spec.flatten(0, 1) == make_spec().expand(24)
    assert spec.unflatten(1, (2, 3))["a"].shape == (4, 2, 3, 3)
    assert spec.unsqueeze(-1)["a"].shape == (4, 6, 1, 3)
    assert spec.unsqueeze(0).squeeze(0) == spec.unsqueeze(1).squeeze() == spec
    assert spec[torch.tensor([0, 2])]["n", "b"].shape == (2, 6)
    assert spec[torch.tensor([True, False, True, True])].shape == (3, 6)
    assert [inner.shape for inner in spec.unbind(1)] == [torch.Size([4])] * 6
    with pytest.raises(IndexError, match="at most 2"):
        spec[0, 0, 0]
    with pytest.raises(IndexError):
        make_spec()[0]


def test_stack_keeps_nesting() -> None:
    """A stack of equal specs is the expanded one; of specs with other keys, strictly, an error."""
    spec = make_spec()
    assert stack_specs([spec, spec]) == spec.expand(2)
    assert torch.stack([spec.expand(3)] * 2, 1) == spec.expand(3, 2)  # type: ignore[list-item]  # specs stack too
    with pytest.raises(SpecError, match="equal keys"):
        stack_specs([spec, Composite(a=spec["a"], shape=spec.shape)], strict=True)
    with pytest.raises(SpecError, match="'a' differ in kind"):
        stack_specs([Composite(a=OneHot(3)), Composite(a=Unbounded(3))], strict=True)
    with pytest.raises(SpecError, match="spec 1 differs"):
        stack_specs([spec, spec["a"]])
    with pytest.raises(SpecError, match="no specs"):
        stack_specs([])


def test_to_dtype_converts_floating_point_entries() -> None:
    """Categories and flags keep their dtype, numbers take the new one."""
    spec = make_spec().to(torch.float64)
    assert spec["a"].dtype == torch.float64
    assert spec["n", "b"].dtype == torch.int64
    assert spec["n", "deep", "c"].dtype == torch.bool


def test_device_moves_entries() -> None:
    """With a device every entry is moved there; without one each keeps its own."""
    spec = Composite(a=Unbounded(3), t=NonTensor(), device="meta")
    assert spec["a"].device == torch.device("meta")
    assert spec["t"].device == torch.device("meta")
    assert Composite(a=Unbounded(3)).device is None
    moved = make_spec().to("meta")
    assert {leaf.device for _, leaf in moved.flat_items()} == {torch.device("meta")}
    assert moved.device == torch.device("meta")


def test_hash_is_by_value_and_nothing_else_is_equal() -> None:
    """Equal specs hash alike, whatever the order of their entries; another entry makes another spec."""
    spec = make_spec()
    backwards = Composite(dict(reversed(spec.items())), shape=spec.shape, device=spec.device)
    assert backwards == spec
    assert hash(backwards) == hash(spec)
    assert len({spec, backwards, spec.empty()}) == 2
    assert make_spec() != 3
    assert make_spec().cardinality() == float("inf")
    assert Composite(a=OneHot(3), b=Categorical(2)).cardinality() == 6


def test_repr_has_a_line_for_each_entry() -> None:
    """Nested entries are indented under their name."""
    assert repr(Composite(n={"b": Categorical(4)})).splitlines() == [
        "Composite(shape=(), device=None)",
        "    n: Composite(shape=(), device=None)",
        "        b: Categorical(shape=(), n=4, dtype=int64, device=cpu)",
    ]


def test_what_cannot_be_set_changes_nothing() -> None:
    """An entry that does not fit leaves no empty levels behind, and none of the specs of a stack changed."""
    spec = Composite({"there": {"x": Unbounded((2,))}}, shape=(2,))
    before = spec.clone()
    wrong: Any = 3
    for key in (("a", "b", "c"), ("there", "b", "c"), ("there", "x", "c")):
        for entry in (Unbounded((3,)), wrong):
            with pytest.raises((ShapeError, SpecError, TypeError)):
                spec.set(key, entry)
    assert spec == before
    stack: Any = torch.stack([Composite(x=Unbounded(())), Composite(x=Composite())])  # type: ignore[list-item]  # specs
    kept = stack.clone()
    with pytest.raises(SpecError, match="'x' is a leaf"):
        stack.set(("x", "y"), Unbounded((2,)))
    assert stack == kept


def test_categories_at_all_levels_change_form() -> None:
    """Entries of categories become one-hot vectors and back, in the spec as in its samples; others stay."""
    spec = Composite(
        {"a": Categorical(3, (2,)), "n": {"b": MultiCategorical([2, 3], (2, 2)), "x": Unbounded((2,))}}, shape=(2,)
    )
    one_hot, sample = spec.to_one_hot_spec(), spec.rand(4)
    vectors = spec.to_one_hot(sample)
    assert one_hot["n", "b"] == MultiOneHot([2, 3], (2, 5))
    assert one_hot["n", "x"] == Unbounded((2,))
    assert one_hot.is_in(vectors)
    assert one_hot.to_categorical_spec() == spec
    assert (one_hot.to_categorical(vectors) == sample).all()
    assert sample["a"].dtype == torch.int64
    assert spec.to_one_hot({"a": sample["a"], "n": {"b": sample["n", "b"]}})["n"]["b"].shape == (4, 2, 5)
    with pytest.raises(MissingKeyError, match=r'Composite.to_one_hot: key "a" missing'):
        spec.to_one_hot({"n": {"b": sample["n", "b"]}})


def test_masks_of_leaves_are_those_of_entries() -> None:
    """A leaf is held as it is, so that a mask reaches the entry; a copy of the whole has its own."""
    leaf = Categorical(3)
    spec = Composite(a=leaf)
    other = spec.clone()
    leaf.update_mask(torch.tensor([False, True, False]))
    assert spec.rand()["a"].item() == 1
    assert other["a"].mask is None
