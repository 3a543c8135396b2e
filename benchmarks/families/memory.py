"""Megabytes resident while millions of frames are collected."""

from _work import Comparison, Contender, Family, LimitBar

BARS = (LimitBar(25.0, ("growth after the first tenth",)),)


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    frames = ("300000", "100000") if is_quick else ("10000000", "1000000")
    pendulum = ("--env", "pendulum", "--num-envs", "512", "--frames", frames[0])
    cart_pole = ("--env", "CartPole-v1", "--num-envs", "64", "--frames", frames[1])
    return tuple(
        Comparison(title, (Contender("rl-suite", "memory.py", arguments, timeout_s=900.0),), BARS, rounds=1)
        for title, arguments in (("pendulums", pendulum), ("CartPole-v1", cart_pole))
    )


FAMILY = Family(
    "memory",
    "Memory",
    "Resident memory of a program that collects, estimates advantages and fills a replay buffer, after each tenth of "
    "its frames.",
    _comparisons,
)
