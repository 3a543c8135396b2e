"""Random streams: env `i` of a batch seeded with `s` draws from a stream that depends on `(s, i)` alone."""

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def mix64(value: int) -> int:
    """The splitmix64 finaliser: a bijection of 64-bit integers that scatters neighbours.

    Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", section 3.
    """
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def stream_seed(seed: int, index: int) -> int:
    """Seed of the stream of env `index`; that of env 0 is `seed` itself.

    Args:
        seed: seed of the whole batch.
        index: position of the env in the batch, over all workers.
    Returns:
        A non-negative integer below 2**63.
    """
    if index == 0:
        return seed
    return mix64(mix64(seed & _MASK) ^ (index & _MASK)) >> 1


def next_seed(seed: int) -> int:
    """A seed for whatever is seeded after something that took `seed`, below 2**31."""
    return mix64(mix64(seed & _MASK) + 1) >> 33
