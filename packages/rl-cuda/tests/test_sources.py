"""The fingerprint of the kernels' sources, by which a library that was built from others is told."""

from pathlib import Path

from rl_cuda._sources import fingerprint


def test_every_change_of_a_source_changes_it(tmp_path: Path) -> None:
    """Contents, names and number of the sources count; other files do not."""
    (tmp_path / "a.cu").write_text("one")
    seen = [fingerprint(tmp_path)]
    (tmp_path / "a.cu").write_text("two")
    seen.append(fingerprint(tmp_path))
    (tmp_path / "b.cuh").write_text("")
    seen.append(fingerprint(tmp_path))
    (tmp_path / "b.cuh").rename(tmp_path / "c.cuh")
    seen.append(fingerprint(tmp_path))
    assert len(set(seen)) == 4
    (tmp_path / "notes.txt").write_text("three")
    assert fingerprint(tmp_path) == seen[-1]


def test_it_is_a_word_of_the_compiler(tmp_path: Path) -> None:
    """It can be given to a compiler as it is: a letter first, then letters and digits."""
    assert fingerprint(tmp_path).isidentifier()
