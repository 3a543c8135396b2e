"""Whether ours reaches what it is held to."""

from dataclasses import dataclass

from _measure import Result
from _work import Bar, LimitBar, RatioBar


@dataclass(frozen=True)
class Verdict:
    """A bar at one row of a result; `value` is none where something that it needs was not measured."""

    text: str
    label: str
    value: float | None
    is_met: bool


def verdicts(result: Result) -> list[Verdict]:
    """Every bar of the comparison at every row that it holds for."""
    return [
        _judge(result, bar, label)
        for label in result.labels() or [""]
        for bar in result.comparison.bars
        if not bar.labels or label in bar.labels
    ]


def _judge(result: Result, bar: Bar, label: str) -> Verdict:
    first = result.comparison.contenders[0].name
    subject = bar.subject or first
    prefix = "" if subject == first else f"{subject} "
    if isinstance(bar, LimitBar):
        value = result.median(subject, label)
        text = f"{prefix}<= {bar.at_most:g} {result.unit}"
        return Verdict(text, label, value, value is not None and value <= bar.at_most)
    text = f"{prefix}>= {bar.at_least:.3g}x {' / '.join(bar.against)}"
    ratio = _ratio_to_best(result, bar, subject, label)
    return Verdict(text, label, ratio, ratio is not None and ratio >= bar.at_least)


def _ratio_to_best(result: Result, bar: RatioBar, subject: str, label: str) -> float | None:
    ratios = [result.ratio(subject, other, label) for other in bar.against if other in result.figures]
    found = [ratio for ratio in ratios if ratio is not None]
    return min(found) if found else None
