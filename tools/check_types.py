"""Run mypy --strict over every package's source, each tests folder, and the rest of the repository.

One call checks all sources; each tests folder is a call of its own, because test files of different packages share
names; within it, a file is named by its place in the folder. mypy's cache makes every call after the first one short.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from workspace import ROOT, Package, WorkspaceError, fail, load_packages, select

OTHER_FOLDERS = ("tests", "tools", "examples", "benchmarks")


def targets(root: Path, packages: Sequence[Package], *, is_everything: bool) -> Iterator[tuple[str, list[Path]]]:
    """Each call to make: what it is called, and the files and folders it checks.

    Args:
        root: root of the repository.
        packages: packages to check.
        is_everything: whether to check the folders outside `packages/` and the build hooks too.
    """
    yield "source", [package.source for package in packages]
    for package in packages:
        if any(package.tests.rglob("*.py")):
            yield f"{package.name} tests", [package.tests]
    for package in packages:
        if (package.folder / "hatch_build.py").exists():
            yield f"{package.name} build hook", [package.folder / "hatch_build.py"]
    if is_everything:
        for name in OTHER_FOLDERS:
            files = sorted(path for path in (root / name).rglob("*.py"))
            if files:
                yield name, files


def check(root: Path, names: Sequence[str] = (), mypy_arguments: Sequence[str] = ()) -> list[str]:
    """Run mypy over everything, print what it says, and return the names of the calls that failed.

    Args:
        root: root of the repository.
        names: packages to check; none means all of them and everything else.
        mypy_arguments: handed on to mypy.
    Raises:
        WorkspaceError: the workspace itself is not as expected, or has no package of such a name.
    """
    packages = select(load_packages(root), names)
    failed: list[str] = []
    for name, paths in targets(root, packages, is_everything=not names):
        started = time.perf_counter()
        shown = [str(path.relative_to(root)) for path in paths]
        command = [sys.executable, "-m", "mypy", "--strict", *mypy_arguments, *shown]
        environment = {**os.environ, "MYPYPATH": str(paths[0])} if name.endswith(" tests") else None
        done = subprocess.run(
            command, cwd=root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        print(f"types: {name} ({time.perf_counter() - started:.1f} s): {done.stdout.strip()}", flush=True)
        if done.returncode != 0:
            failed.append(name)
    return failed


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--root", type=Path, default=ROOT, help="root of the repository (default: this one)")
    parser.add_argument("mypy_arguments", nargs="*", metavar="-- MYPY_ARGUMENT", help="handed on to mypy, after --")
    arguments = parser.parse_args(argv)
    try:
        failed = check(arguments.root.resolve(), arguments.package, arguments.mypy_arguments)
    except WorkspaceError as error:
        return fail(error)
    if failed:
        return fail(f"mypy found errors in: {', '.join(failed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
