"""Microseconds of adding to and sampling from a replay buffer."""

from _work import Comparison, Contender, Family


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    seconds = ("--seconds", "0.1" if is_quick else "1.0")
    contenders = (
        Contender("rl-suite", "replay.py", ("--library", "rl-suite", *seconds)),
        Contender("TorchRL", "replay.py", ("--library", "torchrl", *seconds), is_peer=True),
        Contender("Stable-Baselines3", "replay.py", ("--library", "sb3", *seconds), is_peer=True),
        Contender("cpprb", "replay.py", ("--library", "cpprb", *seconds), is_peer=True),
    )
    in_files = (
        Contender("rl-suite", "replay.py", ("--library", "rl-suite", "--memmap", *seconds)),
        Contender("TorchRL", "replay.py", ("--library", "torchrl", "--memmap", *seconds), is_peer=True),
    )
    return (Comparison("in memory", contenders), Comparison("in files", in_files))


FAMILY = Family(
    "replay",
    "Replay",
    "A buffer of a million full rows, in memory and in memory-mapped files: an observation of 17 numbers, an action of "
    "6, the next observation, reward and three flags. Ours and TorchRL's give TensorDicts of tensors, cpprb (C++) "
    "arrays.",
    _comparisons,
)
