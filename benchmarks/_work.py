"""What is measured: families of comparisons, their contenders and the bars that ours is held to."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Contender:
    """One side of a comparison: a script of `benchmarks/cases` and the interpreter that runs it.

    The last line that the script prints is `{"values": {label: number, ...}, "unit": unit}`.

    Args:
        name: as the tables show it; the same library has the same name in all comparisons of a family.
        script: file name in `benchmarks/cases`.
        arguments: of the script.
        is_peer: whether it runs in the peers' environment.
        threads: torch, OpenMP and BLAS threads.
        timeout_s: after this long it is stopped and counts as failed.
    """

    name: str
    script: str
    arguments: tuple[str, ...] = ()
    is_peer: bool = False
    threads: int = 1
    timeout_s: float = 300.0


@dataclass(frozen=True)
class RatioBar:
    """Ours is to be at least so many times better than the best of some others.

    Args:
        against: names of contenders; the best one at hand counts.
        at_least: ratio, above one where ours is faster or smaller.
        labels: rows that it holds for; none means all.
        subject: contender that is held to it; none means the first of the comparison.
    """

    against: tuple[str, ...]
    at_least: float
    labels: tuple[str, ...] = ()
    subject: str | None = None


@dataclass(frozen=True)
class LimitBar:
    """Our figure is to be no more than so much, in the unit of the comparison."""

    at_most: float
    labels: tuple[str, ...] = ()
    subject: str | None = None


Bar = RatioBar | LimitBar


@dataclass(frozen=True)
class Comparison:
    """The same work done by several contenders, the first of which is ours and the one that ratios refer to.

    Args:
        title: what is done; labels of the case scripts are appended to it.
        contenders: at least one.
        bars: what ours is held to.
        rounds: at most so many alternations, where one is long; none means as many as asked for.
    """

    title: str
    contenders: tuple[Contender, ...]
    bars: tuple[Bar, ...] = ()
    rounds: int | None = None


@dataclass(frozen=True)
class Family:
    """Comparisons that share a table and a picture.

    Args:
        name: on the command line, and of the result files.
        title: in the README.
        about: one or two sentences under the table: the work and its settings.
        comparisons: makes them; its argument is true where a short look is enough.
        is_in_readme: whether the README shows the table.
    """

    name: str
    title: str
    about: str
    comparisons: Callable[[bool], tuple[Comparison, ...]]
    is_in_readme: bool = False
