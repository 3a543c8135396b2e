"""Prioritized sampling on a device: the same as on the CPU, call by call, and states that go both ways."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

import rl_cuda
from rl_buffers import (
    LazyTensorStorage,
    LinearAnnealing,
    ListStorage,
    PrioritizedSampler,
    ReplayBuffer,
    Sampler,
    TensorDictPrioritizedReplayBuffer,
    TensorStorage,
)
from rl_specs import DeviceError, ShapeError

CAPACITY = 100
MakeSampler = Callable[..., Sampler]


def make_buffer(sampler: Sampler, device: torch.device | str = "cpu", seed: int = 0) -> Any:
    """A buffer of rows with one number."""
    return TensorDictPrioritizedReplayBuffer(
        alpha=0.6,
        beta=0.4,
        storage=LazyTensorStorage(CAPACITY, device=device),
        sampler=sampler,
        batch_size=32,
        generator=torch.Generator().manual_seed(seed),
    )


def rows(first: int, count: int) -> TensorDict:
    """`count` rows that hold `first`, `first + 1`, ..."""
    return TensorDict({"observation": torch.arange(first, first + count)}, [count])


@pytest.mark.parametrize("place", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_named(place: str) -> None:
    """It says why the device cannot be used, why the kernels cannot run, if so, and what does the same work."""
    with pytest.raises(DeviceError, match=rf'device {place} cannot be used: .*Give device="cpu"') as found:
        rl_cuda.CudaPrioritizedSampler(CAPACITY, 1.0, 1.0, device=place)
    reason = rl_cuda.why_unavailable()
    assert reason is None or reason in str(found.value)


def on_cpu(value: Any) -> Any:
    """Tensors of a batch on the CPU."""
    return value.to("cpu")


def use_both(one: Any, other: Any, seed: int, calls: int = 60) -> None:
    """The same calls of two buffers: every batch, and the state in the end, are the same."""
    generator = torch.Generator().manual_seed(seed)

    def number(high: int) -> int:
        return int(torch.randint(high, (), generator=generator))

    for buffer in (one, other):
        buffer.extend(rows(0, 10))
    for call in range(calls):
        what = number(6)
        if what == 0:
            data, count = rows(100 * call, 40), 1 + number(39)
            for buffer in (one, other):
                buffer.extend(data[:count])
        elif what == 1:
            for buffer in (one, other):
                buffer.add(rows(100 * call, 1)[0])
        elif what == 2:
            where = torch.randperm(len(one), generator=generator)[: 1 + number(9)]
            for buffer in (one, other):
                buffer[where] = rows(100 * call, len(where))
        else:
            batches = [buffer.sample() for buffer in (one, other)]
            same(*batches)
            priority = torch.rand(32, generator=generator) * 10 ** number(4)
            overwrite = number(2) == 0
            for buffer, batch in zip((one, other), batches, strict=True):
                if overwrite:  # some of the batch's rows, before their priorities are known
                    buffer.extend(rows(7, 5))
                buffer.update_tensordict_priority(batch.set("td_error", priority.to(batch.device)))
    same_states(one.sampler.state_dict(), other.sampler.state_dict())


def same(one: TensorDict, other: TensorDict) -> None:
    """Two batches with the same rows and stamps, and weights that are equal up to rounding."""
    one, other = on_cpu(one), on_cpu(other)
    for key in ("index", "_stamp", "observation"):
        assert torch.equal(one[key], other[key])
    torch.testing.assert_close(one["_weight"], other["_weight"])


def same_states(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two states of the same form whose numbers are equal up to rounding."""
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, Tensor):
            assert value.device == other[key].device
            torch.testing.assert_close(value, other[key], rtol=1e-14, atol=0)
        elif isinstance(value, float):
            assert value == pytest.approx(other[key], rel=1e-14)
        else:
            assert value == other[key]


@pytest.mark.parametrize("normalization", ["buffer", "batch", "none"])
@pytest.mark.parametrize("is_within", [True, False])
def test_does_what_the_sampler_on_the_cpu_does(device: torch.device, normalization: Any, is_within: bool) -> None:
    """Writes, draws, updates of rows meanwhile overwritten: batch for batch the same as `PrioritizedSampler`."""
    settings: Any = {"normalization": normalization, "max_priority_within_buffer": is_within}
    schedule = LinearAnnealing(0.4, 1.0, 20)
    plain = PrioritizedSampler(CAPACITY, 0.6, schedule, **settings)
    here = rl_cuda.CudaPrioritizedSampler(CAPACITY, 0.6, schedule, **settings, device=device)
    for seed in range(3):
        use_both(make_buffer(plain), make_buffer(here, device), seed)
        plain.clear()
        here.clear()


@pytest.mark.parametrize("is_to_device", [True, False], ids=["to device", "from device"])
def test_saved_buffer_goes_on_with_the_other_sampler(device: torch.device, tmp_path: Path, is_to_device: bool) -> None:
    """A buffer saved with one of the samplers is loaded with the other, and goes on with the same batches."""
    plain = make_buffer(PrioritizedSampler(CAPACITY, 0.6, 0.4))
    here = make_buffer(rl_cuda.CudaPrioritizedSampler(CAPACITY, 0.6, 0.7, device=device), device, seed=5)
    saved, loaded = (plain, here) if is_to_device else (here, plain)
    saved.extend(rows(0, 130))
    for _ in range(3):
        batch = saved.sample()
        saved.update_tensordict_priority(batch.set("td_error", batch["observation"].double()))
    saved.dumps(tmp_path)
    loaded.extend(rows(0, 3))
    loaded.loads(tmp_path)
    assert loaded.sampler.beta == saved.sampler.beta
    use_both(saved, loaded, seed=3, calls=20)


@pytest.mark.parametrize("beta", [0.4, LinearAnnealing(0.4, 1.0, 10)], ids=["constant", "schedule"])
@pytest.mark.parametrize("is_within", [True, False])
def test_states_go_there_and_back_bit_for_bit(device: torch.device, beta: Any, is_within: bool) -> None:
    """A state of one sampler, loaded by the other and saved again, is the same state, whichever it came from."""

    def make(is_plain: bool) -> Any:
        settings: Any = {"max_priority_within_buffer": is_within}
        if is_plain:
            return PrioritizedSampler(CAPACITY, 0.6, beta, **settings)
        return rl_cuda.CudaPrioritizedSampler(CAPACITY, 0.6, beta, **settings, device=device)

    for is_plain in (True, False):
        first, second, third = make(is_plain), make(not is_plain), make(is_plain)
        buffer = make_buffer(first, "cpu" if is_plain else device)
        buffer.extend(rows(0, 130))
        for _ in range(3):
            batch = buffer.sample()
            buffer.update_tensordict_priority(batch.set("td_error", batch["observation"].double() + 0.1))
        state = first.state_dict()
        second.load_state_dict(state)
        third.load_state_dict(second.state_dict())
        for other in (second, third):
            found = other.state_dict()
            assert found.keys() == state.keys()
            for key, value in state.items():
                assert torch.equal(found[key], value) if isinstance(value, Tensor) else found[key] == value
            assert other.beta == first.beta
            assert other.max_priority == pytest.approx(first.max_priority, rel=1e-14)


def test_a_state_of_more_rows_is_refused(device: torch.device) -> None:
    """More rows than there is room for are an error that says so, and nothing is changed."""
    large, small = (rl_cuda.CudaPrioritizedSampler(size, 0.6, 0.4, device=device) for size in (CAPACITY, 50))
    make_buffer(large, device).extend(rows(0, 60))
    before = small.state_dict()
    with pytest.raises(ValueError, match=r"CudaPrioritizedSampler.*more rows than max_capacity.*at most 50, found 60"):
        small.load_state_dict(large.state_dict())
    same_states(small.state_dict(), before)


def test_a_storage_without_a_limit(device: torch.device) -> None:
    """As with `PrioritizedSampler`, what an unlimited storage holds must fit, not what it could hold."""
    buffer = ReplayBuffer(
        storage=ListStorage(), sampler=rl_cuda.CudaPrioritizedSampler(4, 1.0, 1.0, device=device), batch_size=3
    )
    buffer.extend([1, 2, 3])
    assert sorted(buffer.sample()) == [1, 2, 3]
    with pytest.raises(ValueError, match=r"max_capacity is smaller than the storage.*at least 5.*4"):
        buffer.extend([4, 5])


def test_nothing_to_update(device: torch.device) -> None:
    """No rows, in any form that a batch can have, change nothing."""
    sampler = rl_cuda.CudaPrioritizedSampler(CAPACITY, 1.0, 0.5, device=device)
    make_buffer(sampler, device).extend(rows(0, 3))
    before = sampler.state_dict()
    none = torch.empty(0, dtype=torch.int64, device=device)
    sampler.update_priority(none, none.double())
    sampler.update_priority(none.reshape(0, 3), none.double().reshape(0, 3), none.reshape(0, 3))
    sampler.update_priority([], 1.0)
    same_states(sampler.state_dict(), before)


def test_draws_follow_priorities_after_a_wrap(device: torch.device) -> None:
    """After the ring has wrapped, rows are drawn in proportion to their priorities (chi-square, 99 degrees)."""
    sampler = rl_cuda.CudaPrioritizedSampler(CAPACITY, 1.0, 0.5, eps=0.0, device=device)
    buffer = make_buffer(sampler, device)
    buffer.extend(rows(0, 70))
    buffer.extend(rows(70, 75))
    priority = torch.rand(CAPACITY, generator=torch.Generator().manual_seed(2)) + 0.01
    buffer.update_priority(torch.arange(CAPACITY), priority)
    counts = torch.zeros(CAPACITY)
    for _ in range(150):
        counts += torch.bincount(buffer.sample()["index"].cpu(), minlength=CAPACITY)
    expected = priority / priority.sum() * 150 * 32
    assert float(((counts - expected) ** 2 / expected).sum()) < 148.2  # 99.9% quantile


def test_hand_computed_weights(device: torch.device) -> None:
    """Priorities 1, 4 and beta 0.5: weights 1 and 1/2 by the buffer's largest, (2 * 1/5)^-1/2 and so on by none."""
    expected = {"buffer": [1.0, 0.5], "none": [(2 / 5) ** -0.5, (8 / 5) ** -0.5]}
    for normalization, weights in expected.items():
        kind: Any = normalization
        sampler = rl_cuda.CudaPrioritizedSampler(2, 1.0, 0.5, eps=0.0, normalization=kind, device=device)
        storage = LazyTensorStorage(2, device=device)
        buffer = TensorDictPrioritizedReplayBuffer(alpha=1, beta=1, storage=storage, sampler=sampler, batch_size=64)
        buffer.extend(rows(0, 2))
        buffer.update_priority([0, 1], [1.0, 4.0])
        batch = on_cpu(buffer.sample())
        assert batch["_weight"].dtype == torch.float32
        torch.testing.assert_close(batch["_weight"], torch.tensor(weights)[batch["index"]])


@pytest.mark.parametrize(("reduction", "expected"), [("max", 4.0), ("min", 1.0), ("mean", 2.5), ("median", 2.5)])
def test_several_priorities_of_a_row(device: torch.device, reduction: Any, expected: float) -> None:
    """Priorities `[n, 4]` are reduced to one a row, as asked for."""
    sampler = rl_cuda.CudaPrioritizedSampler(CAPACITY, 1.0, 0.5, eps=0.0, reduction=reduction, device=device)
    buffer = make_buffer(sampler, device)
    buffer.extend(rows(0, 1))
    buffer.update_priority(torch.zeros(1, 4, dtype=torch.int64), torch.tensor([[1.0, 4.0, 2.0, 3.0]]))
    assert sampler.max_priority == expected


def test_a_row_of_priority_zero_is_never_drawn(device: torch.device) -> None:
    """With `eps=0`, rows of priority zero are not drawn, and weights are of the smallest that is not zero."""
    buffer = make_buffer(rl_cuda.CudaPrioritizedSampler(CAPACITY, 1.0, 1.0, eps=0.0, device=device), device)
    buffer.extend(rows(0, 4))
    buffer.update_priority([0, 1, 2, 3], [0.0, 2.0, 0.0, 0.0])
    batch = buffer.sample()
    assert set(batch["index"].tolist()) == {1}
    assert set(batch["_weight"].tolist()) == {1.0}


def test_rows_that_were_there_before_take_priorities(device: torch.device) -> None:
    """Rows that the storage was made with can be given priorities before the first draw."""
    sampler = rl_cuda.CudaPrioritizedSampler(3, 1.0, 1.0, eps=0.0, device=device)
    buffer = ReplayBuffer(storage=TensorStorage(torch.arange(3), device=device), sampler=sampler)
    buffer.update_priority(torch.arange(3), torch.tensor([0.0, 1.0, 0.0]))
    assert buffer.sample(5).tolist() == [1] * 5


def test_values_of_beta_reach_the_weights_in_place(device: torch.device) -> None:
    """A new beta is written to where a captured draw reads it."""
    sampler = rl_cuda.CudaPrioritizedSampler(CAPACITY, 1.0, 0.5, device=device)
    where = sampler._exponent.data_ptr()
    sampler.beta = 0.75
    assert sampler.beta == 0.75
    assert sampler._exponent.item() == 0.75
    assert sampler._exponent.data_ptr() == where


def test_what_cannot_be_is_an_error_that_says_so() -> None:
    """On the CPU bad priorities, rows and settings are errors at once, and nothing is changed."""
    sampler = rl_cuda.CudaPrioritizedSampler(CAPACITY, 1.0, 0.5, eps=0.0, device="cpu")
    buffer = make_buffer(sampler)
    buffer.extend(rows(0, 3))
    before = sampler.state_dict()
    for priority in ([1.0, -1.0], [float("nan"), 1.0], [1.0, float("inf")]):
        with pytest.raises(ValueError, match=r"update_priority: priorities.*finite numbers >= 0.* at [01]"):
            buffer.update_priority([0, 1], priority)
    with pytest.raises(IndexError, match=r"row numbers.*0 to 99.*\[100, -1\]"):
        buffer.update_priority([100, 0, -1], 1.0)
    with pytest.raises(IndexError, match=r"row numbers.*integers"):
        buffer.update_priority(torch.rand(2), 1.0)
    with pytest.raises(ShapeError, match=r"one for each of 2 rows.*3 priorities"):
        buffer.update_priority([0, 1], [1.0, 2.0, 3.0])
    same_states(sampler.state_dict(), before)
    buffer.update_priority([0, 1, 2], 0.0)
    with pytest.raises(RuntimeError, match=r"no row can be drawn: all have priority 0"):
        buffer.sample()
    with pytest.raises(ValueError, match=r"max_capacity is smaller than the storage.*at least 100.*50"):
        make_buffer(rl_cuda.CudaPrioritizedSampler(50, 1.0, 0.5, device="cpu")).extend(rows(0, 1))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"max_capacity": 0}, "max_capacity"),
        ({"alpha": -1.0}, "alpha"),
        ({"beta": -0.1}, "beta"),
        ({"eps": float("inf")}, "eps"),
        ({"reduction": "sum"}, "reduction"),
        ({"normalization": "sum"}, "normalization"),
    ],
)
def test_wrong_settings_are_named(arguments: dict[str, Any], text: str) -> None:
    """A setting that makes no sense is an error that names it."""
    good: dict[str, Any] = {"max_capacity": 10, "alpha": 1.0, "beta": 1.0}
    with pytest.raises(ValueError, match=rf"CudaPrioritizedSampler: {text}: expected|CudaPrioritizedSampler: {text}"):
        rl_cuda.CudaPrioritizedSampler(**(good | arguments), device="cpu")


if rl_cuda.is_available():  # what only a GPU can show

    def test_a_graph_replays_the_whole_cycle() -> None:
        """Draws and updates are captured in a CUDA graph, and each replay draws anew from the priorities of then."""
        device = torch.device("cuda")
        storage = LazyTensorStorage(CAPACITY, device=device)
        buffer = TensorDictPrioritizedReplayBuffer(
            alpha=1.0,
            beta=0.5,
            storage=storage,
            sampler=rl_cuda.CudaPrioritizedSampler(CAPACITY, 1.0, 0.5, device=device),
            batch_size=64,
        )
        buffer.extend(rows(0, CAPACITY))
        sampler = buffer.sampler
        priority = torch.ones(64, device=device)
        seen = torch.zeros(64, dtype=torch.int64, device=device)

        def cycle() -> None:
            index, info = sampler.sample(storage, 64, None)
            seen.copy_(index)
            sampler.update_priority(index, priority, info["_stamp"])

        cycle()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            cycle()
        drawn = []
        for number in range(20):
            priority.fill_(number)
            graph.replay()
            drawn.append(seen.tolist())
        assert len(set(map(tuple, drawn))) == 20
        leaves = sampler.state_dict()["leaves"]
        expected = torch.ones(CAPACITY, dtype=torch.float64)
        for number, batch in enumerate(drawn):
            expected[batch] = number + 1e-8
        was_drawn = torch.zeros(CAPACITY, dtype=torch.bool)
        was_drawn[sorted({row for batch in drawn for row in batch})] = True
        assert torch.equal(leaves[was_drawn], expected[was_drawn])

    def test_bad_priorities_are_raised_by_a_later_call() -> None:
        """Nobody waits to look at priorities; a later call tells of those that were bad, which changed nothing."""
        sampler = rl_cuda.CudaPrioritizedSampler(CAPACITY, 1.0, 0.5, device="cuda")
        buffer = make_buffer(sampler, "cuda")
        buffer.extend(rows(0, 3))
        before = sampler._trees.sums.clone()
        buffer.update_priority([0, 1], [float("nan"), -1.0])
        assert torch.equal(sampler._trees.sums, before)
        torch.cuda.synchronize()
        with pytest.raises(ValueError, match=r"earlier calls.*finite numbers >= 0, found 2 others"):
            buffer.sample()
        buffer.sample()
