"""An extension that misses functions of torch loads once these are stood in for, and nothing else is covered up."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import _stand_ins
import pytest

COMPILER = next(filter(None, map(shutil.which, _stand_ins.COMPILERS)), None)


def make_package(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> Path:
    """A package with an extension `_fast.so`, compiled from `source`."""
    package = folder / name
    package.mkdir()
    (package / "__init__.py").touch()
    library = package / "_fast.so"
    assert COMPILER is not None
    command = [COMPILER, "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=source, text=True, check=True)
    monkeypatch.syspath_prepend(str(folder))
    return library


if COMPILER is not None:

    def test_what_is_missing_is_stood_in_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An extension that misses two allowed functions loads, its other functions work, and both are named."""
        source = "void gone_a(void); void gone_b(void); void f(void) { gone_a(); gone_b(); } int g(void) { return 7; }"
        library = make_package(tmp_path, monkeypatch, "misses_two", source)
        assert sorted(_stand_ins.make_loadable("misses_two", "_fast", may_miss="gone_")) == ["gone_a", "gone_b"]
        assert ctypes.CDLL(str(library)).g() == 7

    def test_a_whole_extension_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where nothing is missing nothing is stood in for, compiler or not."""
        make_package(tmp_path, monkeypatch, "misses_none", "int g(void) { return 7; }")
        monkeypatch.setattr(_stand_ins, "COMPILERS", ())
        assert _stand_ins.make_loadable("misses_none", "_fast", may_miss="gone_") == []

    def test_other_functions_are_not_covered_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A missing function of another name is told by name, and so is a missing compiler."""
        make_package(tmp_path, monkeypatch, "misses_more", "void needed(void); void f(void) { needed(); }")
        with pytest.raises(SystemExit, match=r"not measured: _fast\.so does not load: undefined symbol needed"):
            _stand_ins.make_loadable("misses_more", "_fast", may_miss="gone_")
        monkeypatch.setattr(shutil, "which", lambda name: None)
        with pytest.raises(SystemExit, match=r"not measured: standing in for needed takes a C compiler \(cc, "):
            _stand_ins.make_loadable("misses_more", "_fast", may_miss="need")

    def test_a_call_of_a_stand_in_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No figure comes from a function that is not there."""
        library = make_package(tmp_path, monkeypatch, "calls", "void gone(void); void f(void) { gone(); }")
        program = (
            f"import ctypes, sys; sys.path[:0] = [{str(tmp_path)!r}, {str(Path(_stand_ins.__file__).parent)!r}]\n"
            "import _stand_ins; _stand_ins.make_loadable('calls', '_fast', 'gone')\n"
            f"ctypes.CDLL({str(library)!r}).f(); print('went on')"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.returncode < 0
        assert done.stdout == ""


def test_a_package_without_its_extension_is_told() -> None:
    """No such file, or no such package, is a reason and no crash."""
    for package in ("json", "there_is_no_such_package"):
        with pytest.raises(SystemExit, match=f"not measured: {package} is installed without its extension _fast"):
            _stand_ins.make_loadable(package, "_fast", may_miss="gone_")


def test_what_is_no_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the loader refuses altogether is reported with the loader's words."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").touch()
    (tmp_path / "broken" / "_fast.so").write_bytes(b"no library")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit, match=r"not measured: _fast\.so does not load: .*"):
        _stand_ins.make_loadable("broken", "_fast", may_miss="gone_")
