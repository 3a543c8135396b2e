"""Which sources the kernels were built from; read by the build as well, so it imports nothing that is installed."""

import hashlib
from pathlib import Path


def fingerprint(folder: Path) -> str:
    """Short name of the kernels' sources in a folder, another one for every change."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".cu", ".cuh")):
        digest.update(f"{path.name}\n".encode())
        digest.update(path.read_bytes())
    return f"s{digest.hexdigest()[:16]}"
