"""The environment of the libraries that this one is measured against."""

import os
import subprocess
import sys
from pathlib import Path

from _paths import PEERS, REQUIREMENTS


def peers_python() -> Path:
    """Interpreter of `.cache/peers`, which is made when it is not there or its list has changed.

    Raises:
        subprocess.CalledProcessError: pip could not install the list; nothing is left that looks complete.
    """
    python = PEERS / "bin" / "python"
    wanted = REQUIREMENTS.read_text()
    stamp = PEERS / "peers.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print("installing the peers into .cache/peers ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEERS)], check=True)
        environment = {k: v for k, v in os.environ.items() if k not in ("PIP_CONSTRAINT", "UV_CONSTRAINT")}
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", REQUIREMENTS], check=True, env=environment)
        stamp.write_text(wanted)
    return python


def pinned() -> list[str]:
    """What `benchmarks/peers.txt` pins, one requirement each."""
    lines = REQUIREMENTS.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]
