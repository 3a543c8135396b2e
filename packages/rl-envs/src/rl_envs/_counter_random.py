"""Random numbers that are functions of counters: the same for a row wherever and with whatever it is computed.

The arithmetic is that of 64-bit integers modulo 2**64, so every device gives the same bits.
"""

import torch
from torch import Tensor

from rl_envs._seeding import mix64

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


def stream_keys(seed: int, index: Tensor) -> Tensor:
    """One key per stream.

    Args:
        seed: seed of the whole batch.
        index: int64, position of each stream.
    Returns:
        int64, shape of `index`.
    """
    base = mix64(seed & ((1 << 64) - 1))
    return mix(index ^ (base - (1 << 64) if base >= 1 << 63 else base))


def uniform(keys: Tensor, counter: Tensor, draw: int, low: float, high: float) -> Tensor:
    """Uniform numbers in `[low, high)`, 24 random bits each.

    Args:
        keys: int64 `[*B]`, from `stream_keys`.
        counter: int64 `[*B]`, which event of the stream this is.
        draw: which number of the event this is.
        low: lower end.
        high: upper end.
    Returns:
        float32 `[*B]`.
    """
    bits = (mix(mix(keys + counter) + draw) >> 40) & 0xFFFFFF
    return low + (high - low) * (bits.to(torch.float32) * 2.0**-24)


def doubles(keys: Tensor, counter: Tensor, first_draw: int, count: int) -> Tensor:
    """Uniform numbers in (0, 1), 52 random bits each.

    Args:
        keys: int64 `[*B]`, from `stream_keys`.
        counter: int64 `[*B]`, which event of the stream this is.
        first_draw: which number of the event the first one is.
        count: how many of them.
    Returns:
        float64 `[*B, count]`.
    """
    draws = torch.arange(first_draw, first_draw + count, device=keys.device)
    bits = _shifted(mix(mix(keys + counter).unsqueeze(-1) + draws), 12)
    return (bits.to(torch.float64) + 0.5) * 2.0**-52


def mix(value: Tensor) -> Tensor:
    """The splitmix64 finaliser of each element, int64 taken as unsigned.

    Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", section 3.
    """
    value = value + _GOLDEN
    value = (value ^ _shifted(value, 30)) * _FIRST
    value = (value ^ _shifted(value, 27)) * _SECOND
    return value ^ _shifted(value, 31)


def _shifted(value: Tensor, bits: int) -> Tensor:
    """Logical shift to the right."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
