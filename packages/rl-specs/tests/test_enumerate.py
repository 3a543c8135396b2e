"""Every value of a spec, each once."""

import math

import pytest
import torch

from rl_specs import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    MultiCategorical,
    MultiOneHot,
    NonTensor,
    OneHot,
    SpecError,
    TensorSpec,
    Unbounded,
)

FINITE: dict[str, TensorSpec] = {
    "categorical": Categorical(5),
    "categorical batch": Categorical(3, (2, 1), dtype=torch.int32),
    "one-hot": OneHot(4),
    "one-hot batch": OneHot(3, (2, 3), dtype=torch.float32),
    "multi-categorical": MultiCategorical([2, 3, 2]),
    "multi-categorical batch": MultiCategorical([2, 3], (4, 2)),
    "multi-one-hot": MultiOneHot([2, 3]),
    "multi-one-hot batch": MultiOneHot([2, 3], (4, 5), dtype=torch.int64),
    "binary": Binary(3),
    "binary batch": Binary(2, (3, 2)),
    "binary number": Binary(shape=()),
    "integers": Bounded(-1, 2, (2,), dtype=torch.int64),
    "integer": Bounded(0, 3, (), dtype=torch.uint8),
}


@pytest.mark.parametrize("name", FINITE)
def test_every_value_once(name: str) -> None:
    """As many as the cardinality says, all different, all in the spec, of its dtype."""
    spec = FINITE[name]
    values = spec.enumerate()
    assert values.shape == (spec.cardinality(), *spec.shape)
    assert values.dtype == spec.dtype
    assert spec.is_in(values)
    assert len(values.unique(dim=0)) == len(values)


def test_order() -> None:
    """The last variable changes fastest."""
    assert MultiCategorical([2, 2]).enumerate().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert Binary(2).enumerate().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert Bounded(1, 2, (2,), dtype=torch.int32).enumerate().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_composite_lists_combinations() -> None:
    """Nested entries included, with the batch shape behind the list."""
    spec = Composite({"a": Categorical(3, (2,)), ("n", "b"): OneHot(2, (2, 2))}, shape=(2,))
    values = spec.enumerate()
    assert values.batch_size == (6, 2)
    assert spec.is_in(values)
    assert values["a"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert values["n", "b"][:, 0].int().tolist() == [[1, 0], [0, 1]] * 3
    assert len(values) == spec.cardinality()


@pytest.mark.parametrize("spec", [Unbounded((2,)), Bounded(0.0, 1.0, (2,)), NonTensor()])
def test_what_cannot_be_counted_is_refused(spec: TensorSpec) -> None:
    """The message says how many values there are."""
    assert spec.cardinality() == math.inf
    with pytest.raises(SpecError, match="cardinality inf"):
        spec.enumerate()


def test_too_many_are_refused_at_once() -> None:
    """Before any memory is taken."""
    with pytest.raises(SpecError, match="too many values"):
        Binary(60).enumerate()
    with pytest.raises(SpecError, match="too many values"):
        MultiCategorical([1000] * 6).enumerate()
    with pytest.raises(SpecError, match="too many values"):
        Composite(a=Categorical(10_000), b=Categorical(10_000)).enumerate()
