"""Microseconds of one PPO update on a minibatch."""

from _work import Comparison, Contender, Family, RatioBar

BARS = (
    RatioBar(("TorchRL",), 2.5),
    RatioBar(("hand-written",), 1 / 1.15),
    RatioBar(("rl-suite",), 1.0, subject="rl-suite, compiled"),
)


def _contender(name: str, library: str, *options: str) -> Contender:
    arguments = ("--library", library, "--optimizer", "fused", *options)
    return Contender(name, "minibatch_update.py", arguments, is_peer=library == "torchrl", timeout_s=600.0)


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    rounds = ("--rounds", "3") if is_quick else ()
    eager = (
        _contender("rl-suite", "rl-suite", *rounds),
        _contender("TorchRL", "torchrl", *rounds),
        _contender("hand-written", "hand-written", *rounds),
    )
    if is_quick:
        return (Comparison("minibatch update", eager, BARS[:2]),)
    compiled = (
        _contender("rl-suite, compiled", "rl-suite", "--compile"),
        _contender("hand-written, compiled", "hand-written", "--compile"),
    )
    drawn = tuple(_contender(contender.name, contender.arguments[1], "--from-buffer", *rounds) for contender in eager)
    return (
        Comparison("minibatch update", (*eager, *compiled), BARS),
        Comparison("minibatch update with its rows drawn", drawn, BARS[:1]),
    )


FAMILY = Family(
    "update",
    "PPO minibatch update",
    "One update on 256 rows with the tutorial's networks: gradients to zero, clipped loss with entropy and critic, "
    "backward pass, norm clipped, fused Adam, one torch thread. The hand-written update is that of a single-file PPO; "
    "compiled losses go through inductor.",
    _comparisons,
    is_in_readme=True,
)
