"""Tests of `rl_specs.from_data`."""

import pytest
import torch
from tensordict import LazyStackedTensorDict, NonTensorData, TensorDict

from rl_specs import Composite, NonTensor, StackedComposite, Unbounded, make_composite_from_td


def test_by_hand() -> None:
    """Each entry has its shape and dtype, nested ones and texts too, and the zeros are those of the data."""
    data = TensorDict(
        {
            "obs": torch.randn(4, 3),
            "action": torch.zeros(4, 2, dtype=torch.int32),
            "next": {"flag": torch.ones(4, dtype=torch.bool)},
        },
        [4],
    )
    spec = make_composite_from_td(data)
    assert spec == Composite(
        {
            "obs": Unbounded((4, 3)),
            "action": Unbounded((4, 2), dtype=torch.int32),
            ("next", "flag"): Unbounded((4,), dtype=torch.bool),
        },
        shape=(4,),
    )
    assert spec.is_in(data)
    assert bool((spec.zero() == data.clone().zero_()).all())


def test_entries_without_dimensions() -> None:
    """They get one of size 1, or stay as they are."""
    data = TensorDict({"x": torch.tensor(1.0)})
    assert make_composite_from_td(data)["x"] == Unbounded((1,))
    assert make_composite_from_td(data, unsqueeze_null_shapes=False)["x"] == Unbounded(())


def test_open_sizes() -> None:
    """The last dimension is open where it is none of the batch, so that data of another size are in the spec."""
    data = TensorDict({"x": torch.zeros(2, 5), "y": torch.zeros(2)}, [2])
    spec = make_composite_from_td(data, dynamic_shape=True)
    assert [spec["x"].shape, spec["y"].shape] == [(2, -1), (2,)]
    assert spec.is_in(TensorDict({"x": torch.zeros(2, 7), "y": torch.zeros(2)}, [2]))


def test_what_is_no_tensor_and_what_differs() -> None:
    """Texts are objects, rows with other entries a stack; anything but a TensorDict is refused."""
    text = TensorDict({"name": NonTensorData("cart", batch_size=[2])}, [2])
    assert make_composite_from_td(text)["name"] == NonTensor((2,), example_data="cart")
    rows = LazyStackedTensorDict(TensorDict({"a": torch.zeros(3)}), TensorDict({"b": torch.zeros(2)}), stack_dim=0)
    spec = make_composite_from_td(rows)
    assert spec == StackedComposite(Composite(a=Unbounded(3)), Composite(b=Unbounded(2)), dim=0)
    assert spec.is_in(rows)
    with pytest.raises(TypeError, match=r"make_composite_from_td: data\. Expected a TensorDict, found dict"):
        make_composite_from_td({"a": torch.zeros(3)})  # type: ignore[arg-type]  # what is tested
