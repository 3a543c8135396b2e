"""Microseconds of drawing from a replay buffer by priority."""

from _work import Comparison, Contender, Family, RatioBar


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    seconds = ("--seconds", "0.1" if is_quick else "1.0")
    sizes = ("--rows", "10000", "100000") if is_quick else ("--rows", "300000", "1000000")

    def contender(name: str, library: str) -> Contender:
        arguments = ("--library", library, *seconds, *sizes)
        return Contender(name, "prioritized.py", arguments, is_peer=library != "rl-suite")

    contenders = (contender("rl-suite", "rl-suite"), contender("TorchRL", "torchrl"), contender("cpprb", "cpprb"))
    return (Comparison("sample and update", contenders, (RatioBar(("TorchRL",), 2.5), RatioBar(("cpprb",), 1.3))),)


FAMILY = Family(
    "prioritized",
    "Prioritized replay",
    "256 rows drawn in proportion to priorities, and their priorities set, in buffers that are full.",
    _comparisons,
)
