"""Bounded: construction, domain, sampling inside the bounds after rounding, projection, conversions."""

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rl_specs import Bounded, DTypeError, ShapeError, SpecError, stack_specs


def test_shape_is_that_of_tensor_bounds() -> None:
    """Tensor bounds give the shape, and a third positional argument states it."""
    assert Bounded(-torch.ones(3), torch.ones(3)).shape == (3,)
    assert Bounded(-torch.ones(3), torch.ones(3), (3,)).shape == (3,)
    assert Bounded(-1, 1).shape == ()


def test_scalars_numpy_and_lists_broadcast_to_shape() -> None:
    """Scalar, array and list bounds expand to the shape."""
    spec = Bounded(low=0, high=np.array([1.0, 2.0]), shape=(4, 2))
    assert spec.space.low.shape == (4, 2)
    assert spec.space.high[3].tolist() == [1.0, 2.0]
    assert Bounded([0, 1], [2, 3]).high.tolist() == [2.0, 3.0]


def test_dtype_and_device_defaults() -> None:
    """Tensor bounds keep their dtype; numbers and arrays take torch's default dtype."""
    assert Bounded(torch.zeros(2, dtype=torch.float64), 1).dtype == torch.float64
    assert Bounded(np.zeros(2), np.ones(2)).dtype == torch.float32
    assert Bounded(0, 1).device == torch.device("cpu")


def test_integers_keep_all_digits() -> None:
    """Integer bounds beyond the precision of a float are held exactly."""
    assert Bounded(0, [2**62 + 1], dtype=torch.int64).high.item() == 2**62 + 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rand_stays_inside_after_rounding(dtype: torch.dtype) -> None:
    """Samples of neighbouring bounds never round to outside, in any float dtype."""
    low = torch.tensor([0.1, -0.3, 1e-7, -65504.0], dtype=dtype)
    high = torch.nextafter(low.float(), torch.tensor(math.inf)).to(dtype) if dtype == torch.float32 else low
    spec = Bounded(low, high)
    sample = spec.rand((500,))
    assert sample.dtype == dtype
    assert bool(((sample >= low) & (sample <= high)).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rand_between_equal_bounds_is_that_number(dtype: torch.dtype) -> None:
    """Rounding inside the draw does not push a sample off a bound that leaves it no room."""
    spec = Bounded([0.1, 0.7, 1 / 3, 5.3], [0.1, 0.7, 1 / 3, 5.3], dtype=dtype)
    assert bool((spec.rand((5_000,)) == spec.low).all())


def test_rand_of_the_widest_floats_is_finite() -> None:
    """Bounds whose difference overflows still give finite samples."""
    greatest = torch.finfo(torch.float32).max
    assert bool(Bounded(-greatest, greatest, (100,)).rand().isfinite().all())


def test_rand_with_infinite_bounds() -> None:
    """A single finite bound gives an exponential from it, none gives a standard normal, as documented."""
    torch.manual_seed(0)
    inf = math.inf
    spec = Bounded(torch.tensor([2.0, -inf, -inf, -1.0]), torch.tensor([inf, 3.0, inf, 1.0]))
    sample = spec.rand((20_000,))
    assert spec.is_in(sample)
    assert bool(sample.isfinite().all())
    torch.testing.assert_close(sample.mean(0), torch.tensor([3.0, 2.0, 0.0, 0.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(sample.std(0), torch.tensor([1.0, 1.0, 1.0, 3**-0.5]), atol=0.05, rtol=0)


def test_infinite_bounds_survive_shape_operations() -> None:
    """A moved spec draws as the original does."""
    spec = Bounded(torch.tensor([0.0, -math.inf]), math.inf)
    for moved in (spec.expand(50, 2), spec.expand(50, 2)[1:], stack_specs([Bounded(0, 1, (2,)), spec]), spec.clone()):
        assert bool(moved.rand((20,)).isfinite().all())


def test_integer_rand_takes_both_bounds() -> None:
    """Integer samples are uniform over both bounds, element by element."""
    torch.manual_seed(0)
    spec = Bounded(torch.tensor([0, -2]), torch.tensor([2, -2]))
    sample = spec.rand((9_000,))
    assert sample.dtype == torch.int64
    counts = torch.bincount(sample[:, 0], minlength=3)
    assert counts.min() > 2_700
    assert bool((sample[:, 1] == -2).all())


def test_integer_rand_over_the_whole_dtype() -> None:
    """The widest integer ranges do not overflow."""
    assert Bounded(-(2**63), 2**63 - 1, (50,), dtype=torch.int64).is_in(
        Bounded(-(2**63), 2**63 - 1, (50,), dtype=torch.int64).rand()
    )
    assert set(Bounded(0, 255, (9000,), dtype=torch.uint8).rand().tolist()) == set(range(256))


def test_rand_follows_the_generator() -> None:
    """A generator fixes the samples and leaves the global stream alone."""
    spec = Bounded(-1, 1, (5,))
    before = torch.get_rng_state()
    a, b = (spec.rand(generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(before, torch.get_rng_state())


def test_is_in_reads_bounds_shape_and_dtype() -> None:
    """Bounds are included; a batch in front is welcome; another dtype, shape or NaN is not."""
    spec = Bounded(-1, 1, (2,))
    assert spec.is_in(torch.tensor([-1.0, 1.0]))
    assert spec.is_in(torch.zeros(7, 2))
    assert not spec.is_in(torch.tensor([-1.0, 1.001]))
    assert not spec.is_in(torch.tensor([0.0, math.nan]))
    assert not spec.is_in(torch.zeros(3))
    assert not spec.is_in(torch.zeros(2, dtype=torch.float64))
    assert not spec.is_in([0.0, 0.0])
    assert torch.zeros(2) in spec


def test_another_device_is_not_in() -> None:
    """A value on another device is refused, and the table says which."""
    value = torch.zeros(2, device="meta")
    assert not Bounded(-1, 1, (2,)).is_in(value)
    with pytest.raises(SpecError, match=r"device +cpu +meta"):
        Bounded(-1, 1, (2,)).assert_is_in(value)


def test_project_clamps_casts_and_keeps_nan() -> None:
    """Projection clamps into the bounds and the dtype, leaves its input alone, and does not hide NaN."""
    value = torch.tensor([-3.0, 0.5, math.nan], dtype=torch.float64)
    projected = Bounded(-1, 1, (3,)).project(value)
    assert projected.dtype == torch.float32
    assert projected[:2].tolist() == [-1.0, 0.5]
    assert projected[2].isnan()
    assert value[0] == -3.0


def test_integer_project_rounds_and_never_wraps() -> None:
    """Numbers beyond the dtype land on the bounds, not on the other side."""
    spec = Bounded(0, 255, dtype=torch.uint8)
    assert spec.project(torch.tensor([-1.0, 3.6, 1e9])).tolist() == [0, 4, 255]
    assert spec.project(torch.tensor([-1, 300])).tolist() == [0, 255]
    wide = Bounded(0, 2**62 + 1, dtype=torch.int64)
    assert wide.is_in(wide.project(torch.tensor(1e30)))


def test_zero_and_one_have_the_form_of_the_spec() -> None:
    """`zero`, `zeros`, `one`, `ones` have shape and dtype of the spec, whatever its bounds."""
    spec = Bounded(2, 3, (2,), dtype=torch.float64)
    assert spec.zero(3).shape == (3, 2)
    assert spec.zeros((4, 1)).shape == (4, 1, 2)
    assert spec.one().tolist() == [1.0, 1.0]
    assert spec.ones().dtype == torch.float64


def test_encode_and_to_numpy_are_inverse() -> None:
    """Numpy goes to the dtype of the spec and back; a wrong shape is an error."""
    spec = Bounded(-1, 1, (3,))
    array = np.array([0.5, -0.5, 0.25])[::-1]
    encoded = spec.encode(array)
    assert encoded.dtype == torch.float32
    np.testing.assert_array_equal(spec.to_numpy(encoded), array.astype(np.float32))
    with pytest.raises(ShapeError, match=r"Bounded.encode.*\(\*batch, 3\), found \(2,\)"):
        spec.encode([0.0, 1.0])


def test_to_dtype_and_device() -> None:
    """`to` changes dtype or device and leaves the original."""
    spec = Bounded(-1, 1, (2,))
    assert spec.to(torch.float64).low.dtype == torch.float64
    assert spec.dtype == torch.float32
    assert spec.to("cpu") == spec
    assert spec.to(torch.device("cpu")).device.type == "cpu"


def test_equality_and_hash_are_by_value() -> None:
    """Equal specs are equal and hash alike; another bound, shape or dtype makes another spec."""
    spec = Bounded(-1, 1, (2,))
    assert spec == Bounded(-torch.ones(2), torch.ones(2))
    assert hash(spec) == hash(Bounded(-torch.ones(2), torch.ones(2)))
    assert spec == spec.clone() == pickle.loads(pickle.dumps(spec))
    for other in (Bounded(-1, 2, (2,)), Bounded(-1, 1, (3,)), Bounded(-1, 1, (2,), dtype=torch.float64), "spec"):
        assert spec != other


def test_stack_joins_different_bounds() -> None:
    """Stacked bounds sit along the new dimension."""
    stacked = stack_specs([Bounded(0, 1, (2,)), Bounded(0, 5, (2,))], -1)
    assert isinstance(stacked, Bounded)
    assert stacked.high.tolist() == [[1.0, 5.0], [1.0, 5.0]]


def test_cardinality() -> None:
    """Integers are counted, floats are not."""
    assert Bounded(torch.tensor([0, 0]), torch.tensor([2, 3])).cardinality() == 12
    assert Bounded(0, 1).cardinality() == math.inf


def test_domain_and_repr() -> None:
    """The repr states shape, bounds, dtype and device in one line."""
    spec = Bounded(-1, torch.tensor([1.0, 2.5]))
    assert repr(spec) == "Bounded(shape=(2,), low=-1, high=[1, 2.5], dtype=float32, device=cpu)"
    assert spec.domain == "continuous"
    assert spec.to(torch.int32).domain == "discrete"


def test_wrong_bounds_are_errors() -> None:
    """Bounds that are swapped, NaN, of other shapes or beyond the dtype say so."""
    with pytest.raises(SpecError, match="Expected low <= high, found low=1, high=-1"):
        Bounded(1, -1)
    with pytest.raises(SpecError, match="low <= high"):
        Bounded(math.nan, 1)
    with pytest.raises(ShapeError, match=r"found \(3,\) and \(2,\)"):
        Bounded(torch.zeros(3), torch.ones(2))
    with pytest.raises(ShapeError, match=r"Expected \(4,\), found \(3,\)"):
        Bounded(torch.zeros(3), torch.ones(3), (4,))
    with pytest.raises(DTypeError, match="cannot be held as uint8"):
        Bounded(-1, 255, dtype=torch.uint8)
    with pytest.raises(DTypeError, match="cannot be held as int64"):
        Bounded(0, math.inf, dtype=torch.int64)
    with pytest.raises(DTypeError, match="Use int64"):
        Bounded(0, 1, dtype=torch.uint16)
    with pytest.raises(TypeError, match="unexpected keyword"):
        Bounded(minimum=0, maximum=1)  # type: ignore[call-arg]  # what is tested


def test_assert_is_in_names_the_fix() -> None:
    """The message has the name, the bounds, what was found and where."""
    with pytest.raises(SpecError, match=r"action: not in the spec Bounded. Bring .*project") as caught:
        Bounded(-1, 1, (2,)).assert_is_in(torch.tensor([0.0, 2.0]), name="action")
    assert "low=-1, high=1" in str(caught.value)
    assert "1 of 2 outside, first at (1,): 2.0" in str(caught.value)
    Bounded(-1, 1, (2,)).assert_is_in(torch.zeros(2))


def test_truth_values_have_no_bounds() -> None:
    """A dtype that holds no numbers is refused with the spec to use instead."""
    builds: list[Callable[[], Bounded]] = [
        lambda: Bounded(0, 1, (3,), dtype=torch.bool),
        lambda: Bounded(torch.tensor([False]), torch.tensor([True])),
        lambda: Bounded(0, 1).to(torch.bool),
    ]
    for build in builds:
        with pytest.raises(DTypeError, match=r"Bounded: truth values.*Expected a dtype of numbers, found bool. Use B"):
            build()
    with pytest.raises(DTypeError, match=r"Expected an integer or floating-point dtype, found complex64. Use int64"):
        Bounded(0, 1, dtype=torch.complex64)


def test_one_pair_of_numbers_stays_one_through_every_operation() -> None:
    """Bounds that are one number everywhere take the memory of one, whatever places are picked, repeated or joined."""
    frames = Bounded(0, 255, (6, 84, 84), dtype=torch.uint8)
    moved: list[Bounded] = [
        frames.flip(0),
        frames.roll(1, 0),
        frames.gather(0, torch.zeros((6, 84, 84), dtype=torch.int64)),
        frames.index_select(0, torch.tensor([5, 0])),
        frames[torch.tensor([[0, 1], [2, 3]])],
        frames.repeat(2, 1, 1),
        frames.repeat_interleave(2, 0),
        frames.permute(2, 0, 1).reshape(-1),
        torch.cat([frames, frames.clone()]),  # type: ignore[list-item]  # specs join too
        torch.stack([frames, Bounded(0, 255, (6, 84, 84), dtype=torch.uint8)]),  # type: ignore[list-item]  # likewise
    ]
    for spec in moved:
        assert spec.low.untyped_storage().nbytes() == spec.high.untyped_storage().nbytes() == 1
        assert spec == Bounded(0, 255, spec.shape, dtype=torch.uint8)
    other: Any = torch.stack([frames, Bounded(0, 254, (6, 84, 84), dtype=torch.uint8)])  # type: ignore[list-item]
    assert other.high[:, 0, 0, 0].tolist() == [255, 254]
    assert frames[:0].flip(0) == Bounded(0, 255, (0, 84, 84), dtype=torch.uint8)
