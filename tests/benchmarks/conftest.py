"""Small case scripts, so that the runner is tested without any library to measure."""

from pathlib import Path

import _measure
import pytest

SCRIPTS = {
    "good.py": """
        import json, sys
        print("some noise")
        print(json.dumps({"values": {"small": float(sys.argv[1]), "large": 2.0}, "unit": sys.argv[2]}))
    """,
    "crash.py": """
        raise ValueError("no such simulator")
    """,
    "absent.py": """
        raise SystemExit("not measured: there is no GPU")
    """,
    "mute.py": """
    """,
    "child.py": """
        import json, pathlib, subprocess, sys
        quiet = subprocess.DEVNULL
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=quiet, stderr=quiet)
        pathlib.Path(sys.argv[1]).write_text(str(child.pid))
        print(json.dumps({"values": {"": 1.0}, "unit": "s"}))
    """,
    "sleep.py": """
        import time
        time.sleep(60)
    """,
    "threads.py": """
        import json, os
        print(json.dumps({"values": {"": float(os.environ["OMP_NUM_THREADS"])}, "unit": "us"}))
    """,
}


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of case scripts that the runner is pointed to; also a folder to write to."""
    for name, text in SCRIPTS.items():
        lines = [line[8:] for line in text.strip("\n").splitlines()]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(_measure, "CASES", tmp_path)
    return tmp_path
