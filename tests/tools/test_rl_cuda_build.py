"""The build hook of rl-cuda: what the wheel holds with and without nvcc, and what the compiled library exports."""

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
from isolated_environment import clean_environment, find_uv
from workspace import ROOT, WorkspaceError, run

PACKAGE = ROOT / "packages" / "rl-cuda"
SOURCES = sorted((PACKAGE / "src/rl_cuda/csrc").glob("*.cu"))
NAMES = {
    *(f"{kind}_tree_{work}" for kind in ("sum", "min", "max") for work in ("update", "rebuild")),
    *("sum_tree_find", "sum_tree_sample", "recurrence", "gae", "lambda_return", "vtrace"),
}
LAUNCHERS = {f"rl_cuda_{name}_{suffix}" for name in NAMES for suffix in ("f32", "f64")}
EXPORTS = LAUNCHERS | {f"rl_cuda_{name}" for name in ("device_count", "error_string", "architectures", "sources")}
EXPORTS |= {"rl_cuda_tree_update_scratch", "rl_cuda_priority_leaves_f64", "rl_cuda_three_trees_update_f64"}
KERNELS = 50


def load_hook() -> types.ModuleType:
    """The hook as a module."""
    spec = importlib.util.spec_from_file_location("rl_cuda_hatch_build", PACKAGE / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hook = load_hook()


def has_nvcc() -> bool:
    """Whether this machine can compile."""
    try:
        hook.find_nvcc(os.environ)
    except hook.CannotCompileError:
        return False
    return sys.platform == "linux"


def build(folder: Path, **variables: str) -> Path:
    """Build the wheel from a copy of the package, with these environment variables."""
    copy = folder / "rl-cuda"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("*.so", "__pycache__"), dirs_exist_ok=True)
    environment = clean_environment(os.environ) | variables
    run([find_uv(), "build", "--wheel", "--out-dir", str(folder / "dist"), str(copy)], cwd=folder, env=environment)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def files(wheel: Path) -> set[str]:
    """Names of the files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_without_compiling_the_wheel_is_pure(tmp_path: Path) -> None:
    """RL_CUDA_BUILD=0 makes a wheel for any platform, and a library left over from an older build stays out of it."""
    stale = tmp_path / "rl-cuda" / "src" / "rl_cuda" / "librl_cuda.so"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"old")
    wheel = build(tmp_path, RL_CUDA_BUILD="0")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "rl_cuda/librl_cuda.so" not in files(wheel)
    assert not stale.exists()


def test_missing_nvcc_gives_a_pure_wheel_or_an_error(tmp_path: Path) -> None:
    """Without nvcc, `auto` makes a pure wheel and `1` fails with the reason."""
    home = str(tmp_path / "no-cuda")
    assert build(tmp_path, RL_CUDA_BUILD="auto", CUDA_HOME=home).name.endswith("-py3-none-any.whl")
    with pytest.raises(WorkspaceError, match=r"CUDA_HOME is .*no-cuda, but .*nvcc does not exist"):
        build(tmp_path, RL_CUDA_BUILD="1", CUDA_HOME=home)


@pytest.mark.parametrize("mode", ["0", *(["auto", "1"] if has_nvcc() else [])])
def test_wheel_holds_the_library_when_it_is_compiled(tmp_path: Path, mode: str) -> None:
    """With nvcc the wheel is tagged for its platform and holds the library, for the architectures asked for."""
    wheel = build(tmp_path, RL_CUDA_BUILD=mode, RL_CUDA_ARCHS="75;9.0" if mode == "1" else "9.0")
    is_compiled = mode != "0"
    assert wheel.name.endswith("-py3-none-linux_x86_64.whl") == is_compiled
    assert ("rl_cuda/librl_cuda.so" in files(wheel)) == is_compiled
    assert {f"rl_cuda/csrc/{source.name}" for source in SOURCES} <= files(wheel)  # which a library is compared with
    if mode == "1":
        with zipfile.ZipFile(wheel) as archive:
            check_library(Path(archive.extract("rl_cuda/librl_cuda.so", tmp_path)), [75, 90])


if has_nvcc():  # the one place where all of it is compiled

    def test_every_kernel_compiles_for_every_architecture(tmp_path: Path) -> None:
        """For each architecture from 7.5 to 10.0 there is machine code, and no kernel spills registers."""
        nvcc = hook.find_nvcc(os.environ)
        archs = hook.architectures({}, hook.known_architectures(nvcc))
        assert (archs[0], archs[-1]) == (75, 100)
        library = tmp_path / "librl_cuda.so"
        report = run([*hook.nvcc_command(nvcc, SOURCES, archs, library), "-Xptxas", "-v"], cwd=tmp_path)
        check_library(library, archs)
        spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
        assert report.count("Compiling entry function") == KERNELS * len(archs)
        assert set(spills) == {("0", "0", "0")}
        assert "warning" not in report


def check_library(path: Path, archs: list[int]) -> None:
    """The library exports its C interface alone, needs no torch and no CUDA runtime, and names its architectures and
    the sources that it was built from.
    """
    symbols = subprocess.run(["nm", "-D", "--defined-only", path], text=True, capture_output=True, check=True).stdout
    assert set(re.findall(r" [TW] (\w+)$", symbols, re.MULTILINE)) == EXPORTS
    needed = subprocess.run(["ldd", path], text=True, capture_output=True, check=True).stdout
    assert not re.search("torch|cudart|python", needed)
    library = ctypes.CDLL(str(path))
    library.rl_cuda_architectures.restype = ctypes.c_char_p
    assert library.rl_cuda_architectures().decode().split() == list(map(str, archs))
    library.rl_cuda_sources.restype = ctypes.c_char_p
    assert library.rl_cuda_sources().decode() == hook.fingerprint(SOURCES)
    content = path.read_bytes()
    assert all(f"sm_{arch}".encode() in content for arch in archs)


@pytest.mark.parametrize(
    ("text", "expected"), [("", [75, 90, 100]), ("90;75", [75, 90]), ("7.5, 9.0", [75, 90]), ("100", [100])]
)
def test_architectures(text: str, expected: list[int]) -> None:
    """The list may be separated by anything usual and written with a point; empty means the default."""
    assert hook.architectures({"RL_CUDA_ARCHS": text}, [60, 75, 90, 100]) == expected


@pytest.mark.parametrize("text", ["hopper", "90;hopper", "91"])
def test_wrong_architectures_are_refused(text: str) -> None:
    """What is no architecture, or none that nvcc knows, is an error that lists the possible ones."""
    with pytest.raises(ValueError, match=r"RL_CUDA_ARCHS: expected some of 75;90 \(nvcc's\), found"):
        hook.architectures({"RL_CUDA_ARCHS": text}, [75, 90])


def test_wrong_mode_is_refused() -> None:
    """RL_CUDA_BUILD is auto, 1 or 0."""
    assert [hook.build_mode({"RL_CUDA_BUILD": text}) for text in ("", "AUTO", "1", "0")] == ["auto", "auto", "1", "0"]
    with pytest.raises(ValueError, match="expected auto, 1 or 0, found 'yes'"):
        hook.build_mode({"RL_CUDA_BUILD": "yes"})
