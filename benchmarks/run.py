"""Measure this library beside its peers, alternating fresh processes in one run; medians, spreads, ratios and bars.

Peers live in an environment of their own, `.cache/peers`, made from `benchmarks/peers.txt` at the first run. Results go
to `benchmarks/results/<family>.{json,md,png}` with the machine, the versions and the commit.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from _bars import verdicts
from _measure import Result, compare, run_contender
from _paths import QUICK, RESULTS, ROOT
from _peers import peers_python
from _picture import draw
from _readme import block, rewrite
from _report import failures, machine, not_measured, write
from _work import Family
from families import FAMILIES


def measure(family: Family, *, rounds: int, is_quick: bool, peers: Path, folder: Path) -> list[Result]:
    """All comparisons of a family; its files are written when they are done."""
    about_machine = machine()
    results = []
    with tempfile.TemporaryDirectory() as scratch:  # simulators leave logs where they run
        run = partial(run_contender, peers=peers, folder=Path(scratch))
        for comparison in family.comparisons(is_quick):
            print(f"{family.name}: {comparison.title}", flush=True)
            results.append(compare(comparison, run, rounds))
    draw(family.name, results, folder / f"{family.name}.png")
    print(f"\n{write(family, results, about_machine, folder)}", flush=True)
    return results


def summarise(results: Sequence[Result], seconds: float) -> int:
    """Print what was missed, what could not run here and what failed; the exit status."""
    judged = [(result, verdict) for result in results for verdict in verdicts(result)]
    missed = [(result, verdict) for result, verdict in judged if not verdict.is_met]
    print(f"{len(judged) - len(missed)} of {len(judged)} bars met, in {seconds:.0f} s")
    for result, verdict in missed:
        value = "not measured" if verdict.value is None else f"{verdict.value:.2f}"
        print(f"  missed: {result.comparison.title} {verdict.label}: {verdict.text}, found {value}")
    for reason in not_measured(results):
        print(f"  {reason}")
    failed = failures(results)
    for failure in failed:
        print(f"  FAILED: {failure}")
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen families and write their results; 1 where a contender failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", help=f"of {', '.join(FAMILIES)}; default: all")
    parser.add_argument("--rounds", type=int, help="alternations of each comparison (default: 3; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="less work and fewer comparisons: does everything run?")
    parser.add_argument(
        "--output", type=Path, help="folder of the results (default: benchmarks/results; .cache/bench with --quick)"
    )
    parser.add_argument(
        "--peers", type=Path, help="interpreter that has the peers (default: .cache/peers, made at need)"
    )
    parser.add_argument("--list", action="store_true", help="print the families and their comparisons, and end")
    parser.add_argument("--readme", action="store_true", help="rewrite the README's tables from the results, and end")
    args = parser.parse_args(argv)
    unknown = sorted(set(args.families) - set(FAMILIES))
    if unknown:
        parser.error(f"unknown families {unknown}; there are {', '.join(FAMILIES)}")
    if args.rounds is not None and args.rounds < 1:
        parser.error(f"--rounds: expected 1 or more, found {args.rounds}")
    chosen = [FAMILIES[name] for name in args.families or FAMILIES]
    if args.list:
        for family in chosen:
            print(f"{family.name}: {family.about}")
            print("".join(f"  {comparison.title}\n" for comparison in family.comparisons(args.quick)))
        return 0
    if args.readme:
        readme = ROOT / "README.md"
        readme.write_text(rewrite(readme.read_text(), block(list(FAMILIES.values()), args.output or RESULTS)))
        return 0
    folder = (args.output or (QUICK if args.quick else RESULTS)).resolve()
    has_peers = any(
        contender.is_peer
        for family in chosen
        for comparison in family.comparisons(args.quick)
        for contender in comparison.contenders
    )
    peers = args.peers or (peers_python() if has_peers else Path(sys.executable))
    folder.mkdir(parents=True, exist_ok=True)
    rounds = args.rounds or (1 if args.quick else 3)
    started = time.monotonic()
    results: list[Result] = []
    for family in chosen:
        results += measure(family, rounds=rounds, is_quick=args.quick, peers=peers, folder=folder)
    return summarise(results, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
