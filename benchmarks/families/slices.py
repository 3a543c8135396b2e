"""Microseconds of drawing slices of trajectories from a replay buffer."""

from _work import Comparison, Contender, Family, RatioBar


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    seconds = ("--seconds", "0.1" if is_quick else "1.0")
    sizes = ("--rows", "10000", "100000") if is_quick else ("--rows", "10000", "1000000", "10000000")

    def contenders(*more: str) -> tuple[Contender, ...]:
        return (
            Contender("rl-suite", "slices.py", ("--library", "rl-suite", *seconds, *sizes, *more)),
            Contender("TorchRL", "slices.py", ("--library", "torchrl", *seconds, *sizes, *more), is_peer=True),
        )

    bars = (RatioBar(("TorchRL",), 2.0),)
    return (Comparison("draw", contenders(), bars), Comparison("add a row and draw", contenders("--writes"), bars))


FAMILY = Family(
    "slices",
    "Slices",
    "1,024 rows in 32 slices of episodes of 250 steps, from buffers of 10 thousand to 10 million rows.",
    _comparisons,
)
