"""Results as JSON and as one Markdown table a family."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from _bars import verdicts
from _measure import Result
from _paths import ROOT
from _peers import pinned
from _work import Family

NOT_MEASURED = "not measured: "
OURS = ("torch", "tensordict", "numpy", "gymnasium", "mujoco", "envpool", "ale-py")


def machine() -> dict[str, Any]:
    """What the figures are taken on: processor, cores, versions, commit."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in OURS if _version(name)},
        "peers": pinned(),
        "commit": _commit(),
    }


def write(family: Family, results: Sequence[Result], about_machine: dict[str, Any], folder: Path) -> str:
    """Write `<family>.json` and `<family>.md`; the Markdown."""
    record = {"about": family.about, "machine": about_machine, "results": [_record(result) for result in results]}
    (folder / f"{family.name}.json").write_text(json.dumps(record, indent=1) + "\n")
    text = f"{table(results)}\n{family.about}\n\n{_footnote(about_machine)}\n"
    (folder / f"{family.name}.md").write_text(text)
    return text


def table(results: Sequence[Result]) -> str:
    """A row for each comparison and label, a column for each contender: median, spread, and how many times ours it is.

    Comparisons of one unit that follow each other share a table.
    """
    return "\n".join(_one_table(group) for group in _groups(results))


def failures(results: Sequence[Result]) -> list[str]:
    """What failed and its last words, one line each; the rest stands in the JSON."""
    return [line for line, is_failure in _last_words(results) if is_failure]


def not_measured(results: Sequence[Result]) -> list[str]:
    """What could not run on this machine, and why: a contender says so in its last words, `not measured: ...`."""
    return [line for line, is_failure in _last_words(results) if not is_failure]


def _last_words(results: Sequence[Result]) -> list[tuple[str, bool]]:
    """A line for each contender that ended with an error, and whether that is a failure."""
    return [
        (f"{result.comparison.title}, {name}: {last}", not last.startswith(NOT_MEASURED))
        for result in results
        for name, figures in result.figures.items()
        if figures.error is not None
        for last in figures.error.splitlines()[-1:]
    ]


def number(value: float) -> str:
    """Three or more significant digits, thousands separated."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _groups(results: Sequence[Result]) -> list[list[Result]]:
    groups: list[list[Result]] = []
    for result in results:
        if groups and groups[-1][0].unit == result.unit and set(groups[-1][0].figures) == set(result.figures):
            groups[-1].append(result)
        else:
            groups.append([result])
    return groups


def _one_table(results: Sequence[Result]) -> str:
    names = list(results[0].figures)
    has_bars = any(result.comparison.bars for result in results)
    head = [f"work ({results[0].unit or 'nothing measured'})", *names, *(["bar"] if has_bars else [])]
    lines = [_row(head), _row(["---"] * len(head))]
    for result in results:
        for label in result.labels() or [""]:
            cells = [_cell(result, name, label) for name in names]
            bars = [_bars_cell(result, label)] if has_bars else []
            lines.append(_row([_name(result.comparison.title, label), *cells, *bars]))
    return "\n".join(lines) + "\n"


def _name(title: str, label: str) -> str:
    """First cell of a row; a label that begins with the title says it all."""
    return label if title and label.startswith(title) else ", ".join(filter(None, (title, label)))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(result: Result, name: str, label: str) -> str:
    figures = result.figures[name]
    median = result.median(name, label)
    if median is None:
        return _reason(figures.error)
    values = figures.values[label]
    spread = f" ({number(min(values))} to {number(max(values))})" if len(values) > 1 else ""
    first = result.comparison.contenders[0].name
    ratio = result.ratio(first, name, label) if name != first else None
    return number(median) + spread + (f", ours {ratio:.2f}x" if ratio is not None else "")


def _reason(error: str | None) -> str:
    """Why a cell has no figure."""
    if error is None:
        return ""
    last = error.splitlines()[-1]
    return last if last.startswith(NOT_MEASURED) else "failed"


def _bars_cell(result: Result, label: str) -> str:
    return "; ".join(
        f"{verdict.text}: {'met' if verdict.is_met else '**missed**'}"
        + (" (not measured)" if verdict.value is None else f" ({verdict.value:.2f})")
        for verdict in verdicts(result)
        if verdict.label == label
    )


def _record(result: Result) -> dict[str, Any]:
    comparison = result.comparison
    return {
        "title": comparison.title,
        "unit": result.unit,
        "contenders": [
            asdict(contender)
            | asdict(result.figures[contender.name])
            | {"ratio_of_ours": _ratios(result, contender.name)}
            for contender in comparison.contenders
        ],
        "bars": [asdict(verdict) for verdict in verdicts(result)],
    }


def _ratios(result: Result, name: str) -> dict[str, float]:
    first = result.comparison.contenders[0].name
    found = {label: result.ratio(first, name, label) for label in result.labels()}
    return {label: round(ratio, 3) for label, ratio in found.items() if ratio is not None}


def _footnote(about: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"Medians (lowest to highest) of alternating fresh processes. {about['processor']}, {about['cores']} cores, "
        f"Python {about['python']}, {versions}; commit {about['commit']}. Peers: {', '.join(about['peers'])}."
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else f"{sys.platform} {platform.machine()}"


def _commit() -> str:
    """Short name of the commit, with a mark where the working tree differs from it."""
    git = ["git", "-C", str(ROOT)]
    name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    changes = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True)
    changed = [line for line in changes.stdout.splitlines() if "benchmarks/results" not in line]
    return f"{name} with changes" if changed else name
