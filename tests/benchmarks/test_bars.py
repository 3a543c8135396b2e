"""Bars are judged by ratio to the best of the others, or by a limit."""

from _bars import Verdict, verdicts
from _measure import Figures, Result
from _work import Bar, Comparison, Contender, LimitBar, RatioBar


def judged(unit: str, *bars: Bar, **values: dict[str, float]) -> list[Verdict]:
    """Verdicts on one round."""
    comparison = Comparison("work", tuple(Contender(name, "") for name in values), bars)
    figures = {name: Figures({label: [value] for label, value in each.items()}) for name, each in values.items()}
    return verdicts(Result(comparison, unit, figures))


def test_the_best_of_the_others_counts() -> None:
    """A bar against two peers is judged against the faster one."""
    bar = RatioBar(("slow", "fast"), 2.0)
    (found,) = judged("frames/s", bar, ours={"x": 10.0}, slow={"x": 1.0}, fast={"x": 6.0})
    assert found.value is not None
    assert abs(found.value - 10.0 / 6.0) < 1e-12
    assert not found.is_met
    assert found.text == ">= 2x slow / fast"


def test_a_bar_holds_for_its_rows_only() -> None:
    """Bars name the rows that they hold for; without names they hold for all."""
    rows = {"1 env": 8.0, "8 envs": 4.0}
    some = judged("frames/s", RatioBar(("peer",), 5.0, ("1 env",)), ours=rows, peer={"1 env": 1.0, "8 envs": 1.0})
    every = judged("frames/s", RatioBar(("peer",), 5.0), ours=rows, peer={"1 env": 1.0, "8 envs": 1.0})
    assert [(verdict.label, verdict.is_met) for verdict in some] == [("1 env", True)]
    assert [verdict.is_met for verdict in every] == [True, False]


def test_a_limit_is_in_the_unit_of_the_work() -> None:
    """A limit is met up to itself."""
    met, missed = judged("us", LimitBar(25.0), ours={"x": 25.0, "y": 26.0})
    assert met.is_met
    assert not missed.is_met
    assert missed.text == "<= 25 us"


def test_another_of_ours_can_be_the_subject() -> None:
    """A bar can be on a second variant of ours, against the first."""
    bar = RatioBar(("ours",), 1.0, subject="ours compiled")
    (found,) = judged("us", bar, **{"ours": {"x": 3.0}, "ours compiled": {"x": 2.0}})
    assert found.is_met
    assert found.value == 1.5
    assert found.text.startswith("ours compiled >=")


def test_what_was_not_measured_is_not_met() -> None:
    """A bar whose peer or subject failed is missed, without a figure."""
    for found in judged("us", RatioBar(("peer",), 1.0), LimitBar(1.0), ours={}, peer={}):
        assert found.value is None
        assert not found.is_met
