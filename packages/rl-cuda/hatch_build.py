"""Build hook: compile `src/rl_cuda/csrc/*.cu` with nvcc into one shared library that knows nothing of torch or Python.

Environment variables:
    RL_CUDA_BUILD: `auto` (default) compiles where nvcc is found and otherwise makes a wheel without the library; `1`
        makes a missing nvcc, or any other reason not to compile, an error; `0` does not compile.
    RL_CUDA_ARCHS: compute capabilities to compile for, `75;80;90`. Default: those of 75 to 100 that nvcc knows.
    CUDA_HOME: folder of the CUDA toolkit; otherwise nvcc is looked for on PATH, then in /usr/local/cuda.
"""

import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = "src/rl_cuda/librl_cuda.so"
SOURCES = "src/rl_cuda/csrc"
WHEEL_TAG = "py3-none-linux_x86_64"
DEFAULT_ARCHITECTURES = (75, 80, 86, 89, 90, 100)


class CannotCompileError(Exception):
    """There is no way to compile on this machine; the message says why and what to do."""


class CudaBuildHook(BuildHookInterface[Any]):
    """Puts the compiled library into the wheel, and names the platform in the wheel's tag."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before hatchling collects the files; called for wheels and for editable installs."""
        root = Path(self.root)
        mode = build_mode(os.environ)
        (root / LIBRARY).unlink(missing_ok=True)
        if mode == "0":
            self.app.display_info("rl-cuda: RL_CUDA_BUILD=0, so the wheel has no CUDA library")
            return
        try:
            build(root, os.environ)
        except CannotCompileError as error:
            if mode == "1":
                raise
            self.app.display_warning(f"rl-cuda: the wheel has no CUDA library: {error}")
            return
        build_data["artifacts"].append(LIBRARY)
        build_data["pure_python"] = False
        build_data["tag"] = WHEEL_TAG


def build_mode(environment: Mapping[str, str]) -> str:
    """`auto`, `1` or `0`, from RL_CUDA_BUILD."""
    mode = environment.get("RL_CUDA_BUILD", "").strip().lower() or "auto"
    if mode not in ("auto", "1", "0"):
        raise ValueError(f"RL_CUDA_BUILD: expected auto, 1 or 0, found {mode!r}")
    return mode


def find_nvcc(environment: Mapping[str, str]) -> str:
    """Path of nvcc."""
    home = environment.get("CUDA_HOME", "")
    if home:
        nvcc = Path(home) / "bin" / "nvcc"
        if nvcc.is_file():
            return str(nvcc)
        raise CannotCompileError(f"CUDA_HOME is {home}, but {nvcc} does not exist")
    found = shutil.which("nvcc", path=environment.get("PATH")) or shutil.which("/usr/local/cuda/bin/nvcc")
    if found is None:
        raise CannotCompileError("nvcc was not found. Install the CUDA toolkit, or set CUDA_HOME to its folder")
    return found


def architectures(environment: Mapping[str, str], known: Sequence[int]) -> list[int]:
    """Compute capabilities to compile for, lowest first.

    Args:
        environment: may hold RL_CUDA_ARCHS.
        known: what nvcc can compile for.
    Raises:
        ValueError: RL_CUDA_ARCHS is no list of numbers, or names one that nvcc does not know.
    """
    text = environment.get("RL_CUDA_ARCHS", "").strip()
    if not text:
        return [arch for arch in DEFAULT_ARCHITECTURES if arch in known]
    words = re.split(r"[;,\s]+", text)
    wanted = sorted({int(word.replace(".", "")) for word in words if re.fullmatch(r"\d+\.?\d", word)})
    if len(wanted) != len(set(words)) or not set(wanted) <= set(known):
        raise ValueError(f"RL_CUDA_ARCHS: expected some of {';'.join(map(str, known))} (nvcc's), found {text!r}")
    return wanted


def known_architectures(nvcc: str) -> list[int]:
    """Compute capabilities that this nvcc compiles for."""
    return sorted(int(number) for number in re.findall(r"\bsm_(\d+)\b", _call([nvcc, "--list-gpu-code"])))


def nvcc_command(nvcc: str, sources: Sequence[Path], archs: Sequence[int], output: Path) -> list[str]:
    """The compilation: machine code for each architecture, PTX of the newest for those to come.

    Products are rounded before they are added, as torch does it on a CPU, so that results are the same bits; the
    kernels wait for memory, not for arithmetic.
    """
    command = [
        nvcc,
        "-O3",
        "-std=c++17",
        "-fmad=false",
        "-shared",
        "-Xcompiler",
        "-fPIC,-fvisibility=hidden",
        "-cudart=static",
    ]
    command += ["-Xlinker", "--exclude-libs,ALL", "--threads", "0"]
    command += [f"-DRL_CUDA_ARCHITECTURES={' '.join(map(str, archs))}", f"-DRL_CUDA_SOURCES={fingerprint(sources)}"]
    command += [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    command += [f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}"]
    return [*command, "-o", str(output), *map(str, sources)]


def fingerprint(sources: Sequence[Path]) -> str:
    """What the library will say that it was built from, for `why_unavailable` to compare."""
    folder = sources[0].parent
    name: str = runpy.run_path(str(folder.with_name("_sources.py")))["fingerprint"](folder)
    return name


def build(root: Path, environment: Mapping[str, str]) -> Path:
    """Compile the library of the package at `root` and return its path.

    Raises:
        CannotCompileError: not Linux on x86-64, no nvcc, or nvcc failed.
        ValueError: RL_CUDA_ARCHS is not as it should be.
    """
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise CannotCompileError(f"the library is built for Linux on x86-64 only, this is {platform.platform()}")
    nvcc = find_nvcc(environment)
    archs = architectures(environment, known_architectures(nvcc))
    if not archs:
        raise CannotCompileError(f"{nvcc} knows none of the architectures {DEFAULT_ARCHITECTURES}")
    library = root / LIBRARY
    unfinished = library.with_suffix(".building")
    try:
        _call(nvcc_command(nvcc, sorted((root / SOURCES).glob("*.cu")), archs, unfinished))
        unfinished.replace(library)
    finally:
        unfinished.unlink(missing_ok=True)
    return library


def _call(command: list[str]) -> str:
    try:
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        raise CannotCompileError(f"{command[0]} could not be started: {error}") from error
    if done.returncode != 0:
        raise CannotCompileError(f"{' '.join(command)} failed:\n{done.stdout}")
    return done.stdout
