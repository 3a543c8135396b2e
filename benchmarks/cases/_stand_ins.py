"""Stands in for functions of torch that a peer's extension misses, so that what never calls them can be measured.

The extension in a wheel is built against one version of torch. Beside another one it does not load as soon as a single
function that it names is gone, whether anything calls that function or not.
"""

import ctypes
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

AUTOGRAD = "_ZN5torch8autograd"
"""How names of C++ functions of `torch::autograd` begin."""
COMPILERS = ("cc", "c++", "gcc", "g++", "clang")


def make_loadable(package: str, extension: str, may_miss: str) -> list[str]:
    """Make the extension of an installed package loadable; torch, which it needs, is imported already.

    What it misses is defined in this process, in a small library of its own, as a function that ends the process, so
    that a figure is never that of a function which is not there.

    Args:
        package: the package, which is not imported yet.
        extension: how the extension's file begins, `"_torchrl"`.
        may_miss: how the names of functions begin, as the linker knows them, that may be stood in for.
    Returns:
        The functions stood in for; none where the extension loads as it is.
    Raises:
        SystemExit: there is no such extension, no C compiler, or it misses something else.
    """
    spec = importlib.util.find_spec(package)
    folders = list((spec.submodule_search_locations or ()) if spec is not None else ())
    found = [path for folder in folders for path in sorted(Path(folder).glob(f"{extension}*.so"))]
    if not found:
        sys.exit(f"not measured: {package} is installed without its extension {extension}")
    missing: list[str] = []
    while (name := _missing_in(found[0])) is not None:
        if not name.startswith(may_miss) or name in missing:
            sys.exit(f"not measured: {found[0].name} does not load: undefined symbol {name}")
        _define(name)
        missing.append(name)
    return missing


def _missing_in(path: Path) -> str | None:
    """What keeps the library from loading: the name of a function, or None if nothing does."""
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        symbol = re.search(r"undefined symbol: (\w+)", str(error))
        if symbol is None:
            sys.exit(f"not measured: {path.name} does not load: {error}")
        return symbol[1]
    return None


def _define(name: str) -> None:
    """Define a function of that name for all libraries loaded from now on."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        sys.exit(f"not measured: standing in for {name} takes a C compiler ({', '.join(COMPILERS)}), and there is none")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "stand_in.so"
        command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
        text = f"void abort(void);\nvoid {name}(void) {{ abort(); }}\n"
        subprocess.run(command, input=text, text=True, check=True)
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
