"""Run contenders in alternation, each in a fresh process, and summarise what they report."""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from _paths import CASES
from _work import Comparison, Contender

UNITS = ("frames/s", "us", "s", "MB", "%")
HIGHER_IS_BETTER = ("frames/s", "%")


class ContenderError(RuntimeError):
    """A contender failed, took too long or reported something else than figures."""


@dataclass
class Figures:
    """What one contender reported: label -> one number a round, in the order of the rounds."""

    values: dict[str, list[float]] = field(default_factory=dict)
    error: str | None = None


@dataclass
class Result:
    """Figures of all contenders of a comparison."""

    comparison: Comparison
    unit: str
    figures: dict[str, Figures]

    def labels(self) -> list[str]:
        """Every row that some contender reported, in order of appearance."""
        return list(dict.fromkeys(label for each in self.figures.values() for label in each.values))

    def median(self, name: str, label: str) -> float | None:
        """Median over the rounds; none where the contender has no such row."""
        values = self.figures[name].values.get(label)
        return statistics.median(values) if values else None

    def ratio(self, subject: str, other: str, label: str) -> float | None:
        """How many times better `subject` is than `other`: median over the rounds of the ratio within a round.

        None where one of them has no such row, or where a difference of two timings came out as zero or less.
        """
        ours, theirs = (self.figures[name].values.get(label, []) for name in (subject, other))
        ratios = [a / b for a, b in zip(ours, theirs, strict=False) if a > 0.0 and b > 0.0]
        if not ratios:
            return None
        return statistics.median(ratios if self.unit in HIGHER_IS_BETTER else [1.0 / ratio for ratio in ratios])


def run_contender(contender: Contender, peers: Path, folder: Path) -> tuple[dict[str, float], str]:
    """Values by label and their unit, of one run in a fresh process.

    Args:
        contender: what to run.
        peers: interpreter of the peers' environment.
        folder: current folder of the process; where nothing lies that it could import by chance.
    Raises:
        ContenderError: see there; the message ends with what the process wrote to stderr.
    """
    python = str(peers) if contender.is_peer else sys.executable
    command = [python, str(CASES / contender.script), *contender.arguments]
    threads = {key: str(contender.threads) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **threads},
        cwd=folder,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=contender.timeout_s)
        except subprocess.TimeoutExpired:
            raise ContenderError(f"{_shown(contender)} was stopped after {contender.timeout_s:g} s") from None
        finally:
            _end_group(process.pid)
    if process.returncode:
        raise ContenderError(f"{_shown(contender)} exited with {process.returncode}:\n{errors.strip()[-2000:]}")
    return parse(output, _shown(contender))


def parse(output: str, who: str) -> tuple[dict[str, float], str]:
    """Read the last line that a case printed.

    Raises:
        ContenderError: it is not of the agreed form; the message tells the form.
    """
    lines = output.strip().splitlines()
    try:
        report = json.loads(lines[-1])
        values = {str(label): float(value) for label, value in report["values"].items()}
        unit = str(report["unit"])
    except (IndexError, ValueError, KeyError, TypeError, AttributeError) as error:
        found = lines[-1][:200] if lines else "nothing"
        expected = '{"values": {label: number, ...}, "unit": unit}'
        raise ContenderError(f"{who}: expected a last line {expected}, found {found}") from error
    if unit not in UNITS:
        raise ContenderError(f"{who}: unknown unit {unit!r}, expected one of {', '.join(UNITS)}")
    return values, unit


def compare(comparison: Comparison, run: Callable[[Contender], tuple[dict[str, float], str]], rounds: int) -> Result:
    """All contenders in turn, several rounds; one that fails is not run again, the others go on.

    Args:
        comparison: the contenders.
        run: runs one of them.
        rounds: alternations; fewer where the comparison asks for fewer.
    """
    figures = {contender.name: Figures() for contender in comparison.contenders}
    unit = ""
    for index in range(min(rounds, comparison.rounds or rounds)):
        for contender in _rotated(comparison.contenders, index):
            mine = figures[contender.name]
            if mine.error is not None:
                continue
            try:
                values, its_unit = run(contender)
                if unit and its_unit != unit:
                    raise ContenderError(f"{_shown(contender)} reports {its_unit}, the others {unit}")
            except ContenderError as error:
                mine.error = str(error)
                print(f"  {contender.name}: FAILED: {error}", flush=True)
                continue
            unit = its_unit
            for label, value in values.items():
                mine.values.setdefault(label, []).append(value)
            shown = ", ".join(f"{label} {value:,.4g}" for label, value in values.items())
            print(f"  {contender.name}: {shown} {unit}", flush=True)
    return Result(comparison, unit, figures)


def _rotated(contenders: Sequence[Contender], index: int) -> list[Contender]:
    """Each round begins with another one, so that none always follows the same neighbour's heat."""
    start = index % len(contenders)
    return [*contenders[start:], *contenders[:start]]


def _shown(contender: Contender) -> str:
    return " ".join((contender.script, *contender.arguments))


def _end_group(leader: int) -> None:
    """Whatever the case started ends with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
