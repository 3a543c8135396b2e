"""Tests of `rl_envs._counter_random` and `rl_envs._seeding`."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rl_envs._counter_random import mix, stream_keys, uniform
from rl_envs._seeding import mix64, next_seed, stream_seed

WORDS = st.integers(min_value=0, max_value=2**64 - 1)


@given(WORDS)
def test_tensor_and_integer_arithmetic_agree(word: int) -> None:
    """The finaliser of a tensor is that of Python's integers modulo 2**64."""
    signed = word - 2**64 if word >= 2**63 else word
    assert mix(torch.tensor([signed])).item() % 2**64 == mix64(word)


def test_known_outputs_of_splitmix64() -> None:
    """The first outputs of the published generator with seed 1234567."""
    golden = 0x9E3779B97F4A7C15
    outputs = [mix64((1234567 + i * golden) % 2**64) for i in range(3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(st.integers(min_value=0, max_value=2**31), st.integers(min_value=1, max_value=10_000))
def test_streams_of_a_seed_differ(seed: int, index: int) -> None:
    """Env 0 has the seed itself, others have others, all of them valid seeds of numpy."""
    assert stream_seed(seed, 0) == seed
    assert stream_seed(seed, index) != stream_seed(seed, index - 1)
    assert 0 <= stream_seed(seed, index) < 2**63
    assert 0 <= next_seed(seed) < 2**31


def test_numbers_are_uniform_over_streams_counters_and_draws() -> None:
    """Along each coordinate the numbers have the mean and deviation of a uniform law, and no correlation."""
    index = torch.arange(50_000)
    keys = stream_keys(7, index)
    zero = torch.zeros_like(index)
    samples = [uniform(keys, zero, 0, 0.0, 1.0), uniform(keys, zero, 1, 0.0, 1.0), uniform(keys, zero + 1, 0, 0.0, 1.0)]
    samples.append(uniform(keys[:1].expand(50_000), index, 0, 0.0, 1.0))
    for sample in samples:
        assert abs(sample.mean().item() - 0.5) < 0.01
        assert abs(sample.std().item() - 12**-0.5) < 0.005
        assert abs(torch.corrcoef(torch.stack((sample[1:], sample[:-1])))[0, 1].item()) < 0.02
    assert torch.corrcoef(torch.stack(samples)).fill_diagonal_(0).abs().max() < 0.02
