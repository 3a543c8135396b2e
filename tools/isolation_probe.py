"""Runs inside an isolated environment: what can be imported, what an import changes, and how long it takes.

Usage: python -I isolation_probe.py MODULE [FORBIDDEN ...]; prints one JSON object. It uses the standard library, torch
and tensordict alone, since nothing else is sure to be there.
"""

import contextlib
import importlib
import importlib.util
import io
import json
import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

REPEATS = 5
DESCRIPTORS = Path("/proc/self/fd")


def state() -> dict[str, object]:
    """What no import may change."""
    import torch

    return {
        "environment variables": dict(os.environ),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "warning filters": list(warnings.filters),
        "threads": threading.active_count(),
        "torch default dtype": str(torch.get_default_dtype()),
        "torch threads": torch.get_num_threads(),
        "gradient mode": torch.is_grad_enabled(),
        "random state": hash(bytes(torch.get_rng_state().tolist())),
        "file descriptors": len(list(DESCRIPTORS.iterdir())) if DESCRIPTORS.exists() else 0,
    }


def in_child(module: str) -> dict[str, object]:
    """Import a module in a forked child: the processor time, what was printed, and the parts of `state` changed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        before, printed = state(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            started = time.process_time()  # of this process alone, whatever else the machine is at
            importlib.import_module(module)
            seconds = time.process_time() - started
        after = state()
        changed = [name for name in before if before[name] != after[name]]
        os.write(
            writer, json.dumps({"seconds": seconds, "printed": printed.getvalue()[:2000], "changed": changed}).encode()
        )
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return dict(json.loads(text)) if text else {"error": f"import {module} failed"}


def main(argv: Sequence[str]) -> None:
    """Print what was found out about the module `argv[0]`, and which of the other names can be imported."""
    importlib.import_module("torch")
    importlib.import_module("tensordict")
    runs = [in_child(argv[0]) for _ in range(REPEATS)]
    present = [name for name in argv[1:] if importlib.util.find_spec(name) is not None]
    print(json.dumps({"runs": runs, "present": present}))


if __name__ == "__main__":
    main(sys.argv[1:])
