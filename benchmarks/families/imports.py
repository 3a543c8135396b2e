"""Seconds of an import and megabytes on disk."""

from _work import Comparison, Contender, Family, LimitBar

LAYERS = ("rl_specs", "rl_envs", "rl_modules", "rl_buffers", "rl_collectors", "rl_objectives", "rl_cuda", "rl_trainers")
BARS = (LimitBar(0.15, LAYERS),)


def _contenders(*options: str) -> tuple[Contender, ...]:
    return (
        Contender("rl-suite", "imports.py", ("--library", "rl-suite", *options)),
        Contender("TorchRL", "imports.py", ("--library", "torchrl", *options), is_peer=True),
        Contender("Stable-Baselines3", "imports.py", ("--library", "sb3", *options), is_peer=True),
    )


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    size = Comparison("size", _contenders("--work", "size"), rounds=1)
    seconds = Comparison("import", _contenders("--work", "import", "--turns", "3"), BARS, rounds=1)
    return (size,) if is_quick else (seconds, size)


FAMILY = Family(
    "imports",
    "Imports",
    "Seconds to import each package after torch and tensordict, median of fresh processes, and the size of the package "
    "folders without bytecode.",
    _comparisons,
)
