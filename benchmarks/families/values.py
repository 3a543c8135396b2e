"""Microseconds of the value estimators."""

from _work import Comparison, Contender, Family, RatioBar

ESTIMATES = ("GAE", "TD(lambda)", "V-trace")
BARS = (RatioBar(("TorchRL vectorised", "TorchRL loop"), 2.0),)


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    seconds = ("--seconds", "0.02" if is_quick else "0.3")

    def contender(name: str, library: str, estimate: str) -> Contender:
        arguments = ("--library", library, "--estimate", estimate, *seconds)
        return Contender(name, "values.py", arguments, is_peer=library.startswith("torchrl"))

    return tuple(
        Comparison(
            estimate,
            (
                contender("rl-suite", "rl-suite", estimate),
                contender("TorchRL vectorised", "torchrl-vectorised", estimate),
                contender("TorchRL loop", "torchrl-loop", estimate),
                contender("numpy loop", "numpy", estimate),
            ),
            BARS,
        )
        for estimate in (ESTIMATES[:1] if is_quick else ESTIMATES)
    )


FAMILY = Family(
    "values",
    "Value estimators",
    "One call on float32 tensors of [rows, steps], one torch thread. The bar is against the faster one of TorchRL's "
    "two forms.",
    _comparisons,
)
