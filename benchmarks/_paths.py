"""Where the parts of the benchmarks lie."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CASES = ROOT / "benchmarks" / "cases"
RESULTS = ROOT / "benchmarks" / "results"
PEERS = ROOT / ".cache" / "peers"
REQUIREMENTS = ROOT / "benchmarks" / "peers.txt"
QUICK = ROOT / ".cache" / "bench"
